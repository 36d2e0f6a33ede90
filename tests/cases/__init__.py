"""One file per algorithm, from which its tests, loss fingerprint, parity and benchmark follow.

A file defines CASE (reproduce.regression.cases.Case): settings in small, and the algorithm for one seed as one would
write it first, with torch.nn and torch.optim. Here stands what several of these plain versions use.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor, nn

from data.common.spec import WorldSpec
from data.synthetic import continuous_spec, discrete_spec
from data.worlds.smac import spec_of

BRIDGE = discrete_spec(2, 8, 5)
HALFCHEETAH = continuous_spec(6, 23, 1)
HOPPER = continuous_spec(3, 14, 1)
ANT = continuous_spec(2, 113, 4)
MARINES = spec_of("3m")  # whole episodes of 60 steps


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, out in pairwise(sizes):
        layers += [nn.Linear(fan_in, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class NormPolicy(nn.Module):
    """A squashed policy behind torch's own BatchNorm."""

    def __init__(self, *sizes: int):
        super().__init__()
        self.layers, self.norm = mlp(*sizes), nn.BatchNorm1d(sizes[0])

    def forward(self, obs: Tensor) -> Tensor:
        return self.layers(self.norm(obs)).tanh()


class NormCritic(nn.Module):
    """Twin Q behind one BatchNorm: seen [B, O], action [B, A] -> [2, B]."""

    def __init__(self, *sizes: int):
        super().__init__()
        self.q1, self.q2, self.norm = mlp(*sizes), mlp(*sizes), nn.BatchNorm1d(sizes[0])

    def forward(self, seen: Tensor, action: Tensor) -> Tensor:
        x = self.norm(torch.cat([seen, action], -1))
        return torch.stack([self.q1(x).squeeze(-1), self.q2(x).squeeze(-1)])


def with_ids(obs: Tensor) -> Tensor:
    """obs [B, N, O] -> [B, N, O + N]: a one-hot of the agent, for networks that agents share."""
    return torch.cat([obs, torch.eye(obs.shape[1], dtype=obs.dtype).expand(len(obs), -1, -1)], -1)


def squashed_log_prob(out: Tensor, action: Tensor) -> Tensor:
    """out [.., 2 A], action [.., A] -> log-density of tanh(normal), [..]."""
    mean, log_std = out.chunk(2, -1)
    normal = torch.distributions.Normal(mean.clamp(-9, 9), log_std.clamp(-5, 2).exp())
    u = action.clamp(-1 + 1e-7, 1 - 1e-7).atanh()
    squash = 2 * (torch.log(torch.tensor(2.0, dtype=u.dtype)) - u - F.softplus(-2 * u))
    return (normal.log_prob(u) - squash).sum(-1)


def step(optimizer: torch.optim.Optimizer, loss: Tensor, max_grad_norm: float = float("inf")) -> None:
    """One step of an optimizer along the clipped gradient of its own parameters."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], max_grad_norm)
    optimizer.step()


@torch.no_grad()
def move_target(target: nn.Module, net: nn.Module, tau: float) -> None:
    for slow, fast in zip(target.parameters(), net.parameters(), strict=True):
        slow.copy_(tau * fast + (1 - tau) * slow)


def plain_batch(transitions: TensorDict, spec: WorldSpec) -> dict[str, Tensor]:
    """Transitions [B] as the plain versions read them: next/x is next_x, obs scaled to [-1, 1] where it has bounds;
    legal [B, N, A]; reward and mask (1 - terminated) [B]. Of sequences [B, T] the mask is that of the steps."""
    b = dict(transitions.exclude("next").items()) | {f"next_{k}": v for k, v in transitions["next"].items()}
    if spec.obs_bounds:
        low, high = (torch.tensor(bound, dtype=b["obs"].dtype) for bound in spec.obs_bounds)
        b |= {k: (2 * b[k] - high - low) / (high - low) for k in ("obs", "next_obs")}
        b |= {"legal": b["legal_actions"], "next_legal": b["next_legal_actions"]}
    mask = b["mask"] if "mask" in b else ~b["terminated"]
    return b | {"reward": b["reward"].squeeze(-1), "mask": mask.squeeze(-1).to(b["obs"].dtype)}
