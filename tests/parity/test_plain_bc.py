"""Stacked cloning against the plainly written versions: the same parameters after many updates, in float64."""

import torch
from plain_bc import PlainBC, PlainGaussianBC
from test_plain_omiga import flat, load

from lit_modules.bc import BC
from lit_modules.common.mlp import StackedMLP
from lit_modules.gaussian_bc import GaussianBC
from reproduce.regression.fingerprints import BC_CONFIG, CONTINUOUS, DIMS, GAUSSIAN_BC_CONFIG, fitting


def of_agent(net: StackedMLP, agent: int) -> StackedMLP:
    """The agent's rows of a stack [S, N, P] as a stack [S, P]."""
    one = StackedMLP.__new__(StackedMLP)
    torch.nn.Module.__init__(one)
    one.layers, one.split, one.theta = net.layers, net.split, torch.nn.Parameter(net.theta.detach()[:, agent].clone())
    return one


def test_discrete_cloning_agrees():
    stacked = BC(BC_CONFIG, [0, 1], DIMS).double()
    stacked.configure_optimizers()
    data = fitting(stacked, 16)
    plains = [PlainBC(BC_CONFIG, 3, 4, 3) for _ in range(2)]
    for seed, plain in enumerate(plains):
        for agent, net in enumerate(plain.nets):
            load(of_agent(stacked.policy, agent), seed, net)
    scaled = {"obs": 2 * data["obs"] - 1, "legal": data["legal_actions"], "action": data["action"]}
    for _ in range(30):
        stacked.update_clone(torch.stack([data, data]), {})
        for plain in plains:
            plain.update(scaled)
    for seed, plain in enumerate(plains):
        for agent, net in enumerate(plain.nets):
            torch.testing.assert_close(stacked.policy.theta[seed, agent], flat(net), rtol=0, atol=1e-9)


def test_continuous_cloning_agrees():
    stacked = GaussianBC(GAUSSIAN_BC_CONFIG, [0, 1], CONTINUOUS).double()
    stacked.configure_optimizers()
    data = fitting(stacked, 16)
    plain = PlainGaussianBC(GAUSSIAN_BC_CONFIG, 3, 4, 2)
    load(stacked.policy, 1, plain.net)
    before = flat(plain.net)
    for _ in range(30):
        stacked.update_clone(torch.stack([data, data]), {})
        plain.update({"obs": data["obs"], "action": data["action"]})
    torch.testing.assert_close(stacked.policy.theta[1], flat(plain.net), rtol=0, atol=1e-9)
    assert (flat(plain.net) - before).abs().max() > 0.1  # it learned
