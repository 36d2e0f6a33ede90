"""Evaluation: many episodes at once, greedy and sampled side by side, every episode's return kept."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from data.sampling import stream

if TYPE_CHECKING:
    from data.worlds.discrete import DiscreteWorld
    from lit_modules.base import SeedModule

MODES = ("greedy", "sampled")


class Evaluator:
    """Plays `n_episodes` per seed and mode in one batch of worlds [S, 2E].

    The draws of sampled actions come from each seed's evaluation stream, offset by the clock: an evaluation is the same
    whichever seeds train beside it and whether or not the run was resumed.
    """

    def __init__(self, make: Any, seeds: list[int], n_episodes: int):
        """make(n_worlds) -> a batched world."""
        self.seeds, self.n_episodes = seeds, n_episodes
        self.world: DiscreteWorld = make(2 * n_episodes * len(seeds))

    @torch.no_grad()
    def __call__(self, module: "SeedModule") -> dict[str, list[list[float]]]:
        """Undiscounted episode returns {"greedy": [S][E], "sampled": [S][E]}."""
        n_seeds, half, world = len(self.seeds), self.n_episodes, self.world
        generators = [stream(seed, 3, module.n_updates) for seed in self.seeds]
        td = world.reset()
        returns = torch.zeros(n_seeds * 2 * half, dtype=torch.float64, device=td.device)
        running = torch.ones_like(returns, dtype=torch.bool)
        for _ in range(world.episode_limit):
            obs = td["obs"].view(n_seeds, 2 * half, *td["obs"].shape[1:]).to(module.dtype)
            legal = td["legal_actions"].view(n_seeds, 2 * half, *td["legal_actions"].shape[1:])
            draws = torch.stack([torch.rand(half, world.n_agents, generator=g) for g in generators]).to(obs.device)
            greedy = module.act(obs[:, :half], legal[:, :half], None)
            sampled = module.act(obs[:, half:], legal[:, half:], draws)
            td["action"] = torch.cat([greedy, sampled], dim=1).flatten(0, 1)  # (S * 2E, N)
            td = world.step(td)["next"]
            returns += torch.where(running, td["reward"].squeeze(-1).double(), 0.0)
            running &= ~td["done"].squeeze(-1)
            if not running.any():
                break
        scores: Tensor = returns.view(n_seeds, 2, half).cpu()
        return {mode: [[round(x, 7) for x in row] for row in scores[:, k].tolist()] for k, mode in enumerate(MODES)}
