"""IQL-MA's losses against numbers worked out by hand."""

import math

import pytest
import torch
from test_cql_ma import SPEC, batch, constant

from lit_modules.common.distributions import tanh_normal_log_prob
from lit_modules.iql_ma import IQLMA
from reproduce.regression.cases import cases

CONFIG = cases()["iql_ma"].config


def made(**changes) -> IQLMA:
    module = IQLMA(CONFIG.replace(**changes), [0], SPEC).double()
    constant(module, q1=[1.0], q2=[2.0], mixer=[1.0, -2.0, 0.5], policy=[0.0, 0.0])
    constant(module, v=[4.0], q1_target=[5.0], q2_target=[3.0], mixer_target=[2.0, -1.0, -1.0])
    return module


def of_heads(*values: list[float]) -> torch.Tensor:
    """One row of advantages, by head and agent -> (1, 2, 2, 1)."""
    return torch.tensor(values, dtype=torch.float64).view(1, 2, 2, 1)


@pytest.mark.parametrize("terminated", [False, True])
def test_q_loss_fits_both_heads_to_the_online_v_under_the_slow_mixer(terminated):
    module = made()
    y = 3.0 + (0.0 if terminated else 0.9 * (2 * 4 + 1 * 4 - 1))
    totals = (1 + 2 + 0.5, 2 + 4 + 0.5)
    loss = module.q_loss(module.unpack(batch(terminated=terminated)))
    assert loss.item() == pytest.approx(sum((t - y) ** 2 for t in totals), rel=1e-12)


def test_advantages_are_of_the_slow_heads_and_weights():
    module = made()
    advantage, v = module.advantage(module.unpack(batch()))
    assert (advantage.shape, v.shape) == ((1, 2, 2, 4), (1, 2, 4))
    expected = [[2 * (5 - 4.0), 1 * (5 - 4.0)], [2 * (3 - 4.0), 1 * (3 - 4.0)]]  # by head and agent
    assert advantage[0, :, :, 0].tolist() == expected
    trained = torch.autograd.grad(advantage.sum(), [module.v.theta, module.q1.theta], allow_unused=True)
    assert trained[0].abs().sum() > 0
    assert trained[1] is None


@pytest.mark.parametrize(("values", "u"), [(([1.0, 2.0], [4.0, -0.5]), 3.0), (([1.0, 2.0], [4.0, -6.0]), -2.0)])
def test_v_loss_by_hand(values, u):
    """The smaller total counts, which is not the total of the smaller values."""
    weight = 0.7 if u > 0 else 1 - 0.7
    assert made().v_loss(of_heads(*values)).item() == pytest.approx(weight * u**2, rel=1e-12)


def test_v_is_the_expectile_of_the_data():
    """The loss is least where what lies above weighs as much as what lies below."""
    v = torch.tensor(4.9375, dtype=torch.float64, requires_grad=True)
    assert 0.7 * (10 - v.item()) == pytest.approx(0.3 * (3 * v.item() - (0 + 1 + 2)))
    totals = torch.tensor([0.0, 1.0, 2.0, 10.0], dtype=torch.float64)
    loss = made().v_loss(((totals - v) / 2).expand(1, 2, 2, 4))
    assert torch.autograd.grad(loss.sum(), v)[0].item() == pytest.approx(0.0, abs=1e-12)


def test_policy_loss_weights_by_the_smaller_head_up_to_the_limit():
    module = made(beta=3.0, weight_limit=10.0)
    log_pi = tanh_normal_log_prob(torch.zeros(2).double(), torch.tensor([0.5]).double()).item()
    advantage = of_heads([0.5, 900.0], [-0.2, 800.0]).expand(1, 2, 2, 4)  # agent 1's exponential is not finite
    loss = module.policy_loss(module.unpack(batch()), advantage)
    assert loss.item() == pytest.approx(-(math.exp(3 * -0.2) + 10.0) / 2 * log_pi, rel=1e-12)
