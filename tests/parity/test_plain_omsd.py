"""OMSD's stacked actors against plainly written ones: the same losses and parameters after many updates, in float64."""

import pytest
import torch
from plain_omsd import PlainOMSD, PlainScore
from test_plain_omiga import flat, load

from lit_modules.common.mlp import StackedMLP
from lit_modules.common.schedule import Chunk
from lit_modules.common.score_net import StackedScore
from lit_modules.omsd import OMSD
from reproduce.regression.fingerprints import CONTINUOUS, OMSD_CONFIG, fitting

N_UPDATES = 30


def one_of(net: StackedMLP, agent: int) -> StackedMLP:
    """A view of one agent's rows of a stack [S, N]."""
    seen = StackedMLP((1, 1), (1,), [torch.Generator()])
    seen.layers, seen.split = net.layers, net.split
    seen.theta = torch.nn.Parameter(net.theta.detach()[:, agent])
    return seen


def load_score(net: StackedScore, seed: int, agent: int, into: PlainScore) -> None:
    """Linear layers lie in the stack in the order of their use, then scale and shift of each block's norm."""
    parts = net.theta.detach()[seed, agent].split(net.split)
    into.frequencies.copy_(net.frequencies[seed, agent])
    linears = [into.time[0], into.time[2], into.first, *(b[i] for b in into.blocks for i in (1, 3)), into.last]
    for k, ((fan_in, out), linear) in enumerate(zip(net.layers, linears, strict=True)):
        linear.weight.data = parts[2 * k].view(fan_in, out).T.clone()
        linear.bias.data = parts[2 * k + 1].clone()
    for block, scale, shift in zip(
        into.blocks, parts[2 * len(linears) :: 2], parts[2 * len(linears) + 1 :: 2], strict=True
    ):
        block[0].weight.data, block[0].bias.data = scale.clone(), shift.clone()


@pytest.mark.parametrize("order", [[], [2, 0, 1]])
def test_stacked_and_plain_agree(order):
    config = OMSD_CONFIG.replace(order=order, n_updates=2 * N_UPDATES, score_blocks=2)
    stacked = OMSD(config, [0, 1], CONTINUOUS).double()
    stacked.configure_optimizers()
    with torch.no_grad():
        for parameter in stacked.score.parameters():  # norms start as ones and zeros
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)).double()
    data = [fitting(stacked, 16), fitting(stacked, 32)[16:]]
    noise = stacked.draw(Chunk("actor", config.n_critic_updates + config.n_score_updates, N_UPDATES, 16))
    plains = []
    for seed in range(2):
        plain = PlainOMSD(config, 3, 4, 2)
        for target, into in ((stacked.q1_target, plain.q1), (stacked.q2_target, plain.q2)):
            load(one_of(target, 0), seed, into)
        for i in range(3):
            load(one_of(stacked.policy, i), seed, plain.policies[i])
            load_score(stacked.score, seed, i, plain.scores[i].double())
        plains.append(plain)
    before = stacked.policy.theta.detach().clone()
    for k in range(N_UPDATES):
        drawn = {name: values[k] for name, values in noise.items()}
        found = stacked.update_actor(torch.stack(data), drawn)
        for seed, (plain, d) in enumerate(zip(plains, data, strict=True)):
            loss = plain.update({"obs": d["obs"]}, drawn["t"][seed], drawn["z"][seed], drawn["lr_scale"].item())
            assert found["loss/policy"][seed].item() == pytest.approx(loss, rel=1e-9, abs=1e-12)
    assert (stacked.policy.theta != before).any(-1).all()
    for seed, plain in enumerate(plains):
        for i, policy in enumerate(plain.policies):
            torch.testing.assert_close(stacked.policy.theta[seed, i], flat(policy), rtol=0, atol=1e-9)
