"""Minari's layout, a folder `data/` with main_data.hdf5 and metadata.json, to and from both layouts of data.layout.

Written with h5py alone, as Minari 0.5 reads it. Group `episode_<k>` of an episode of T steps: observations/obs
[T+1, N, O], observations/state where it is not the agents' views, observations/legal_actions [T+1, N, A] where actions
are indices; actions [T, N, A], or actions/_index_<j> [T] of agent j; rewards [T] of the team, terminations and
truncations [T]. infos/features [T+1, F] and infos/rewards [T+1, N], whose first row is the reset's and 0, hold what the
others leave out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.common.extras import needed
from data.common.files import write_json
from data.common.spec import Box, WorldSpec
from data.layout import Layout, Trajectories, Transitions
from data.schema import flatten
from data.statistics import trajectory_episodes

MAIN, METADATA = "main_data.hdf5", "metadata.json"
VERSION = "0.5.0"  # of Minari, whose layout this is


def write(experience: TensorDict, folder: Path, layout: Layout, dataset_id: str, about: dict[str, Any]) -> None:
    """Write a folder that does not exist yet; `about` are further keys of the metadata.

    Raises ReproduceError for transitions whose next states are not those of the rows after them.
    """
    layout.check(experience)
    place = Path(folder) / "data"
    place.mkdir(parents=True)
    n_episodes = n_steps = 0
    keys: set[str] = set()
    with needed("h5py", "HDF5 files").File(place / MAIN, "w", libver="latest") as file:
        for episode in _episodes(experience, layout):
            group = file.create_group(f"episode_{n_episodes}")
            length = len(episode["rewards"])
            group.attrs.update({"id": n_episodes, "total_steps": length})
            for key, value in episode.items():
                group.create_dataset(key, data=value.numpy())
            keys |= set(episode)
            n_episodes, n_steps = n_episodes + 1, n_steps + length
    spaces = {"observation_space": _seen_space(layout.spec, keys), "action_space": _action_space(layout.spec)}
    size_mb = (place / MAIN).stat().st_size / 1e6
    facts = {"total_episodes": n_episodes, "total_steps": n_steps, "data_format": "hdf5"}
    facts |= {"dataset_size": round(size_mb, 1)}
    spoken = {key: json.dumps(space) for key, space in spaces.items()}
    write_json(place / METADATA, {**facts, **spoken, "dataset_id": dataset_id, "minari_version": VERSION, **about})


def _episodes(experience: TensorDict, layout: Layout) -> Iterator[dict[str, Tensor]]:
    if isinstance(layout, Trajectories):
        episode = trajectory_episodes(experience["final"])
        lengths = torch.unique_consecutive(episode, return_counts=True)[1].tolist()
    else:
        lengths = torch.unique_consecutive(experience["episode"], return_counts=True)[1].tolist()
    at, flat = 0, flatten(experience)
    for length in lengths:
        rows = {key: value[at : at + length] for key, value in flat.items()}
        yield _of_rows(rows, layout) if isinstance(layout, Trajectories) else _of_steps(rows, at)
        at += length


def _of_rows(rows: dict[str, Tensor], layout: Trajectories) -> dict[str, Tensor]:
    steps = {key: value[:-1] for key, value in rows.items()}
    seen = dict(layout.observe(rows["features"])) if layout.derived and layout.observe else rows
    found = {f"observations/{key}": seen[key] for key in ("obs", "state", "legal_actions") if key in seen}
    if torch.equal(found["observations/obs"], found["observations/state"]):
        del found["observations/state"]
    if layout.derived:
        found["infos/features"] = rows["features"]
    return found | _acted(steps)


def _of_steps(steps: dict[str, Tensor], at: int) -> dict[str, Tensor]:
    found = {}
    for key in ("obs", "state", "legal_actions"):
        if key not in steps:
            continue
        now, after = steps[key], steps[f"next.{key}"]
        if not torch.equal(now[1:], after[:-1]):
            raise ReproduceError(
                f"minari stores each state of an episode once: next.{key} is not the {key} of the row after it in the "
                f"episode that begins in row {at}."
            )
        found[f"observations/{key}"] = torch.cat([now, after[-1:]])
    return found | _acted(steps)


def _acted(steps: dict[str, Tensor]) -> dict[str, Tensor]:
    action = steps["action"]
    found = {"rewards": steps["reward"].squeeze(-1)}
    found |= {"terminations": steps["terminated"].squeeze(-1), "truncations": steps["truncated"].squeeze(-1)}
    if action.dtype == torch.int64:
        found |= {f"actions/_index_{j}": action[:, j] for j in range(action.shape[1])}
    else:
        found["actions"] = action
    if "rewards" in steps:
        own = steps["rewards"]
        found["infos/rewards"] = torch.cat([torch.zeros_like(own[:1]), own])
    return found


def _box(shape: tuple[int, ...], low: float, high: float, dtype: str) -> dict[str, Any]:
    """A bounded or, by infinities, unbounded space as Minari's metadata has it."""
    fill = [np.full(shape, bound).tolist() for bound in (low, high)]
    return {"type": "Box", "dtype": dtype, "shape": list(shape), "low": fill[0], "high": fill[1]}


def _seen_space(spec: WorldSpec, keys: set[str]) -> dict[str, Any]:
    big = float(np.finfo(np.float32).max)  # JSON has no infinity
    parts = {"obs": _box((spec.n_agents, spec.obs_size), -big, big, "float32")}
    if "observations/state" in keys:
        parts["state"] = _box(spec.state_shape, -big, big, "float32")
    if "observations/legal_actions" in keys:
        parts["legal_actions"] = _box((spec.n_agents, spec.n_actions), 0, 1, "bool")
    return {"type": "Dict", "subspaces": parts}


def _action_space(spec: WorldSpec) -> dict[str, Any]:
    if isinstance(spec.action, Box):
        return _box((spec.n_agents, spec.action_size), -1, 1, "float32")
    one = {"type": "Discrete", "dtype": "int64", "start": 0, "n": spec.n_actions}
    return {"type": "Tuple", "subspaces": [one] * spec.n_agents}


def load(folder: Path, layout: Layout) -> TensorDict:
    """What `write` wrote. Raises ReproduceError for a folder that is none, and as the layout's check does."""
    place = Path(folder) / "data"
    try:
        stated = json.loads((place / METADATA).read_text(encoding="utf-8"))
        with needed("h5py", "HDF5 files").File(place / MAIN, "r") as file:
            parts = [_read(file[f"episode_{k}"], k, layout) for k in range(stated["total_episodes"])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReproduceError(f"{place} is no dataset in Minari's layout: {error!r}.") from error
    flat = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    experience = layout.read(flat)
    layout.check(experience)
    return experience


def _read(group: Any, k: int, layout: Layout) -> dict[str, Tensor]:
    def tensor(key: str) -> Tensor:
        return torch.from_numpy(group[key][()])

    seen = {key: tensor(f"observations/{key}") for key in group["observations"]}
    seen.setdefault("state", seen["obs"])
    n_agents = layout.spec.n_agents
    discrete = "_index_0" in group["actions"] if hasattr(group["actions"], "keys") else False
    action = torch.stack([tensor(f"actions/_index_{j}") for j in range(n_agents)], 1) if discrete else tensor("actions")
    acted = {"action": action, "reward": tensor("rewards").unsqueeze(-1)}
    acted |= {"terminated": tensor("terminations").unsqueeze(-1), "truncated": tensor("truncations").unsqueeze(-1)}
    infos = group.get("infos", {})
    if "rewards" in infos:
        acted["rewards"] = tensor("infos/rewards")[1:]
    if isinstance(layout, Transitions):
        now, after = ({key: value[part] for key, value in seen.items()} for part in (slice(None, -1), slice(1, None)))
        n = len(action)
        ids = {"episode": torch.full((n,), k), "step": torch.arange(n)}
        return now | acted | {f"next.{key}": value for key, value in after.items()} | ids
    if "features" in infos:
        seen = {"features": tensor("infos/features")}
    ended = {key: torch.cat([value, torch.zeros_like(value[:1])]) for key, value in acted.items()}
    final = (torch.arange(len(action) + 1) == len(action)).unsqueeze(-1)
    return seen | ended | {"final": final}
