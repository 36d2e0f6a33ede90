"""The stacked InSPO against the plainly written one: the same parameters after many rounds, in float64."""

import pytest
import torch
from plain_inspo import PlainInSPO
from torch import nn

from lit_modules.common.mlp import StackedMLP
from lit_modules.inspo import InSPO
from reproduce.regression.fingerprints import DIMS, INSPO_CONFIG, transitions


def load(net: StackedMLP, seed: int, agent: int, into: nn.Sequential) -> None:
    """Put one row of a stack into a plain network."""
    parts = net.theta.detach()[seed, agent].split(net.split)
    linears = [layer for layer in into if isinstance(layer, nn.Linear)]
    for k, ((fan_in, out), linear) in enumerate(zip(net.layers, linears, strict=True)):
        linear.weight.data = parts[2 * k].view(fan_in, out).T.clone()
        linear.bias.data = parts[2 * k + 1].clone()


def flat(net: nn.Sequential) -> torch.Tensor:
    return torch.cat(
        [x.flatten() for layer in net if isinstance(layer, nn.Linear) for x in (layer.weight.T, layer.bias)]
    )


@pytest.mark.parametrize("steps_per_turn", [1, 3])
def test_stacked_and_plain_agree(steps_per_turn):
    config = INSPO_CONFIG.replace(steps_per_turn=steps_per_turn, n_behavior_updates=0, max_grad_norm=0.5)
    stacked = InSPO(config, [0, 1], DIMS).double()
    stacked.configure_optimizers()
    data = transitions(config.n_candidates)
    noise = stacked.draw(stacked.plan[0])
    for seed in range(2):
        plain = PlainInSPO(config, DIMS.n_agents, DIMS.obs_size, DIMS.n_actions)
        pairs = [(stacked.behavior_policy, plain.mu), (stacked.policy, plain.pi), (stacked.q, plain.q)]
        pairs += [(stacked.q_target, plain.target)]
        fresh = InSPO(config, [0, 1], DIMS).double()
        fresh.configure_optimizers()
        fresh.load_state_dict(stacked.state_dict())
        for net, nets in pairs:
            for agent, into in enumerate(nets):
                load(net, seed, agent, into.double())
        candidates = {
            "obs": fresh.normalize_obs(data["obs"].unsqueeze(0))[0].transpose(0, 1),
            "next_obs": fresh.normalize_obs(data["next", "obs"].unsqueeze(0))[0].transpose(0, 1),
            "legal": data["legal_actions"],
            "next_legal": data["next", "legal_actions"],
            "action": data["action"],
            "reward": data["reward"][:, 0],
            "terminated": data["terminated"][:, 0].double(),
        }
        for k in range(len(noise["beta"])):
            drawn = {name: values[k] for name, values in noise.items()}
            fresh.update_round(torch.stack([data, data]), drawn)
            order = (drawn["rows"][seed] % DIMS.n_agents).tolist()
            plain.round(candidates, order, drawn["resample"][seed], drawn["beta"].item(), drawn["lr_scale"].item())
        for net, nets in [(fresh.policy, plain.pi), (fresh.q, plain.q), (fresh.q_target, plain.target)]:
            for agent, other in enumerate(nets):
                torch.testing.assert_close(net.theta.detach()[seed, agent], flat(other), rtol=0, atol=1e-9)
