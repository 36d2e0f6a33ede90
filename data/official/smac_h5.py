"""CFCQL's and ICQ-MA's StarCraft data: one HDF5 file of whole episode buffers, `<map>_<quality>.h5` and `<map>.h5`.

Every key is (E, T + 1, ..), T the map's limit: state S, obs (n, O), actions (n, 1), avail_actions (n, A), reward 1,
terminated 1, filled 1. An episode of L steps fills rows 0 to L, the last one holding the state it ended in with an
action that was never taken. terminated marks the last step, unless the time limit ended the episode: then it has T
steps. CFCQL's `probs` is not read; ICQ's `actions_onehot` is, and compared.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.official import battles
from data.official.hdf5 import Hdf5, opened
from data.worlds import layout_for

PUBLISHED = {
    "cfcql": "the Google Drive folder that discrete/README.md of thu-rllab/CFCQL links",
    "icq": "the address that the README of YiqinYang/ICQ links",
}
SLAB = 64  # episodes read at once
FLAGS = ("filled", "terminated", "avail_actions", "actions_onehot")
FLOATS = ("state", "obs", "reward")


def shapes(world: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Key -> shape after (E, T + 1)."""
    spec = layout_for(**world).spec
    n = spec.n_agents
    return {
        "state": spec.state_shape, "obs": (n, spec.obs_size), "actions": (n, 1), "avail_actions": (n, spec.n_actions),
        "reward": (1,), "terminated": (1,), "filled": (1,),
    }  # fmt: skip


def load(path: Path, world: dict[str, Any], source: str = "cfcql") -> TensorDict:
    """The file as trajectories, read in slabs of episodes.

    Raises ReproduceError for a file that is missing, truncated or of another map, for NaN, illegal actions, padding
    that is marked as filled, and for an episode without an end.
    """
    path = Path(path)
    with opened(path, PUBLISHED[source]) as file:
        n_episodes, keys = _check(path, file, world)
        parts = []
        for at in range(0, n_episodes, SLAB):
            slab = {key: file.read(key, at, min(at + SLAB, n_episodes)) for key in keys}
            parts.append(_slab(path, at, slab))
    columns = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return battles.rows_of(str(path), columns, world)


def _check(path: Path, file: Hdf5, world: dict[str, Any]) -> tuple[int, list[str]]:
    """(E, keys to read)"""
    limit, wanted, n_episodes = layout_for(**world).spec.episode_limit, shapes(world), None
    if file.describe("actions_onehot") is not None:
        wanted["actions_onehot"] = wanted["avail_actions"]
    for key, shape in wanted.items():
        if (described := file.describe(key)) is None:
            raise ReproduceError(f"{path}: dataset {key!r} is missing; found {file.names()}.")
        found, dtype = described[0] or (), described[1]
        n_episodes = (found[0] if found else 0) if n_episodes is None else n_episodes
        if not n_episodes or found != (n_episodes, limit + 1, *shape):
            raise ReproduceError(
                f"{path}: {key} has shape {list(found)}, expected {[n_episodes or 'E', limit + 1, *shape]} for "
                f"{world['map_name']}, view {world.get('view', 'plain')}. Is it another map's file?"
            )
        if dtype.kind not in ("f" if key in FLOATS else "fbiu") or (dtype.kind == "f" and dtype.itemsize not in (4, 8)):
            raise ReproduceError(
                f"{path}: {key} has dtype {dtype}, expected {'float32 or float64' if key in FLOATS else 'numbers'}."
            )
    return n_episodes or 0, list(wanted)


def _slab(path: Path, at: int, slab: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    for key in set(FLAGS) & set(slab):
        odd = ((slab[key] != 0) & (slab[key] != 1)).reshape(len(slab[key]), -1).any(1)
        _refuse(path, at, odd, f"{key} holds other numbers than 0 and 1")
    fractions = (slab["actions"] != np.trunc(slab["actions"])).reshape(len(slab["actions"]), -1).any(1)
    _refuse(path, at, fractions, "actions are not whole numbers")
    filled, terminated = (slab[key][..., 0] != 0 for key in ("filled", "terminated"))  # [E, T + 1]
    for key in FLOATS:
        if not np.isfinite(slab[key]).all():
            bad = ~np.isfinite(slab[key]).reshape(len(filled), -1).all(1)
            raise ReproduceError(f"{path}: {key} is NaN or infinite first in episode {at + int(bad.argmax())}.")
    lengths, steps = filled.sum(1) - 1, np.arange(filled.shape[1])
    _refuse(path, at, (filled != (steps <= lengths[:, None])).any(1) | (lengths < 1), "filled is not 1 for rows 0 to L")
    misplaced = terminated & (steps != lengths[:, None] - 1)
    _refuse(path, at, misplaced.any(1), "terminated does not stand in the last step")
    ended = terminated.any(1)
    timed_out = ~ended & (lengths == filled.shape[1] - 1)
    _refuse(path, at, ~ended & ~timed_out, "the episode has no end: not terminated, and shorter than the limit")
    if "actions_onehot" in slab:
        apart = (slab["actions_onehot"].argmax(-1) != slab["actions"][..., 0]).any(-1) & (steps < lengths[:, None])
        _refuse(path, at, apart.any(1), "actions_onehot disagrees with actions")
    last = filled & (steps == lengths[:, None] - 1)

    def rows(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[filled]))

    return {
        "obs": rows(slab["obs"]).float(),
        "state": rows(slab["state"]).float(),
        "legal_actions": rows(slab["avail_actions"]) != 0,
        "action": rows(slab["actions"]).squeeze(-1).long(),
        "reward": rows(slab["reward"]).float(),
        "terminated": rows(last & ended[:, None]).unsqueeze(-1),
        "truncated": rows(last & timed_out[:, None]).unsqueeze(-1),
        "final": rows(np.broadcast_to(steps == lengths[:, None], filled.shape)).unsqueeze(-1),
    }


def _refuse(path: Path, at: int, bad: np.ndarray, why: str) -> None:
    if bad.any():
        raise ReproduceError(f"{path}: episode {at + int(bad.argmax())}: {why}.")
