"""SMAX's data: fights played by scripted policies (data.generate.scripts)."""

from itertools import count
from typing import Any

import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.common.rng import Stream, generator
from data.common.spec import WorldSpec
from data.generate.collect import SEEN, Progress
from data.generate.play import episodes
from data.generate.scripts import act, check_script
from data.worlds import WORLDS, make_world


def scripted(world: dict, seed: int, parts: list[dict], progress: Progress | None = None) -> TensorDict:
    """Trajectories of every part {script, epsilon, episodes}, each from its own generators.

    Waves of one size are stepped, since JAX compiles for a size; of the last wave the first fights are kept.
    """
    for part in parts:
        check_script(part["script"])
        if not 0 <= part["epsilon"] <= 1 or part["episodes"] < 1:
            raise ReproduceError(f"part {part}: epsilon must lie in [0, 1], episodes must be at least 1.")
    wave, made, done = WORLDS[world["name"]].wave, [], 0
    worlds, total = make_world(n_worlds=wave, **world), sum(part["episodes"] for part in parts)
    for k, part in enumerate(parts):
        for begin in range(0, part["episodes"], wave):
            rng = generator(seed, Stream.COLLECTION, 1000 * k + begin // wave)
            starts, clock = worlds.draw_starts(wave, rng), count()

            def choose(td: TensorDict, part=part, rng=rng, clock=clock) -> torch.Tensor:
                return act(part["script"], part["epsilon"], td["obs"], td["legal_actions"], rng, next(clock))

            lived, n = episodes(worlds, choose, starts, SEEN), min(wave, part["episodes"] - begin)
            made.append(lived[: int(lived["final"].squeeze(-1).nonzero()[n - 1]) + 1])
            done += n
            if progress:
                progress(done, total)
    return torch.cat(made)  # type: ignore


def n_rows(params: dict[str, Any], spec: WorldSpec) -> int:
    """When every fight reaches the limit."""
    return sum(part["episodes"] for part in params["parts"]) * (spec.episode_limit + 1)


def official_only(world: dict, seed: int, progress: Progress | None = None) -> TensorDict:
    """Raises ReproduceError: these data are the authors'."""
    raise ReproduceError(
        f"data of StarCraft II, map {world['map_name']}, are the authors' alone: use data.kind=official data.root=DIR "
        "(`reproduce data show ID` says where they are published), or SMAX with task=smax and data of smax/*."
    )
