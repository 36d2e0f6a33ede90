"""Evaluation: many episodes at once, the ways of acting side by side, every episode's metrics kept."""

from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.rng import Stream, generator

EPISODE_RETURN = "episode_return"
Played = dict[str, dict[str, list[list[float] | None]]]  # {mode: {metric: [S][E]}}; None: a seed that diverged

if TYPE_CHECKING:
    from lit_modules.common.seed_module import SeedModule


class Evaluator:
    """Plays `n_episodes` per seed and mode in one batch of worlds [S, M E], M the number of modes.

    Start noise and the draws of sampled actions come from each seed's evaluation stream, offset by the clock: an
    evaluation is the same whichever seeds train beside it and whether or not the run was resumed. Seeds that diverged
    do not play: their worlds are ended from the start.
    """

    def __init__(
        self,
        make: Any,
        seeds: list[int],
        n_episodes: int,
        modes: tuple[str, ...] = ("greedy", "sampled"),
        at_once: int | None = None,
    ):
        """make(n_worlds) -> a batched world. `at_once`: worlds at most; more episodes are played in waves."""
        self.seeds, self.n_episodes, self.modes = seeds, n_episodes, modes
        sides = len(modes) * len(seeds)
        self.wave = n_episodes if at_once is None else max(1, min(n_episodes, at_once // sides))
        self.world: Any = make(sides * self.wave)

    def __call__(self, module: "SeedModule") -> dict[str, list[list[float] | None]]:
        """Undiscounted episode returns {mode: [S][E]}."""
        return {mode: metrics[EPISODE_RETURN] for mode, metrics in self.play(module).items()}

    def play(self, module: "SeedModule") -> Played:
        """Every metric of the world for every episode."""
        rngs = [generator(seed, Stream.EVALUATION, module.n_updates) for seed in self.seeds]
        waves = [self._play(module, rngs) for _ in range(-(-self.n_episodes // self.wave))]
        return {
            mode: {name: _joined([wave[mode][name] for wave in waves], self.n_episodes) for name in metrics}
            for mode, metrics in waves[0].items()
        }

    @torch.no_grad()
    def _play(self, module: "SeedModule", rngs: list[torch.Generator]) -> Played:
        n_seeds, n, world = len(self.seeds), self.wave, self.world
        starts = torch.cat([world.draw_starts(len(self.modes) * n, rng) for rng in rngs])
        given = TensorDict({"start": starts.to(world.device)}, world.batch_size, device=world.device)
        td = world.reset(given if world.start_size else None)
        zeros = torch.zeros(len(starts), dtype=torch.float64, device=td.device)
        found = {name: zeros.clone() for name in world.spec.metrics}  # (S * M E,)
        lost = {*module.crashed, *module.broken_weights()}
        idle = [s for s, seed in enumerate(self.seeds) if seed in lost]
        running = torch.ones_like(zeros, dtype=torch.bool)
        running.view(n_seeds, -1)[idle] = False
        carries = [module.initial_carry(n_seeds, n) for _ in self.modes]

        def of_seeds(key: str) -> Tensor | None:
            value = td.get(key, None)
            return None if value is None else value.view(n_seeds, -1, *value.shape[1:])  # (S, M E, ..)

        for _ in range(world.episode_limit if running.any() else 0):
            obs, legal = of_seeds("obs").to(module.dtype), of_seeds("legal_actions")  # type: ignore[union-attr]
            actions = []
            for k, mode in enumerate(self.modes):
                part, draws = slice(k * n, (k + 1) * n), None
                if mode == "sampled":
                    draws = torch.stack([torch.rand(n, world.n_agents, generator=g) for g in rngs]).to(obs.device)
                allowed = None if legal is None else legal[:, part]
                action, carries[k] = module.act(obs[:, part], allowed, draws, carries[k])
                if idle:  # NaN is no action
                    action = action.clone()
                    action[idle] = 0 if allowed is None else allowed[idle].int().argmax(-1)
                actions.append(action)
            td["action"] = torch.cat(actions, dim=1).flatten(0, 1)  # (S * M E, N)
            td = world.step(td)["next"]
            found[EPISODE_RETURN] += torch.where(running, td["reward"].squeeze(-1).double(), 0.0)
            ended = running & td["done"].squeeze(-1)
            for name in world.spec.metrics[1:]:
                found[name] = torch.where(ended, td["metrics", name].double().view(-1), found[name])
            running &= ~ended
            if not running.any():
                break
        shaped = {name: x.view(n_seeds, len(self.modes), n).cpu() for name, x in found.items()}
        return {m: {name: _rounded(x[:, k], idle) for name, x in shaped.items()} for k, m in enumerate(self.modes)}


def _joined(waves: list[list[list[float] | None]], n_episodes: int) -> list[list[float] | None]:
    """Each seed's episodes of all waves, the first `n_episodes`."""
    seeds = zip(*waves, strict=True)
    return [None if None in parts else [x for part in parts for x in part or []][:n_episodes] for parts in seeds]


def further_metrics(played: Played) -> dict[str, dict[str, list[list[float] | None]]]:
    """{metric: {mode: [S][E]}} of the metrics beside the return, as a record holds them."""
    names = [name for metrics in played.values() for name in metrics if name != EPISODE_RETURN]
    return {name: {mode: metrics[name] for mode, metrics in played.items()} for name in dict.fromkeys(names)}


def _rounded(values: Tensor, idle: list[int]) -> list[list[float] | None]:
    return [None if s in idle else [round(x, 7) for x in row] for s, row in enumerate(values.tolist())]
