"""Recurrent agents that share one network, learned from whole episodes.

The network reads an agent's observation, its last action and a one-hot of the agent. Its hidden state is zero at an
episode's first step. A minibatch [S, B, T] of sequences becomes T + 1 rows: those in which a transition starts, and the
one in which the last transition ends. What lies beyond an episode's end is set to zero before anything reads it.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor

from data.common.minibatches import Minibatches
from data.common.spec import WorldSpec
from lit_modules.common.distributions import sample_categorical
from lit_modules.common.gru import StackedGRU
from lit_modules.common.schedule import Phase
from lit_modules.common.seed_module import SeedModule

Carry = tuple[Tensor, Tensor]  # hidden state [S, E N, H], last action as a one-hot [S, E, N, A]


class Recurrent(SeedModule):
    """The settings have batch_size (episodes) and gru_hidden. A subclass has `agent` and acts by `action_log_probs`.

    Chunks are cut so that one seed's minibatches stay below CHUNK_BYTES: whole episodes are large.
    """

    keys = ("obs", "state", "legal_actions", "action", "reward", "terminated")
    keys = (*keys, ("next", "obs"), ("next", "state"), ("next", "legal_actions"))
    CHUNK_BYTES = 2**28
    agent: StackedGRU

    def __init__(self, config: Any, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        row = 8 * (spec.n_agents * spec.obs_size + self.state_size) + 2 * spec.n_agents * spec.n_actions
        self.chunk_size = min(
            self.chunk_size, max(1, self.CHUNK_BYTES // (config.batch_size * spec.episode_limit * row))
        )

    @property
    def state_size(self) -> int:
        return math.prod(self.spec.state_shape)

    def make_agent(self, outputs: int) -> StackedGRU:
        size = self.spec.obs_size + self.spec.n_actions + self.spec.n_agents
        return StackedGRU((size, self.config.gru_hidden, outputs), (len(self.seeds),), self.weight_rngs)

    def episodes(self, name: str, n_updates: int) -> Phase:
        """A phase of `n_updates` on different whole episodes."""
        whole = Minibatches(replacement=False, whole=True)
        longest = self.spec.episode_limit
        return Phase(name, n_updates, self.config.batch_size, sequence_length=longest, minibatches=whole)

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        """batch [S, B, T] -> tensors (S, B, T + 1, ..) of what is seen, (S, B, T, ..) of what is done."""
        batch = sequences(batch)
        mask = batch["mask"]  # (S, B, T, 1)
        obs = rows(batch, "obs", self.scale_obs)  # (S, B, T + 1, N, O)
        action = within(batch["action"], mask)  # (S, B, T, N)
        done = F.one_hot(action, self.spec.n_actions).to(obs.dtype) * mask.unsqueeze(-1)
        last = torch.cat([torch.zeros_like(done[:, :, :1]), done], 2)  # (S, B, T + 1, N, A)
        return {
            "seen": self.agent_input(obs, last),  # (S, B N, T + 1, O + A + N)
            "obs": obs,
            "state": rows(batch, "state").flatten(3),  # (S, B, T + 1, St)
            "legal": rows(batch, "legal_actions"),  # (S, B, T + 1, N, A), none in rows beyond the end
            "action": action,
            "reward": within(batch["reward"], mask).squeeze(-1),  # (S, B, T)
            "ended": (batch["terminated"] & mask).squeeze(-1).to(obs.dtype),
            "mask": mask.squeeze(-1).to(obs.dtype),
        }

    def agent_input(self, obs: Tensor, last: Tensor) -> Tensor:
        """obs [S, B, T, N, O], last actions [S, B, T, N, A] -> [S, B N, T, O + A + N]."""
        n = self.spec.n_agents
        ids = torch.eye(n, dtype=obs.dtype, device=obs.device).expand(*obs.shape[:3], n, n)
        return torch.cat([obs, last, ids], -1).transpose(2, 3).flatten(1, 2)

    def per_agent(self, net: StackedGRU, seen: Tensor) -> Tensor:
        """seen [S, B N, T, in] -> outputs [S, B, T, N, A] from the first row on: agents do not lead, as they do in
        LocalToGlobal's."""
        out = net(seen)[0]
        return out.view(len(out), -1, self.spec.n_agents, *out.shape[2:]).transpose(2, 3)

    # ---- acting

    def action_log_probs(self, out: Tensor, legal: Tensor | None) -> Tensor:
        """The agent's outputs [S, E, N, A] -> log-probabilities by which it acts."""
        raise NotImplementedError

    def initial_carry(self, n_seeds: int, n_episodes: int) -> Carry:
        n = self.spec.n_agents
        return self.agent.initial(n_episodes * n), self.agent.theta.new_zeros(
            n_seeds, n_episodes, n, self.spec.n_actions
        )

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        hidden, last = carry or self.initial_carry(*obs.shape[:2])
        seen = self.agent_input(self.scale_obs(obs).unsqueeze(2), last.unsqueeze(2))  # (S, E N, 1, in)
        out, hidden = self.agent(seen, hidden)
        log_probs = self.action_log_probs(out.view(*obs.shape[:3], -1), legal)
        action = log_probs.argmax(-1) if uniform is None else sample_categorical(log_probs, uniform)
        return action, (hidden, F.one_hot(action, self.spec.n_actions).to(last.dtype))


def sequences(batch: TensorDict) -> TensorDict:
    """[S, B, T] as it is; transitions [S, B] as episodes of one step."""
    if "mask" in batch:
        return batch
    batch = batch.unsqueeze(2)
    return batch.set("mask", torch.ones_like(batch["terminated"]))


def rows(batch: TensorDict, key: str, seen: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """[S, B, T + 1, ..]: each step's own value as it is `seen`, then the one after the last step, then zeros."""
    mask = batch["mask"]
    none = torch.zeros_like(mask[:, :, :1])
    last = mask & ~torch.cat([mask[:, :, 1:], none], 2)
    now, after = within(seen(batch[key]), mask), within(seen(batch["next", key]), last)
    zero = torch.zeros_like(now[:, :, :1])
    here = wide(torch.cat([mask, none], 2), now)
    return torch.where(here, torch.cat([now, zero], 2), torch.cat([zero, after], 2))


def within(x: Tensor, mask: Tensor) -> Tensor:
    """x [S, B, T, ..] with zeros, or False, where mask [S, B, T, 1] is False, whatever stood there."""
    return torch.where(wide(mask, x), x, torch.zeros_like(x))


def wide(mask: Tensor, x: Tensor) -> Tensor:
    """mask [S, B, T, 1] with as many axes as x [S, B, T, ..] has."""
    return mask.view(*mask.shape[:3], *(1,) * (x.ndim - 3))


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """[S, ..], mask of the same shape -> the mean over what the mask counts, [S]."""
    return (x * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def td_lambda(value: Tensor, d: dict[str, Tensor], gamma: float, trace: float) -> Tensor:
    """G_t = trace gamma G_{t+1} + mask_t ( r_t + (1 - trace) gamma value_{t+1} (1 - ended_t) ), from
    G_T = value_T (1 - sum_t ended_t): value [S, B, T + 1] -> G [S, B, T]."""
    g, targets = value[..., -1] * (1 - d["ended"].sum(-1)), []
    step = d["mask"] * (d["reward"] + (1 - trace) * gamma * value[..., 1:] * (1 - d["ended"]))
    for r in reversed(step.unbind(-1)):
        g = trace * gamma * g + r
        targets.append(g)
    return torch.stack(targets[::-1], -1)
