"""MADT's and OMIGA's StarCraft data: a folder `<map>/<quality>/`, one torch pickle per episode.

A file is a list over agents of a list over time of [state, obs, [action], [reward], done, legal], in lists or arrays.
Files are read by sorted name; a pickle may name numpy's arrays and numbers, nothing else. The state after the last step
is not stored: the final row repeats the last one, as the released loader takes it for its own next. `done` of an agent
says that it died. So an episode is won where its last reward holds the win, truncated at the map's limit, else lost.
Files whose agents have unequal lengths are left out, as the released loader does.

Reading lists is slow: what they become is kept below outputs/cache/madt.
"""

import contextlib
import hashlib
import math
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.common.files import sha256, write_with
from data.common.foreign import check_tree
from data.common.paths import outputs_dir
from data.official import battles
from data.schema import flatten, trajectories_of
from data.worlds import layout_for

PUBLISHED = "the cloud folder that the README of ZhengYinan-AIR/OMIGA (branch SMAC) links"
PARTS = ("state", "obs", "action", "reward", "done", "legal_actions")
MOST_NUMBERS = 10**7  # of a file, which may name one list many times; corridor's longest episode has 2 million
MOST_UNEQUAL = 0.01  # share of files whose agents may have unequal lengths
VERSION = 1  # of what is kept


def _allowed() -> list[Any]:
    """What a pickle may name: numpy's, under the module names of numpy 1 and 2."""
    core: Any = import_module("numpy._core.multiarray")
    named: list[Any] = [np.dtype, np.ndarray]
    named += [type(np.dtype(kind)) for kind in ("?", "f4", "f8", "i4", "i8", "u1", "i1")]
    for module in ("numpy.core", "numpy._core"):
        named += [
            (core.scalar, f"{module}.multiarray.scalar"),
            (core._reconstruct, f"{module}.multiarray._reconstruct"),
        ]
    return named


def read_episode(path: Path) -> Any:
    """What the pickle holds. Raises ReproduceError, with nothing run, where it names any other class or function."""
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling refused, truncated, no pickle at all
        said = " ".join(str(error).split())
        at = said.find("Unsupported global")
        raise ReproduceError(
            f"{path} cannot be read as an episode of numbers: {said[max(at, 0) :][:200]}. Nothing of it was run. "
            f"Published: {PUBLISHED}."
        ) from error


def arrays_of(path: Path, episode: Any) -> dict[str, np.ndarray] | None:
    """{part: [T, n, ..]}; None where the agents have unequal lengths."""
    try:
        if len({len(agent) for agent in episode}) != 1:
            return None
        n, length, widths = len(episode), len(episode[0]), [_width(episode[0][0][k]) for k in range(6)]
        if n * length * sum(widths) > MOST_NUMBERS:
            raise ValueError(f"{n} agents, {length} steps and {sum(widths)} numbers of each: more than any map has")
        columns = [[[_numbers(agent[t][k], widths[k]) for agent in episode] for t in range(length)] for k in range(6)]
        found = {part: np.asarray(column, np.float64) for part, column in zip(PARTS, columns, strict=True)}
    except (TypeError, ValueError, IndexError, KeyError, RuntimeError) as error:
        raise ReproduceError(
            f"{path}: expected a list over agents of lists of [state, obs, [action], [reward], done, legal] ({error})."
        ) from error
    lengths = {part: array.shape[:2] for part, array in found.items()}
    single = all(math.prod(found[part].shape[2:]) == 1 for part in ("action", "reward", "done"))
    if len(set(lengths.values())) != 1 or 0 in found["obs"].shape or found["done"].ndim != 2 or not single:
        shapes = {part: array.shape for part, array in found.items()}
        raise ReproduceError(f"{path}: its parts do not have one entry per step and agent: {shapes}.")
    for part in ("legal_actions", "done"):
        if (odd := (found[part] != 0) & (found[part] != 1)).any():
            raise ReproduceError(f"{path}: {part} holds {found[part][odd][0]}, expected 0 or 1.")
    if (odd := found["action"] != np.trunc(found["action"])).any():
        raise ReproduceError(f"{path}: an action is {found['action'][odd][0]}, expected a whole number.")
    return found


def _width(value: Any) -> int:
    return math.prod(value.shape) if isinstance(value, torch.Tensor | np.ndarray) else len(value) if _many(value) else 1


def _many(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _numbers(value: Any, width: int) -> Any:
    """A number, or an array or flat list of `width` numbers. Raises TypeError or ValueError for all else."""
    if _width(value) != width:
        raise ValueError(f"{_width(value)} numbers where the first step has {width}")
    value = value.detach().numpy() if isinstance(value, torch.Tensor) else value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"an array of {value.dtype} where numbers belong")
        return value
    for item in value if _many(value) else [value]:
        if np.ndim(item) if isinstance(item, np.ndarray) else not isinstance(item, int | float | np.number | np.bool_):
            raise TypeError(f"{type(item).__name__} where a number belongs")
    return value


def load(folder: Path, world: dict[str, Any]) -> TensorDict:
    """The folder's episodes as trajectories, in the order of their names.

    Raises ReproduceError for files that are no episodes, of another map or view, with NaN, illegal actions or rewards
    that differ between agents, and where many have agents of unequal lengths.
    """
    folder = Path(folder)
    check_tree(folder)
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise ReproduceError(f"{folder} holds no files. Published: {PUBLISHED}.")
    kept = outputs_dir() / "cache" / "madt" / f"{_identity(paths, world)}.safetensors"
    if kept.is_file():
        try:
            rows = trajectories_of(load_file(kept))
            layout_for(**world).check(rows)
            return rows
        except (OSError, SafetensorError, ReproduceError):
            kept.unlink(missing_ok=True)
    rows = _read(folder, paths, world)
    with contextlib.suppress(ReproduceError):  # no room, or not writable: the next run reads the lists again
        write_with(kept, lambda partial: save_file({k: v.contiguous() for k, v in flatten(rows).items()}, partial))
    return rows


def _identity(paths: Sequence[Path], world: dict[str, Any]) -> str:
    facts = [(path.name, sha256(path)) for path in paths]
    return hashlib.sha256(repr((VERSION, facts, sorted(world.items()))).encode()).hexdigest()[:16]


def _read(folder: Path, paths: Sequence[Path], world: dict[str, Any]) -> TensorDict:
    spec = layout_for(**world).spec
    made, unequal = [], 0
    for path in paths:
        found = arrays_of(path, read_episode(path))
        if found is None:
            unequal += 1
            continue
        sizes = {part: found[part].shape[1:] for part in ("state", "obs", "legal_actions")}
        battles.check_sizes(str(path), sizes, world)
        if not (found["reward"] == found["reward"][:, :1]).all():
            raise ReproduceError(f"{path}: the agents' rewards differ, expected the team's for each of them.")
        made.append(_episode(path, found, spec.episode_limit, spec.win_reward or 0.0))
    if unequal > MOST_UNEQUAL * len(paths) or not made:
        raise ReproduceError(f"{folder}: in {unequal} of {len(paths)} files the agents have unequal lengths.")
    columns = {key: torch.cat([episode[key] for episode in made]) for key in made[0]}
    return battles.rows_of(str(folder), columns, world)


def _episode(path: Path, found: dict[str, np.ndarray], limit: int, win_reward: float) -> dict[str, torch.Tensor]:
    """T + 1 rows, the last one twice."""
    length = len(found["obs"])
    if length > limit:
        raise ReproduceError(f"{path}: an episode of {length} steps, the map's limit is {limit}.")
    twice = np.append(np.arange(length), length - 1)
    rows = {part: torch.from_numpy(array[twice]) for part, array in found.items()}
    reward = rows["reward"][:, 0].float().reshape(-1, 1)
    at = torch.arange(length + 1).unsqueeze(-1)
    won = reward[length - 1] > 0.999 * win_reward
    ends, timed_out = at == length - 1, length == limit and not won
    return {
        "obs": rows["obs"].float(),
        "state": rows["state"].float(),
        "legal_actions": rows["legal_actions"] != 0,
        "action": rows["action"].reshape(length + 1, -1).long(),
        "reward": reward,
        "terminated": ends if not timed_out else torch.zeros_like(ends),
        "truncated": ends if timed_out else torch.zeros_like(ends),
        "final": at == length,
    }
