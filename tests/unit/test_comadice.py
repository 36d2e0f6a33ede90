"""ComaDICE's losses against numbers worked out by hand, its scaled actions, and which transitions are first ones."""

import math

import pytest
import torch
from test_cql_ma import SPEC, batch, constant

from data.buffer import OfflineDataModule
from data.layout import Trajectories, Transitions
from data.synthetic import CONTINUOUS
from lit_modules.comadice import ComaDICE
from lit_modules.common.distributions import tanh_normal_log_prob
from reproduce.regression.cases import cases

CONFIG = cases()["comadice"].config


def made(**changes) -> ComaDICE:
    module = ComaDICE(CONFIG.replace(**changes), [0], SPEC).double()
    constant(module, q=[1.0], v=[4.0], mixer=[1.0, -2.0, 0.5], policy=[0.0, 0.0])
    constant(module, q_target=[5.0], v_target=[3.0], mixer_target=[2.0, -1.0, -1.0])
    return module


def unpacked(module: ComaDICE, first: bool = False, **changes) -> dict[str, torch.Tensor]:
    given = batch(**changes)
    return module.unpack(given.set("is_init", torch.full_like(given["terminated"], first)))


@pytest.mark.parametrize("terminated", [False, True])
def test_q_loss_by_hand(terminated):
    module = made()
    d = unpacked(module, terminated=terminated)
    y = 3.0 + (0.0 if terminated else 0.9 * (2 * 3 + 1 * 3 - 1))
    q = module.q_taken(module.q, d)
    assert module.q_loss(d, q).item() == pytest.approx((1 + 2 + 0.5 - y) ** 2, rel=1e-12)


@pytest.mark.parametrize(
    ("divergence", "above", "below"),
    [("soft_chisquare", 2.0, math.exp(-2.0)), ("chisquare", 2.0, 0.0), ("kl", 1.0, math.exp(-3.0))],
)
def test_weights_are_the_inverse_of_the_divergences_derivative(divergence, above, below):
    module = made(divergence=divergence, alpha=0.5)
    e = torch.tensor([0.8, -0.7], dtype=torch.float64).view(1, 1, 2)  # x = 1 and -2 at lambda = 0.3
    found = module.weight(e, torch.tensor([[0.3]], dtype=torch.float64))
    assert found.flatten().tolist() == pytest.approx([above, below], rel=1e-12)


@pytest.mark.parametrize("first", [False, True])
def test_v_loss_by_hand_and_its_gradient(first):
    """Advantages are w (Q - V) = 1 (1 - 4) and 2 (1 - 4); the factor e - lambda carries no gradient."""
    module = made(alpha=2.0)
    module.lambda_v.data[:] = 1.0
    d = unpacked(module, first)
    v = module.per_agent(module.v, d["obs"]).squeeze(-1)
    e = module.advantage(d, module.mixer, module.q_taken(module.q, d).detach(), v)
    assert e[0, :, 0].tolist() == [-3.0, -6.0]
    x = [(-3.0 - 1.0) / 2, (-6.0 - 1.0) / 2]
    start = 0.1 * 4.0 if first else 0.0
    expected = start + sum(math.exp(k) * 2 * k for k in x) / 2
    loss = module.v_loss(e, v, d["is_init"])
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, v)
    slope = [-w * math.exp(k) * k for w, k in zip((1, 2), x, strict=True)]  # -w_i r'(x) x
    of_start = 0.1 if first else 0.0
    assert gradient.sum(-1)[0].tolist() == pytest.approx([of_start / 2 + s / 2 for s in slope], rel=1e-12)


def test_gradients_of_the_multipliers_by_hand():
    module = made(alpha=2.0)
    weight = torch.tensor([3.0, 0.5], dtype=torch.float64).view(1, 2, 1)
    (own,) = torch.autograd.grad(module.lambda_e_loss(weight).sum(), module.lambda_e)
    assert own.item() == pytest.approx(1 - 1.75)  # weights too large: lambda_e rises
    e = torch.tensor([2.0, -1.0], dtype=torch.float64).view(1, 2, 1)
    (own,) = torch.autograd.grad(module.lambda_v_loss(e).sum(), module.lambda_v)
    x = (1.0, -0.5)
    expected = 1 - sum((1 if k > 0 else math.exp(k)) * k + (k + 1 if k > 0 else math.exp(k)) for k in x) / 2
    assert own.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("total", [True, False])
def test_agents_are_weighted_by_all_agents_weights_or_by_their_own(total):
    module = made(total_weight=total, action_scale=4.0)
    d = unpacked(module)
    weight = torch.tensor([3.0, 0.5], dtype=torch.float64).view(1, 2, 1).expand(1, 2, d["reward"].shape[1])
    action = batch()["action"].transpose(1, 2)  # (1, N, B, A), as it is recorded
    log_pi = tanh_normal_log_prob(torch.zeros(*action.shape[:-1], 2, dtype=torch.float64), action / 4)
    expected = -((weight.sum(1, keepdim=True) if total else weight) * log_pi).mean()
    assert module.policy_loss(d, weight).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_squashed_mean_is_scaled_back():
    module = made(action_scale=4.0)
    constant(module, policy=[0.2, 0.0])
    action, _ = module.act(torch.zeros(1, 3, 2, 1, dtype=torch.float64), None, None)
    assert action.flatten().tolist() == pytest.approx([4 * math.tanh(0.2)] * 6, rel=1e-12)


@pytest.mark.parametrize("layout", [Transitions, Trajectories])
def test_both_layouts_know_the_first_transitions(layout):
    stored = layout(CONTINUOUS).synthetic(40).exclude("is_init")
    source = OfflineDataModule(stored, layout(CONTINUOUS), ComaDICE.keys, [0])
    chunk = source.to_schema(source.sample(1, 400))
    begins = torch.ones(40, dtype=torch.bool)
    if layout is Trajectories:
        begins[1:] = stored["final"].squeeze(-1)[:-1]
        begins &= ~stored["final"].squeeze(-1)
    else:
        begins = stored["step"] == 0
    expected = {tuple(row) for row in stored["obs"][begins].flatten(1).tolist()}
    found = {tuple(row) for row in chunk["obs"][chunk["is_init"].squeeze(-1)].flatten(1).tolist()}
    assert found == expected
    assert len(expected) > 1
