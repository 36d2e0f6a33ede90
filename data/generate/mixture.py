"""Simulated data from committed behavior policies (data.behavior.train trained them).

A dataset is a mixture: so many episodes of this snapshot with that much action noise. Actions are the policy's output,
times `scale`, plus Gaussian noise, clipped to [-1, 1] in the particle worlds. MuJoCo clamps its controls itself, and
its official data leave [-1, 1], so there they are not clipped.
"""

from collections.abc import Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.common.files import sha256
from data.common.rng import Stream, generator
from data.generate.collect import Progress
from data.generate.play import play
from data.generate.processes import side_by_side
from data.schema import trajectories_of
from data.statistics import episode_returns, trajectory_episodes
from data.worlds import WORLDS

WEIGHTS = Path(__file__).parents[1] / "behavior"
MOST_TRIES = 20  # times the episodes asked for, before a range of returns counts as out of reach


def policies(params: dict) -> set[str]:
    """Names of the committed policies that the parts of a mixture are played by."""
    return {part.get("weights", params.get("weights", "")) for part in params["parts"]}


def _unreadable(path: Path, error: Exception) -> ReproduceError:
    return ReproduceError(f"behavior policies {path} cannot be read ({error}): restore the file from git.")


def checksum(name: str) -> str:
    """sha256 of the file of policies. Raises ReproduceError where it cannot be read."""
    path = WEIGHTS / f"{name}.safetensors"
    try:
        return sha256(path)
    except OSError as error:
        raise _unreadable(path, error) from error


@cache
def snapshots(name: str, folder: Path | None = None) -> dict[int, list[Tensor]]:
    """<folder>/<name>.safetensors (data/behavior): environment steps -> [W0, b0, W1, b1, W2, b2] of the actor."""
    path = (folder or WEIGHTS) / f"{name}.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    steps = sorted({int(key.split("/")[0]) for key in tensors})
    return {k: [tensors[f"{k}/{part}{layer}"] for layer in range(3) for part in ("weight", "bias")] for k in steps}


def act(weights: list[Tensor], obs: Tensor) -> Tensor:
    """obs [..., N, D] -> tanh of a two-layer ReLU network, [..., N, A]: weights [out, in] for all agents, or of each
    [N, out, in] (then obs is [B, N, D])."""
    own = weights[0].ndim == 3
    h = obs.movedim(-2, 0) if own else obs  # agents first: one product per agent
    for layer in range(3):
        weight, bias = weights[2 * layer], weights[2 * layer + 1]
        h = torch.baddbmm(bias.unsqueeze(1), h, weight.mT) if own else torch.nn.functional.linear(h, weight, bias)
        h = h.relu() if layer < 2 else h.tanh()
    return h.movedim(0, -2) if own else h


def noisy_act(
    weights: list[Tensor],
    noise: float,
    obs: Tensor,
    generator: torch.Generator,
    clip: bool = False,
    scale: float = 1.0,
) -> Tensor:
    """`scale` times `act`, plus Gaussian noise of that deviation."""
    mean = scale * act(weights, obs)
    noisy = mean + noise * torch.randn(mean.shape, generator=generator)
    return noisy.clamp(-1, 1) if clip else noisy


def mixture(
    world: dict, seed: int, parts: list[dict], rows: int, weights: str = "", progress: Progress | None = None
) -> TensorDict:
    """Trajectories of every part {weights, snapshot, episodes, noise}, each from its own generators; `rows` expected.

    `weights` names the policies of parts that name none. A part with `scale` multiplies its actions: a runner that
    falls walks slower then, and does not. A part with `returns: [low, high]` keeps the episodes whose return lies
    within, and plays on until it has enough.
    """
    kind = WORLDS[world["name"]]
    for part in parts:
        name = part.get("weights", weights)
        if part["snapshot"] not in (policies := snapshots(name)):
            known = f"known: {', '.join(map(str, policies))}"
            raise ReproduceError(f"behavior policies {name} have no snapshot {part['snapshot']}; {known}.")
    played: list[list[TensorDict]] = [[] for _ in parts]
    waves, missing = [0] * len(parts), [part["episodes"] for part in parts]
    first = len(list(_due(parts, kind.wave, waves, missing)))
    with side_by_side(min(torch.get_num_threads(), first) if kind.waves_apart else 1) as each:
        while due := list(_due(parts, kind.wave, waves, missing)):
            jobs = [(world, parts[k], weights, n, seed, 1000 * k + number) for k, number, n in due]
            for (k, number, _), columns in zip(due, each(_wave, jobs), strict=True):
                wave = trajectories_of({key: torch.from_numpy(column) for key, column in columns.items()})
                if "returns" in parts[k]:
                    low, high = parts[k]["returns"]
                    wave = _within(wave, low, high, missing[k])
                waves[k], missing[k] = number + 1, missing[k] - int(wave["final"].sum())
                played[k].append(wave)
                if progress:
                    progress(min(sum(map(len, chain(*played))), rows), rows)
    if progress:
        progress(rows, rows)
    return torch.cat(list(chain(*played)))  # type: ignore


def _due(parts: list[dict], most: int, waves: list[int], missing: list[int]) -> Iterator[tuple[int, int, int]]:
    """(part, number, episodes) of the waves that are needed in any case, after `waves` of them left so many missing."""
    for k, part in enumerate(parts):
        if missing[k] > 0 and waves[k] * most > MOST_TRIES * part["episodes"] + most:
            raise ReproduceError(f"snapshot {part['snapshot']} of part {k + 1} hardly ever returns {part['returns']}.")
        size = min(most, part["episodes"])
        for number in range(-(-missing[k] // size)):
            yield k, waves[k] + number, size if "returns" in part else min(size, missing[k] - number * size)


def _wave(world: dict, part: dict, weights: str, n: int, seed: int, number: int) -> dict[str, np.ndarray]:
    """n episodes of the part, as columns that another process can be sent."""
    policy, kind = snapshots(part.get("weights", weights))[part["snapshot"]], WORLDS[world["name"]]
    noisy = partial(noisy_act, policy, part["noise"], clip=kind.bounded_actions, scale=part.get("scale", 1.0))
    rows = play(world, noisy, n, generator(seed, Stream.COLLECTION, number))
    return {key: column.numpy() for key, column in rows.items()}


def _within(rows: TensorDict, low: float, high: float, most: int) -> TensorDict:
    """The rows of the first `most` episodes whose return lies in [low, high]."""
    episode = trajectory_episodes(rows["final"])
    returns = episode_returns(rows.select("reward").set("episode", episode))
    kept = (returns >= low) & (returns <= high)
    return rows[(kept & (kept.cumsum(0) <= most))[episode]]
