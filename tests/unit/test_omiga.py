"""OMIGA's losses against numbers worked out by hand, its gradients, its switches; Gaussian cloning."""

import math

import pytest
import torch
from tensordict import TensorDict

from data.synthetic import CONTINUOUS, continuous_spec, transitions
from lit_modules.common.distributions import tanh_normal_log_prob, tanh_normal_mode
from lit_modules.omiga import OMIGA
from reproduce.regression.cases import cases, make_module

OMIGA_CONFIG = cases()["omiga"].config
DIMS = continuous_spec(2, 1, 1)


def made(**switches) -> OMIGA:
    module = OMIGA(OMIGA_CONFIG.replace(**switches), [0], DIMS).double()
    module.configure_optimizers()
    return module


def constant(module: OMIGA, **outputs: list[float]) -> None:
    """Let a network give constants: all weights 0, the last biases as given."""
    for name, values in outputs.items():
        theta = getattr(module, name).theta.data
        theta.zero_()
        theta[..., -len(values) :] = torch.tensor(values, dtype=theta.dtype)


def batch(n: int = 4, terminated: bool = False) -> TensorDict:
    view = torch.zeros(1, n, 2, 1, dtype=torch.float64)
    reward = torch.full((1, n, 1), 3.0, dtype=torch.float64)
    now = {"obs": view, "state": view, "action": view + 0.5, "reward": reward}
    ends = torch.full((1, n, 1), terminated)
    return TensorDict({**now, "terminated": ends, "next": {"obs": view, "state": view}}, [1, n])


@pytest.mark.parametrize("terminated", [False, True])
def test_q_loss_by_hand(terminated):
    module = made()
    constant(module, q=[2.0], v_target=[5.0], mixer=[-1.0, 3.0, 0.5], mixer_target=[2.0, 1.0, -1.0])
    y = 3.0 + (0.0 if terminated else 0.9 * (2 * 5 + 1 * 5 - 1))  # r + gamma V_tot', w' and b' of the target mixer
    q_tot = 1 * 2 + 3 * 2 + 0.5  # |w| of the mixer itself
    loss = module.q_loss(module.unpack(batch(terminated=terminated)))
    assert loss.item() == pytest.approx((q_tot - y) ** 2, rel=1e-12)


def test_v_loss_by_hand():
    module = made(alpha=2.0)
    constant(module, v=[1.0], q_target=[4.0], mixer_target=[2.0, -0.5, 7.0])
    z, w, v = module.regularized_advantage(module.unpack(batch()))
    assert z[0, :, 0].tolist() == pytest.approx([2 / 2 * 3, 0.5 / 2 * 3])
    m = 3.0
    terms = [math.exp(zi - m) + math.exp(-m) * wi * 1.0 / 2 for zi, wi in ((3.0, 2.0), (0.75, 0.5))]
    assert module.v_loss(z, w, v).item() == pytest.approx(sum(terms) / 2, rel=1e-12)
    poster = made(alpha=2.0, rescale=False)
    plain = [math.exp(zi) + wi / 2 for zi, wi in ((3.0, 2.0), (0.75, 0.5))]
    assert poster.v_loss(z, w, v).item() == pytest.approx(sum(plain) / 2, rel=1e-12)


def test_the_largest_z_is_floored_at_minus_one():
    module = made(alpha=1.0)
    constant(module, v=[5.0], q_target=[1.0], mixer_target=[1.0, 1.0, 0.0])  # z = -4 for both
    z, w, v = module.regularized_advantage(module.unpack(batch()))
    assert module.v_loss(z, w, v).item() == pytest.approx(math.exp(-4 + 1) + math.exp(1) * 5.0, rel=1e-12)


def test_the_clamp_turns_the_gradient_of_v_around():
    """dL/dV is negative at z = 5 (V rises towards Q) and positive at z = 15, which is clamped."""
    signs = []
    for advantage in (5.0, 15.0):
        module = made(alpha=1.0)
        constant(module, v=[0.0], q_target=[advantage], mixer_target=[1.0, 1.0, 0.0])
        z, w, v = module.regularized_advantage(module.unpack(batch()))
        (grad,) = torch.autograd.grad(module.v_loss(z, w, v).sum(), module.v.theta)
        signs.append(math.copysign(1, grad[0, -1].item()))
    assert signs == [-1.0, 1.0]


def test_policy_loss_weights_each_agent_by_its_own_z():
    module = made()
    d = module.unpack(batch())
    constant(module, policy=[0.0, 0.0])
    log_pi = tanh_normal_log_prob(torch.zeros(2, dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)).item()
    z = torch.tensor([1.0, -2.0], dtype=torch.float64).view(1, 2, 1).expand(1, 2, 4)
    expected = -(math.exp(1) + math.exp(-2)) / 2 * log_pi
    assert module.policy_loss(d, z).item() == pytest.approx(expected, rel=1e-12)


def test_density_is_that_of_torchs_transformed_normal():
    from torch.distributions import Independent, Normal, TransformedDistribution
    from torch.distributions.transforms import TanhTransform

    g = torch.Generator().manual_seed(0)
    out = 0.5 * torch.randn(50, 6, generator=g, dtype=torch.float64)
    action = torch.rand(50, 3, generator=g, dtype=torch.float64) * 1.9 - 0.95
    normal = Independent(Normal(out[:, :3], out[:, 3:].exp()), 1)
    theirs = TransformedDistribution(normal, TanhTransform()).log_prob(action)
    torch.testing.assert_close(tanh_normal_log_prob(out, action), theirs, rtol=1e-9, atol=1e-9)
    assert tanh_normal_log_prob(out, action * 10).isfinite().all()  # beyond [-1, 1]: clipped
    extreme = torch.tensor([[50.0, -50.0, 0.0, 9.0, -9.0, 0.0]])
    assert tanh_normal_mode(extreme).tolist()[0] == pytest.approx([math.tanh(9.0), -math.tanh(9.0), 0.0])


@pytest.mark.parametrize(
    "switch", [{"targets": "q"}, {"z_limit": 1e-3}, {"rescale": False}, {"simultaneous": False}, {"shared": False}]
)
def test_every_switch_changes_the_update(switch):
    results = []
    for switches in ({}, switch):
        module = OMIGA(OMIGA_CONFIG.replace(alpha=0.02, **switches), [0], CONTINUOUS).double()
        module.configure_optimizers()
        data = transitions(32, CONTINUOUS).unsqueeze(0)
        for _ in range(3):
            found = module.update_train(data, {})
        results.append(torch.stack(list(found.values())))
    assert all(values.isfinite().all() for values in results)
    assert not torch.allclose(*results, rtol=1e-6)


def test_targets_move_by_tau():
    module = made()
    before = {name: getattr(module, f"{name}_target").theta.clone() for name in ("q", "v", "mixer")}
    module.update_train(batch(), {})
    for name, old in before.items():
        expected = (1 - 0.05) * old + 0.05 * getattr(module, name).theta
        torch.testing.assert_close(getattr(module, f"{name}_target").theta, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("change", "said"), [({"targets": "v"}, "targets"), ({"alpha": 0.0}, "alpha")])
def test_bad_settings(change, said):
    with pytest.raises(ValueError, match=said):
        made(**change)


def test_actions_are_squashed_means_of_each_agents_own_view():
    module = make_module("omiga", [0, 1])
    obs = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    action = module.act(obs, None, None)[0]
    assert action.shape == (2, 5, 3, 2)
    assert action.abs().max() <= math.tanh(9.0)
    changed = obs.clone()
    changed[:, :, 1] += 1.0  # only agent 1 sees something else
    moved = (module.act(changed, None, None)[0] - action).abs().amax((0, 1, 3))
    assert moved[1] > 0
    assert moved[[0, 2]].max() == 0


def test_the_cases_of_parity_reach_every_clip():
    """On both sides where there are two: else a wrong clip would agree with the plain version all the same."""
    case = cases()["omiga"]
    module, data = prepared(case, "every_clip"), transitions(256, CONTINUOUS)
    d = module.unpack(torch.stack([data, data]))
    unclamped = prepared(case, "every_clip", z_limit=None).regularized_advantage(d)[0]
    mean, log_std = module.per_agent(module.policy, d["obs"]).chunk(2, -1)
    for values, low, high in (
        (unclamped, -10, 10), (mean, -9, 9), (log_std, -5, 2), (d["action"], -1, 1),
    ):  # fmt: skip
        assert values.min() < low
        assert values.max() > high
    z, w, v = module.regularized_advantage(d)
    losses = {"q": module.q_loss(d), "v": module.v_loss(z, w, v), "policy": module.policy_loss(d, z.detach())}
    for name, loss in losses.items():
        grad = torch.autograd.grad(loss.sum(), getattr(module, name).theta, retain_graph=True)[0]
        assert (grad.norm(dim=-1) > module.config.max_grad_norm).all(), name
    assert prepared(case, "low_values").regularized_advantage(d)[0].max() < -1  # where the floor of m is


def prepared(case, setting: str, **changes) -> OMIGA:
    module = case.module([0, 1], {**case.parity[setting].changes, **changes})
    case.parity[setting].prepare(module)
    return module
