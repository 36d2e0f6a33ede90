"""Simulated data from committed behavior policies (data.behavior.train trained them).

A dataset is a mixture: so many episodes of this snapshot with that much action noise. Actions are the policy's output,
times `scale`, plus Gaussian noise, clipped to [-1, 1] in the particle worlds. MuJoCo clamps its controls itself, and
its official data leave [-1, 1], so there they are not clipped.
"""

from functools import cache, partial
from pathlib import Path

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
    made, done, kind = [], 0, WORLDS[world["name"]]
    for k, part in enumerate(parts):
        name = part.get("weights", weights)
        policies = snapshots(name)
        if part["snapshot"] not in policies:
            known = f"known: {', '.join(map(str, policies))}"
            raise ReproduceError(f"behavior policies {name} have no snapshot {part['snapshot']}; {known}.")
        missing, waves = part["episodes"], 0
        while missing > 0:
            if waves * kind.wave > MOST_TRIES * part["episodes"] + kind.wave:
                raise ReproduceError(f"snapshot {part['snapshot']} of {name} hardly ever returns {part['returns']}.")
            n = min(kind.wave, missing if "returns" not in part else part["episodes"])
            scale = part.get("scale", 1.0)
            policy = policies[part["snapshot"]]
            noisy = partial(noisy_act, policy, part["noise"], clip=kind.bounded_actions, scale=scale)
            wave = play(world, noisy, n, generator(seed, Stream.COLLECTION, 1000 * k + waves))
            if "returns" in part:
                wave = _within(wave, *part["returns"], missing)
            waves, missing = waves + 1, missing - int(wave["final"].sum())
            made.append(wave)
            done += len(wave)
            if progress:
                progress(min(done, rows), rows)
    if progress:
        progress(rows, rows)
    return torch.cat(made)  # type: ignore


def _within(rows: TensorDict, low: float, high: float, most: int) -> TensorDict:
    """The rows of the first `most` episodes whose return lies in [low, high]."""
    episode = trajectory_episodes(rows["final"])
    returns = episode_returns(rows.select("reward").set("episode", episode))
    kept = (returns >= low) & (returns <= high)
    return rows[(kept & (kept.cumsum(0) <= most))[episode]]
