"""Evaluation: many episodes at once, the ways of acting side by side, every episode's return kept."""

from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.rng import Stream, generator

if TYPE_CHECKING:
    from lit_modules.common.seed_module import SeedModule


class Evaluator:
    """Plays `n_episodes` per seed and mode in one batch of worlds [S, M E], M the number of modes.

    Start noise and the draws of sampled actions come from each seed's evaluation stream, offset by the clock: an
    evaluation is the same whichever seeds train beside it and whether or not the run was resumed.
    """

    def __init__(self, make: Any, seeds: list[int], n_episodes: int, modes: tuple[str, ...] = ("greedy", "sampled")):
        """make(n_worlds) -> a batched world."""
        self.seeds, self.n_episodes, self.modes = seeds, n_episodes, modes
        self.world: Any = make(len(modes) * n_episodes * len(seeds))

    @torch.no_grad()
    def __call__(self, module: "SeedModule") -> dict[str, list[list[float]]]:
        """Undiscounted episode returns {mode: [S][E]}."""
        n_seeds, n, world = len(self.seeds), self.n_episodes, self.world
        generators = [generator(seed, Stream.EVALUATION, module.n_updates) for seed in self.seeds]
        starts = torch.cat([world.draw_starts(len(self.modes) * n, g) for g in generators])
        td = world.reset(TensorDict({"start": starts}, world.batch_size) if world.start_size else None)
        returns = torch.zeros(len(starts), dtype=torch.float64, device=td.device)
        running = torch.ones_like(returns, dtype=torch.bool)

        def of_seeds(key: str) -> Tensor | None:
            value = td.get(key, None)
            return None if value is None else value.view(n_seeds, -1, *value.shape[1:])  # (S, M E, ..)

        for _ in range(world.episode_limit):
            obs, legal = of_seeds("obs").to(module.dtype), of_seeds("legal_actions")  # type: ignore[union-attr]
            actions = []
            for k, mode in enumerate(self.modes):
                part, draws = slice(k * n, (k + 1) * n), None
                if mode == "sampled":
                    draws = torch.stack([torch.rand(n, world.n_agents, generator=g) for g in generators]).to(obs.device)
                actions.append(module.act(obs[:, part], None if legal is None else legal[:, part], draws))
            td["action"] = torch.cat(actions, dim=1).flatten(0, 1)  # (S * M E, N)
            td = world.step(td)["next"]
            returns += torch.where(running, td["reward"].squeeze(-1).double(), 0.0)
            running &= ~td["done"].squeeze(-1)
            if not running.any():
                break
        scores: Tensor = returns.view(n_seeds, len(self.modes), n).cpu()
        return {m: [[round(x, 7) for x in row] for row in scores[:, k].tolist()] for k, m in enumerate(self.modes)}
