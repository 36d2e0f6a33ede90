"""A dataset in another project's format: written beside its place, read back, compared, and only then put there."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

from data.catalog.dataset import Dataset, layout_of
from data.catalog.registry import dataset
from data.common.errors import ReproduceError, nearest
from data.common.files import is_full, sha256
from data.common.partials import in_the_making
from data.layout import Layout
from data.official import minari, omar_npy, omiga_hdf5, omiga_vault
from data.schema import flatten

World = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """`worlds`: whose experience it holds; none named: anyone's. `note`: what a reader of the files must know."""

    worlds: tuple[str, ...]
    holds: str
    is_folder: bool
    write: Callable[[TensorDict, Path, World, Layout, dict[str, Any]], None]
    load: Callable[[Path, World, Layout], TensorDict]
    note: str


def _write_minari(rows: TensorDict, path: Path, world: World, layout: Layout, manifest: dict[str, Any]) -> None:
    name = f"{manifest['id']}-v0"
    about = {"description": manifest["description"], "algorithm_name": manifest["made_by"].get("generator", "unknown")}
    minari.write(rows, path, layout, name, about)


FORMATS = {
    "minari": Format(
        (),
        "any dataset",
        True,
        _write_minari,
        lambda path, world, layout: minari.load(path, layout),
        "rewards are the team's; those of agents, and features, are in infos. No environment is registered",
    ),
    "omar": Format(
        ("mpe",),
        "particle worlds",
        True,
        lambda rows, path, world, layout, manifest: omar_npy.write(rows, path, world, exact=True),
        lambda path, world, layout: omar_npy.load(path, world),
        "float64. The prey's rewards and all dones are zeros: episodes are told by their length",
    ),
    "omiga": Format(
        ("mamujoco",),
        "multi-agent MuJoCo",
        False,
        lambda rows, path, world, layout, manifest: omiga_hdf5.write(rows, path, world, exact=True),
        lambda path, world, layout: omiga_hdf5.load(path, world),
        "views in float64. `d` marks time limits like failures: readers tell them by the episode's length",
    ),
    "vault": Format(
        ("mamujoco",),
        "multi-agent MuJoCo",
        True,
        lambda rows, path, world, layout, manifest: omiga_vault.write(rows, path, world, exact=True),
        lambda path, world, layout: omiga_vault.load(path, world),
        "views in float64. Time limits are marked as terminals: readers tell them by the episode's length",
    ),
}


def check(dataset_id: str, to: str, path: Path) -> Format:
    """The format. Raises ReproduceError for an unknown one, one that cannot hold the dataset, and a place that is
    taken."""
    if to not in FORMATS:
        raise ReproduceError(f"--to {to}: choose one of {', '.join(FORMATS)}.{nearest(to, list(FORMATS))}")
    chosen, world = FORMATS[to], dataset(dataset_id).world.name
    if chosen.worlds and world not in chosen.worlds:
        fits = ", ".join(name for name, each in FORMATS.items() if not each.worlds or world in each.worlds)
        raise ReproduceError(
            f"--to {to} holds {chosen.holds}: it has no place for the states, legal actions or episodes of {world}. "
            f"{dataset_id} can be exported to {fits}."
        )
    if os.path.lexists(path):
        raise ReproduceError(f"{path} exists and is left as it is: choose another FILE.")
    return chosen


def export(dataset_id: str, found: Dataset, to: str, path: Path) -> dict[str, Any]:
    """Write the dataset to `path`, whole or not at all; what was written, as a document.

    It is read back and compared to the bit first. Raises ReproduceError as `check` does, where the format does not give
    the data back, and where the disk is full.
    """
    chosen = check(dataset_id, to, path)
    entry, manifest = dataset(dataset_id), found.manifest
    # Of the world that the data are from: an official prey acts in it.
    world = {"name": entry.world.name, **manifest["world"]["params"]}
    layout = layout_of(entry.world)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = in_the_making(path)
    _remove(partial)
    try:
        chosen.write(found.transitions, partial, world, layout, manifest)
        if apart := difference(found.transitions, chosen.load(partial, world, layout)):
            raise ReproduceError(f"--to {to} does not give {dataset_id} back: {apart}. Nothing was written.")
        if os.path.lexists(path):
            raise ReproduceError(f"{path} exists by now: choose another FILE.")
        os.replace(partial, path)
    except (OSError, RuntimeError, ValueError) as error:
        full = "the disk is full" if is_full(path.parent, error) else str(getattr(error, "strerror", None) or error)
        raise ReproduceError(f"cannot write {path}: {full}. Nothing was written.") from error
    finally:
        _remove(partial)
    files = {path.name: path} if path.is_file() else {str(f.relative_to(path)): f for f in sorted(path.rglob("*"))}
    return {
        "id": dataset_id,
        "to": to,
        "path": str(path),
        "n_transitions": manifest["statistics"]["n_transitions"],
        "of": manifest["sha256"] or manifest["files"],
        "files": {name: sha256(file) for name, file in files.items() if file.is_file()},
        "license": manifest["license"],
        "note": chosen.note,
    }


def difference(one: TensorDict, other: TensorDict) -> str:
    """Where two datasets differ, to the bit; empty where they do not."""
    mine, theirs = flatten(one), flatten(other)
    if missing := set(mine) ^ set(theirs):
        return f"{sorted(missing)[0]} is in one of the two alone"
    for key, value in mine.items():
        if value.shape != theirs[key].shape or value.dtype != theirs[key].dtype:
            return (
                f"{key} is {list(value.shape)} {value.dtype}, and {list(theirs[key].shape)} {theirs[key].dtype} there"
            )
        if not torch.equal(value, theirs[key]):
            rows = (value != theirs[key]).flatten(1).any(1) if value.ndim > 1 else value != theirs[key]
            return f"{key} differs first in row {int(rows.nonzero()[0])}"
    return ""


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
