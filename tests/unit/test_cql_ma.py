"""CQL-MA's losses against numbers worked out by hand; its actions go through Q as one product."""

import math

import pytest
import torch
from tensordict import TensorDict

from data.synthetic import continuous_spec
from lit_modules.common import blocks
from lit_modules.common.distributions import tanh_normal_log_prob, tanh_normal_mode, tanh_normal_sample
from lit_modules.common.mlp import StackedMLP
from lit_modules.cql_ma import CQLMA
from reproduce.regression.cases import cases, make_module

CONFIG = cases()["cql_ma"].config
SPEC = continuous_spec(2, 1, 1)


def made(**changes) -> CQLMA:
    module = CQLMA(CONFIG.replace(n_actions=1, **changes), [0], SPEC).double()
    module.configure_optimizers()
    return module


def constant(module, **outputs: list[float]) -> None:
    """Let a network give constants: all weights 0, the last biases as given."""
    for name, values in outputs.items():
        theta = getattr(module, name).theta.data
        theta.zero_()
        theta[..., -len(values) :] = torch.tensor(values, dtype=theta.dtype)


def batch(n: int = 4, terminated: bool = False) -> TensorDict:
    view = torch.zeros(1, n, 2, 1, dtype=torch.float64)
    now = {"obs": view, "state": view, "action": view + 0.5, "reward": torch.full((1, n, 1), 3.0).double()}
    ends = torch.full((1, n, 1), terminated)
    return TensorDict({**now, "terminated": ends, "next": {"obs": view, "state": view, "action": view}}, [1, n])


@pytest.mark.parametrize("terminated", [False, True])
def test_target_by_hand(terminated):
    module = made()
    constant(module, q_target=[5.0], mixer_target=[2.0, -1.0, -1.0], policy=[0.0, 0.0])
    d = module.unpack(batch(terminated=terminated))
    noise = {name: torch.zeros(1, 2, 4, 1, 1, dtype=torch.float64) for name in ("uniform", "current", "later")}
    actions, y = module.actions_and_target(
        d, torch.zeros(1, 2, 4, 2).double(), noise | {"next": noise["later"][..., 0]}
    )
    assert actions.shape == (1, 2, 4, 4, 1)
    assert actions[0, 0, 0, :, 0].tolist() == [0.5, 0.0, 0.0, 0.0]
    bootstrap = 0.0 if terminated else 0.9 * (2 * 5 + 1 * 5 - 1)
    assert y.flatten().tolist() == pytest.approx([3.0 + bootstrap] * 4)


def test_q_loss_by_hand():
    module = made(conservatism=0.5)
    constant(module, mixer=[-1.0, 3.0, 0.25])
    q = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 4.0]], dtype=torch.float64)  # of two agents: the data's, then two
    y = torch.full((1, 4), 2.0, dtype=torch.float64)
    loss = module.q_loss(module.unpack(batch()), q.view(1, 2, 1, 3).expand(1, 2, 4, 3), y)
    q_tot = 1 * 1.0 + 3 * 0.5 + 0.25
    sampled = [[2.0 + 0.25, -1.0 + 0.25], [0.0 + 0.25, 12.0 + 0.25]]  # w_i Q_i + b: b for each agent, D2
    conservative = sum(math.log(sum(map(math.exp, values))) for values in sampled) - q_tot
    assert loss.item() == pytest.approx((q_tot - 2.0) ** 2 + 0.5 * conservative, rel=1e-12)


def test_policy_loss_weights_by_q_itself_and_sums_over_agents():
    module, d = made(), made().unpack(batch())
    out = torch.zeros(1, 2, 4, 2, dtype=torch.float64)
    q = torch.tensor([2.0, -3.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 4, 2)
    log_pi = tanh_normal_log_prob(torch.zeros(2).double(), torch.tensor([0.5]).double()).item()
    assert module.policy_loss(d, out, q, {}).item() == pytest.approx(-(2.0 - 3.0) * log_pi, rel=1e-12)


def test_samples_clamp_the_deviation_and_not_the_mean():
    out = torch.tensor([12.0, -0.5, 7.0, -9.0], dtype=torch.float64)  # two means, two log-deviations
    drawn = tanh_normal_sample(out, torch.tensor([-1.0, 1.0], dtype=torch.float64))
    assert drawn.tolist() == pytest.approx([math.tanh(12 - math.exp(2)), math.tanh(-0.5 + math.exp(-5))])
    assert tanh_normal_mode(out).tolist() == pytest.approx([math.tanh(9), math.tanh(-0.5)])


@pytest.mark.parametrize("hidden", [[], [5], [6, 7]])
@pytest.mark.parametrize("at", [0, 2, 4])
def test_many_inputs_at_once_equal_the_plain_product(hidden, at, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 12)  # two of the seven rows
    g = torch.Generator().manual_seed(0)
    net = StackedMLP((4 + 2, *hidden, 3), (2, 3), [g, g]).double()
    x = torch.randn(2, 3, 7, 4, generator=g, dtype=torch.float64)
    y = torch.randn(2, 3, 7, 5, 2, generator=g, dtype=torch.float64, requires_grad=True)
    wide = x.unsqueeze(-2).expand(2, 3, 7, 5, 4)
    plain = net(torch.cat([wide[..., :at], y, wide[..., at:]], -1).flatten(2, 3)).view(2, 3, 7, 5, 3)
    found = net.of_many(x, y, at)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-12)
    blocked = net.of_many(x, y.detach(), at)  # no gradient reaches y: block after block
    torch.testing.assert_close(blocked, plain, rtol=0, atol=1e-12)
    for out, inputs in ((found, net.theta), (found, y), (blocked, net.theta)):
        grads = [torch.autograd.grad(z.square().sum(), inputs, retain_graph=True)[0] for z in (out, plain)]
        torch.testing.assert_close(*grads, rtol=0, atol=1e-11)
    with torch.no_grad():
        assert torch.equal(net.of_many(x, y, at), net.of_many(x, y.detach(), at))
    other = torch.randn(2, 3, net.theta.shape[-1], generator=g, dtype=torch.float64)
    assert not torch.allclose(net.of_many(x, y, at, other), plain)


def test_noise_of_a_seed_does_not_depend_on_the_others():
    pair, alone = make_module("cql_ma", [3, 4]), make_module("cql_ma", [4])
    chunk = pair.plan[0]
    both, one = pair.draw(chunk), alone.draw(chunk)
    assert all(torch.equal(both[key][:, 1], one[key][:, 0]) for key in one)
    assert both["uniform"].min() >= -1 < both["uniform"].min() + 0.1
    assert both["uniform"].max() <= 1
