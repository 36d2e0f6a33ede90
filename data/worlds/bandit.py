"""A one-step continuous game: n agents choose numbers in [-1, 1] and share the mean product of all pairs of them.

Two agents: a_1 a_2 (OMSD's bandit). Every agent observes five ones.
"""

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from data.common.errors import ReproduceError
from data.common.spec import Box, WorldSpec
from data.worlds.base import positive
from data.worlds.continuous import ContinuousWorld


class Bandit(ContinuousWorld):
    """n_worlds games at once; `features` hold nothing. The first step terminates."""

    def __init__(self, n_worlds: int, n_agents: int = 2, device: str | torch.device = "cpu"):
        if positive("n_agents", n_agents) < 2:
            raise ReproduceError(f"n_agents is {n_agents}: the reward is over pairs, so two at least.")
        spec = WorldSpec(
            n_agents, obs_size=5, state_size=5, action=Box(1), episode_limit=1, state_per_agent=True, n_features=1,
            layout="trajectories", individual_rewards=True,
        )  # fmt: skip
        super().__init__(spec, n_worlds, device)
        self._over = torch.zeros(n_worlds, 1, dtype=torch.bool, device=self.device)

    def observe(self, features: Tensor) -> dict[str, Tensor]:
        """features [.., 1] -> obs and state [.., N, 5]."""
        obs = features.new_ones((*features.shape[:-1], self.n_agents, self.obs_size), dtype=torch.float32)
        return {"obs": obs, "state": obs}

    def fixed_starts(self, n: int) -> Tensor:
        return torch.empty(n, 0)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        chosen = torch.ones_like(self._over) if chosen is None else chosen.view_as(self._over)
        self._over = self._over & ~chosen
        return self._report(rewards=torch.zeros(len(chosen), self.n_agents, device=self.device))

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        a = tensordict["action"].squeeze(-1).clamp(-1, 1)
        pairs = (a.sum(-1).square() - a.square().sum(-1)) / (self.n_agents * (self.n_agents - 1))
        reward = pairs.unsqueeze(-1).masked_fill(self._over, 0.0)
        self._over = torch.ones_like(self._over)
        return self._report(reward=reward, rewards=reward.repeat(1, self.n_agents))

    def _report(self, **extra: Tensor) -> TensorDict:
        features = torch.zeros(len(self._over), 1, dtype=torch.float64, device=self.device)
        ends = {"done": self._over.clone(), "terminated": self._over.clone(), "truncated": torch.zeros_like(self._over)}
        return TensorDict(
            {**self.observe(features), "features": features, **ends, **extra}, self.batch_size, device=self.device
        )
