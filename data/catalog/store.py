"""Datasets on disk: built here by their generators, or the authors' files; always checked, never downloaded."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from safetensors.torch import load_file, save_file
from tensordict import TensorDict

from data.catalog.manifest import MANIFEST, TRANSITIONS, folder_of
from data.catalog.registry import dataset
from data.common.errors import DiskFull, ReproduceError
from data.common.files import sha256, write_json, write_with
from data.generate import generate, n_rows
from data.layout import Layout
from data.official import SOURCES
from data.schema import flatten
from data.statistics import flat_statistics
from data.worlds import fingerprint, make_world

HEADER_BYTES = 4096  # of the file, at most
Kind = Literal["regenerated", "official"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Dataset:
    """transitions: the schema, [n]. manifest: what `reproduce data show` prints.

    played_in: parameters of the world that these data bring along and must be evaluated in (the official prey); empty
    where the task's own world is the one.
    """

    transitions: TensorDict
    manifest: dict[str, Any]
    played_in: dict[str, Any] = field(default_factory=dict)


def get(
    dataset_id: str,
    kind: Kind = "regenerated",
    root: Path | str | None = None,
    progress: Progress | None = None,
    seed: int | None = None,
) -> Dataset:
    """The Dataset. `regenerated` is built when it is not there; `official` is read from below `root`, of several
    dataset seeds the registry's unless `seed` names another.

    Raises ReproduceError for unknown ids, kinds and seeds, missing or damaged files, and wrong checksums.
    """
    entry = dataset(dataset_id)
    if kind == "official":
        return _official(dataset_id, entry, root, seed)
    if kind != "regenerated":
        raise ReproduceError(f"data kind {kind!r}, expected regenerated or official.")
    if seed is not None:
        raise ReproduceError(f"data.seed={seed} picks among official datasets; regenerated data take none.")
    if not (folder_of(dataset_id) / MANIFEST).exists():
        build(dataset_id, progress=progress)
    return _load(dataset_id, entry)


def build(dataset_id: str, force: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Generate the dataset and write it, data first and manifest last; returns the manifest.

    What is already built and sound is left alone, unless `force`. Raises ReproduceError, with nothing replaced, when
    the disk is too full, an acceptance interval is missed or the bits are not the registry's.
    """
    entry, folder = dataset(dataset_id), folder_of(dataset_id)
    if not force and (folder / MANIFEST).exists():
        with contextlib.suppress(ReproduceError):
            return _load(dataset_id, entry).manifest
    _check_space(dataset_id, folder)
    world, recipe = entry["world"], entry["generator"]
    flat_world = {"name": world["name"], **world["params"]}
    if recipe["name"] == "concatenation":
        parts = [get(part, progress=progress).transitions for part in recipe["params"]["parts"]]
        transitions, measures = torch.cat(parts), {}
    else:
        transitions, measures = generate(recipe["name"], flat_world, recipe["seed"], recipe["params"], progress)
    layout = layout_of(world)
    layout.check(transitions)
    statistics = layout.statistics(transitions)
    acceptance = _accept(dataset_id, entry["acceptance"], flat_statistics(statistics) | measures)
    digest = ""

    def write(partial: Path) -> None:
        nonlocal digest
        save_file({key: value.contiguous() for key, value in flatten(transitions).items()}, partial)
        digest = sha256(partial)
        if entry["sha256"] not in (None, digest):
            raise ReproduceError(
                f"{dataset_id}: this build has sha256 {digest}, data/catalog/registry.yaml says {entry['sha256']}. "
                f"The generator, the world or torch (here {torch.__version__}) differs from what made the recorded one."
            )
        (folder / MANIFEST).unlink(missing_ok=True)  # until the new one is there, the folder counts as not built

    write_with(folder / TRANSITIONS, write)
    manifest = {
        **_manifest(dataset_id, "regenerated", entry, world["params"], statistics),
        "source_format": "safetensors, keys as in data/schema.py",
        "sha256": digest,
        "files": {TRANSITIONS: digest},
        "license": entry["license"],
        "made_by": {"generator": recipe["name"], "params": recipe["params"], "seed": recipe["seed"]},
        "acceptance": acceptance,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _manifest(dataset_id: str, kind: Kind, entry: dict, params: dict, statistics: dict) -> dict[str, Any]:
    """What both kinds state. `published` and `published_cloning` are of the official data, where they are known."""
    name = entry["world"]["name"]
    published = {key: entry[key] for key in ("published", "published_cloning") if key in entry}
    return {
        "id": dataset_id,
        "kind": kind,
        "description": entry["description"],
        "world": {"name": name, "params": params},
        "fingerprint": fingerprint(name, **params),
        "statistics": statistics,
        **published,
    }


def _accept(dataset_id: str, intervals: dict[str, list[float]], measures: dict[str, float]) -> dict[str, dict]:
    """Each measure against its interval, ends included; ReproduceError at the first outside."""
    checks = {}
    for name, (low, high) in intervals.items():
        # A joint action that never occurs has no measure.
        value = measures.get(name, 0) if name.startswith("joint_") else measures[name]
        checks[name] = {"value": value, "low": low, "high": high, "passed": low <= value <= high}
        if not checks[name]["passed"]:
            raise ReproduceError(
                f"{dataset_id}: {name} is {value:.6g}, accepted is {low} to {high}. Nothing was written."
            )
    return checks


def layout_of(world: dict[str, Any]) -> Layout:
    """The layout of a catalog entry's `world`."""
    return make_world(world["name"], 1, **world["params"]).layout


def size_on_disk(dataset_id: str) -> int:
    """Bytes of the file at most: every episode has full length."""
    entry = dataset(dataset_id)
    recipe = entry["generator"]
    if recipe["name"] == "concatenation":
        return sum(size_on_disk(part) for part in recipe["params"]["parts"])
    layout = layout_of(entry["world"])
    return HEADER_BYTES + layout.row_bytes * n_rows(recipe["name"], recipe["params"], layout.spec)


def _check_space(dataset_id: str, folder: Path) -> None:
    """Room for the file, a tenth more, and for the parts that it still has to build."""
    recipe = dataset(dataset_id)["generator"]
    parts = recipe["params"]["parts"] if recipe["name"] == "concatenation" else []
    unbuilt = [part for part in parts if not (folder_of(part) / MANIFEST).exists()]
    needed = int(1.1 * sum(size_on_disk(one) for one in [dataset_id, *unbuilt]))
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskFull(
            f"building into {folder} needs up to {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free. "
            "Free some space, or point REPRODUCE_HOME at another disk."
        )


def _load(dataset_id: str, entry: dict) -> Dataset:
    """Read what `build` wrote. Raises ReproduceError unless manifest, file and registry agree."""
    folder = folder_of(dataset_id)
    rebuild = f"Rebuild it with `reproduce data build {dataset_id}`, or delete {folder}."
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        stated = manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReproduceError(f"{folder / MANIFEST} is damaged ({error!r}). {rebuild}") from error
    try:
        found = sha256(folder / TRANSITIONS)
    except OSError as error:
        raise ReproduceError(f"{folder / TRANSITIONS} cannot be read ({error.strerror}). {rebuild}") from error
    for source, expected in (("its manifest", stated), ("data/catalog/registry.yaml", entry["sha256"])):
        if expected not in (None, found):
            raise ReproduceError(f"{folder / TRANSITIONS} has sha256 {found}, {source} says {expected}. {rebuild}")
    try:
        layout = layout_of(entry["world"])
        transitions = layout.read(load_file(folder / TRANSITIONS))
    except (OSError, safetensors.SafetensorError) as error:
        raise ReproduceError(f"{folder / TRANSITIONS} is damaged ({error}). {rebuild}") from error
    layout.check(transitions)
    return Dataset(transitions, manifest)


def _official(dataset_id: str, entry: dict, root: Path | str | None, seed: int | None) -> Dataset:
    """Read the authors' files. Checksums are compared where the registry knows them, before anything is parsed."""
    official = entry["official"]
    if official is None:
        raise ReproduceError(
            f"{dataset_id} has no official data: {entry['official_reason']}. Use the regenerated kind."
        )
    choices = [choice | {"default_path": choice["path"]} for choice in (official, *official.get("also", []))]
    if seed is not None:
        seeded = [(SOURCES[choice["source"]].with_seed, choice) for choice in choices]
        choices = [choice | {"path": pick(choice["path"], seed)} for pick, choice in seeded if pick]
        choices = [c if c["path"] == c["default_path"] else c | {"files": {}} for c in choices]  # checksums unknown
        if not choices:
            raise ReproduceError(f"data.seed={seed}: {dataset_id} has one official dataset; leave data.seed out.")
    where = "Published: {published}. Point data.root at the folder that holds {path}."
    if root is None:
        advice = " Or: ".join(where.format(**choice) for choice in choices)
        raise ReproduceError(f"{dataset_id}: official data needs data.root=DIR; nothing is downloaded. {advice}")
    # The folder itself, a folder of several sources, or a clone of the authors' repository.
    parts = (".", official["source"], "buffer", "alberdice/buffer")
    inside = [(Path(root) / part / choice["path"], choice) for choice in choices for part in parts]
    place, official = next(((path, choice) for path, choice in inside if path.exists()), inside[0])
    source, advice = SOURCES[official["source"]], where.format(**official)
    params = entry["world"]["params"] | official.get("world_params", {})
    world = {"name": entry["world"]["name"], **params}
    checksums, files = official.get("files", {}), {}
    wanted = source.files(official, world)
    for name, size in wanted.items():
        if not (place / name).is_file():
            known = f"sha256 {checksums[name]}" if name in checksums else "checksum unknown"
            others = "".join(f" Or: {where.format(**other)}" for other in choices if other is not official)
            file = os.path.normpath(place / name)
            raise ReproduceError(f"{dataset_id}: {file} is missing ({size}, {known}).{_beside(place)} {advice}{others}")
    present = _below(place) if official["source"] == "omiga_vault" else wanted
    for name in present:
        try:
            files[name or place.name] = found = sha256(place / name if name else place)
        except OSError as error:
            raise ReproduceError(f"{dataset_id}: {place / name} cannot be read ({error.strerror}).") from error
        if checksums.get(name or place.name, found) != found:
            raise ReproduceError(
                f"{dataset_id}: {place / name} has sha256 {found}, the file seen before has "
                f"{checksums[name or place.name]}: it is damaged or another version. {advice}"
            )
    played_in = source.world_params(place, world)
    shown = {"name": world["name"], "params": params}
    transitions = source.load(place, world)
    manifest = {
        **_manifest(dataset_id, "official", entry, params | played_in, layout_of(shown).statistics(transitions)),
        "source_format": official["source"],
        "path": official["path"],
        "default_path": official["default_path"],
        "sha256": None,
        "files": files,
        "checksums_known": sorted(checksums),
        "license": official["license"],
        "made_by": {"published": official["published"]},
        "acceptance": {},
    }
    return Dataset(transitions, manifest, played_in)


def _beside(place: Path) -> str:
    """What there is where a dataset's folder was looked for, in words."""
    if place.exists() or not place.parent.is_dir():
        return ""
    return f" {place.parent} holds {', '.join(sorted(path.name for path in place.parent.iterdir())[:10]) or 'nothing'}."


def _below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
