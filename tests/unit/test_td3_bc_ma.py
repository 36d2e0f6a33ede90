"""TD3+BC-MA's losses against numbers worked out by hand, and its delay."""

import math

import pytest
import torch
from test_cql_ma import SPEC, batch, constant

from data import synthetic
from lit_modules.common.schedule import Chunk
from lit_modules.td3_bc_ma import TD3BCMA
from reproduce.regression.cases import cases, make_module

CONFIG = cases()["td3_bc_ma"].config


def made(**changes) -> TD3BCMA:
    module = TD3BCMA(CONFIG.replace(hidden=[1], **changes), [0], SPEC).double()
    constant(module, q1=[1.0], q2=[2.0], mixer=[1.0, -2.0, 0.5], policy=[math.atanh(0.3)])
    constant(module, q1_target=[5.0], q2_target=[3.0], mixer_target=[2.0, -1.0, -1.0], policy_target=[0.0])
    return module


def read_action(net) -> None:
    """Q(o, a) = a + 1 for a in -1 and above."""
    first = torch.tensor([0.0, 1.0, 0.0, 0.0])  # of o, a and the one-hot
    net.theta.data[0] = torch.cat([first, torch.tensor([1.0, 1.0, 0.0])])


@pytest.mark.parametrize("terminated", [False, True])
def test_q_loss_by_hand(terminated):
    module = made()
    y = 3.0 + (0.0 if terminated else 0.9 * (2 * 3 + 1 * 3 - 1))  # of the smaller total
    totals = (1 + 2 + 0.5, 2 + 4 + 0.5)
    loss = module.q_loss(module.unpack(batch(terminated=terminated)), torch.zeros(1, 2, 4, 1).double())
    assert loss.item() == pytest.approx(sum((t - y) ** 2 for t in totals), rel=1e-12)


@pytest.mark.parametrize(("pi", "noise", "action"), [(0.0, 1.5, 0.3), (0.0, -9.0, -0.5), (0.8, 2.0, 1.0)])
def test_target_actions_are_the_slow_policys_with_limited_noise(pi, noise, action):
    module = made()
    constant(module, policy_target=[math.atanh(pi)])
    read_action(module.q1_target)
    read_action(module.q2_target)
    y = 3.0 + 0.9 * (3 * (action + 1) - 1)
    loss = module.q_loss(module.unpack(batch()), torch.full((1, 2, 4, 1), noise).double())
    assert loss.item() == pytest.approx((3.5 - y) ** 2 + (6.5 - y) ** 2, rel=1e-12)


def test_policy_loss_and_its_gradient_by_hand():
    """lambda Q1_tot averages alpha in size, so its own slope is alpha / Q1_tot; Q2 has no say."""
    module = made()
    read_action(module.q1)
    loss = module.policy_loss(module.unpack(batch()))
    assert loss.item() == pytest.approx(-2.5 + (0.3 - 0.5) ** 2, rel=1e-12)
    q_tot = (1 + 2) * (0.3 + 1) + 0.5
    slope = -2.5 * (1 + 2) / q_tot + 2 * (0.3 - 0.5)  # of all agents' actions together
    (gradient,) = torch.autograd.grad(loss.sum(), module.policy.theta)
    assert gradient[0, -1].item() == pytest.approx(slope * (1 - 0.3**2), rel=1e-12)


def test_low_values_do_not_turn_the_policy_around():
    module = made()
    read_action(module.q1)
    constant(module, mixer=[1.0, -2.0, -50.0])
    assert module.policy_loss(module.unpack(batch())).item() == pytest.approx(2.5 + (0.3 - 0.5) ** 2, rel=1e-12)


def test_a_round_is_two_critic_updates_and_one_of_the_policy():
    module = make_module("td3_bc_ma", [0, 1])
    module.configure_optimizers()
    (phase,) = module.phases()
    noise = {key: x[0] for key, x in module.draw(Chunk("train", 0, 1, phase.batch_size)).items()}
    data = synthetic.transitions(2 * phase.batch_size, module.spec).reshape(2, phase.batch_size)
    first = module.policy_target.theta.clone()
    module.update_train(data, noise)
    steps = {name: {s["step"].item() for s in o.state.values()} for name, o in module.optimizer.items()}
    assert steps == {"policy": {1.0}, "q": {2.0}}
    torch.testing.assert_close(module.policy_target.theta, first.lerp(module.policy.theta, 0.05), rtol=0, atol=1e-15)


def test_evaluation_acts_by_the_policy_itself():
    action, _ = made().act(torch.zeros(1, 3, 2, 1).double(), None, None)
    assert action.shape == (1, 3, 2, 1)
    torch.testing.assert_close(action, torch.full_like(action, 0.3))
