"""Datasets on disk: built here by their generators, or the authors' files; always checked, never downloaded."""

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file

from data.catalog.dataset import Dataset, described, layout_of
from data.catalog.manifest import MANIFEST, TRANSITIONS, folder_of, read_manifest, rebuild_advice
from data.catalog.official_files import read
from data.catalog.registry import dataset, file_of
from data.catalog.schema import DatasetEntry, Kind
from data.common.errors import DiskFull, ReproduceError
from data.common.files import sha256, write_json, write_with
from data.common.foreign import check_regular
from data.common.partials import sweep
from data.common.paths import outputs_dir
from data.common.validation import SHORT
from data.generate import generate, n_rows, weights_of
from data.schema import flatten
from data.statistics import flat_statistics
from data.worlds import fingerprint

HEADER_BYTES = 4096  # of the file, at most
Progress = Callable[..., None]  # (steps done, steps in all), and what is done where that changes


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
        return read(dataset_id, entry, root, seed)
    if kind != "regenerated":
        raise ReproduceError(f"data kind {kind!r}, expected regenerated or official.")
    if seed is not None:
        raise ReproduceError(f"data.seed={seed} picks among official datasets; regenerated data take none.")
    if not (folder_of(dataset_id) / MANIFEST).exists():
        build(dataset_id, progress=progress)
    return _load(dataset_id, entry)


def build(dataset_id: str, force: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Generate the dataset and write it, data first and manifest last; returns the manifest.

    What is already built and sound is left alone, unless `force`; what another process builds is waited for. Raises
    ReproduceError, with nothing replaced, when the disk is too full, an acceptance interval is missed or the bits are
    not the registry's.
    """
    dataset(dataset_id)  # an unknown id takes no lock
    with _alone(dataset_id, progress):
        return _build(dataset_id, force, progress)


@contextlib.contextmanager
def _alone(dataset_id: str, progress: Progress | None) -> Iterator[None]:
    """One process builds a dataset at a time, as far as the file system has locks; the lock goes with its process."""
    tell, place = progress or (lambda *_: None), outputs_dir() / "locks"
    lock = FileLock(place / f"{dataset_id.replace('/', '-')}.lock")
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, NotImplementedError):  # no locks; what cannot be written is told of later
            place.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(lock.acquire(blocking=False))
            except Timeout:
                tell(0, 1, f"data {dataset_id}: another process builds it, waiting")
                held.enter_context(lock)
                tell(0, 1, f"data {dataset_id}")
        yield


def _build(dataset_id: str, force: bool, progress: Progress | None) -> dict[str, Any]:
    entry, folder = dataset(dataset_id), folder_of(dataset_id)
    if not force and (folder / MANIFEST).exists():
        with contextlib.suppress(ReproduceError):
            return _load(dataset_id, entry).manifest
    sweep(folder)
    _check_space(dataset_id, folder)
    recipe, layout = entry.generator, layout_of(entry.world)
    if recipe.parts:
        parts = [get(part, progress=progress).transitions for part in recipe.parts]
        transitions, measures = torch.cat(parts), {}
    else:
        transitions, measures = generate(recipe.name, entry.world.flat, recipe.seed, recipe.params, progress)
    layout.check(transitions)
    statistics = layout.statistics(transitions)
    acceptance = _accept(dataset_id, entry.acceptance, flat_statistics(statistics) | measures)
    digest = ""

    def write(partial: Path) -> None:
        nonlocal digest
        save_file({key: value.contiguous() for key, value in flatten(transitions).items()}, partial)
        digest = sha256(partial)
        if entry.sha256 not in (None, digest):
            raise ReproduceError(
                f"{dataset_id}: this build has sha256 {digest}, {file_of(dataset_id)} says {entry.sha256}. "
                f"The generator, the world or torch (here {torch.__version__}) differs from what made the recorded one."
            )
        (folder / MANIFEST).unlink(missing_ok=True)  # until the new one is there, the folder counts as not built

    write_with(folder / TRANSITIONS, write)
    manifest = {
        **described(dataset_id, "regenerated", entry, entry.world.params, statistics),
        "source_format": "safetensors, keys as in data/schema.py",
        "sha256": digest,
        "files": {TRANSITIONS: digest},
        "license": entry.license,
        "made_by": _made_by(entry),
        "acceptance": acceptance,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _accept(
    dataset_id: str,
    intervals: Mapping[str, list[int | float]],
    measures: dict[str, float],
    advice: str = "Nothing was written.",
) -> dict[str, dict]:
    """Each measure against its interval, ends included; ReproduceError at the first outside or missing."""
    checks = {}
    for name, (low, high) in intervals.items():
        # A joint action that never occurs has no measure.
        value = measures.get(name, 0 if name.startswith("joint_") else math.nan)
        checks[name] = {"value": value, "low": low, "high": high, "passed": low <= value <= high}
        if not checks[name]["passed"]:
            raise ReproduceError(f"{dataset_id}: {name} is {value:.6g}, accepted is {low} to {high}. {advice}")
    return checks


def size_on_disk(dataset_id: str) -> int:
    """Bytes of the file at most: every episode has full length."""
    entry = dataset(dataset_id)
    recipe = entry.generator
    if recipe.parts:
        return sum(size_on_disk(part) for part in recipe.parts)
    layout = layout_of(entry.world)
    return HEADER_BYTES + layout.row_bytes * n_rows(recipe.name, recipe.params, layout.spec)


def _check_space(dataset_id: str, folder: Path) -> None:
    """Room for the file, a tenth more, and for the parts that it still has to build."""
    unbuilt = [part for part in dataset(dataset_id).generator.parts if not (folder_of(part) / MANIFEST).exists()]
    needed = int(1.1 * sum(size_on_disk(one) for one in [dataset_id, *unbuilt]))
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskFull(
            f"building into {folder} needs up to {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free. "
            "Free some space, or point REPRODUCE_HOME at another disk."
        )


def _load(dataset_id: str, entry: DatasetEntry) -> Dataset:
    """Read what `build` wrote. Raises ReproduceError unless manifest, file and registry agree."""
    folder, rebuild = folder_of(dataset_id), rebuild_advice(dataset_id)
    manifest = read_manifest(dataset_id)
    try:
        check_regular(folder / TRANSITIONS)
        found = sha256(folder / TRANSITIONS)
    except OSError as error:
        raise ReproduceError(f"{folder / TRANSITIONS} cannot be read ({error.strerror}). {rebuild}") from error
    for source, expected in (("its manifest", manifest["sha256"]), (file_of(dataset_id), entry.sha256)):
        if expected not in (None, found):
            raise ReproduceError(f"{folder / TRANSITIONS} has sha256 {found}, {source} says {expected}. {rebuild}")
    try:
        layout = layout_of(entry.world)
        transitions = layout.read(load_file(folder / TRANSITIONS))
    except (OSError, safetensors.SafetensorError) as error:
        raise ReproduceError(f"{folder / TRANSITIONS} is damaged ({error}). {rebuild}") from error
    layout.check(transitions)
    _check_manifest(dataset_id, entry, manifest, found, layout.statistics(transitions))
    return Dataset(transitions, manifest)


def _check_manifest(
    dataset_id: str, entry: DatasetEntry, manifest: dict[str, Any], digest: str, statistics: dict[str, Any]
) -> None:
    """Raises ReproduceError where the manifest says other things than the data and the catalog, and where the data are
    of another day's world or outside today's intervals."""
    right = {
        "id": dataset_id,
        "world": {"name": entry.world.name, "params": entry.world.params},
        "files": {TRANSITIONS: digest},
    }
    if entry.sha256 is None:  # else the bits are the catalog's, whatever made them
        right["made_by"] = _made_by(entry, "weights" in manifest["made_by"])
        right["fingerprint"] = fingerprint(entry.world.name, **entry.world.params)
    for key, value in right.items():
        if manifest[key] != value:
            what = f"{key} is {SHORT.repr(manifest[key])}, that of the data is {SHORT.repr(value)}"
            break
    else:
        stated, measured = flat_statistics(manifest["statistics"]), flat_statistics(statistics)
        off = [k for k in stated | measured if not _same(stated.get(k), measured.get(k))]
        if not off:
            if entry.sha256 is None:
                noted = {name: check["value"] for name, check in manifest["acceptance"].items()}
                _accept(dataset_id, entry.acceptance, noted | measured, rebuild_advice(dataset_id))
            return
        what = f"statistics: {off[0]} is {SHORT.repr(stated.get(off[0]))}, of the data it is {measured.get(off[0])}"
    raise ReproduceError(
        f"{folder_of(dataset_id) / MANIFEST} does not belong to its data: {what}. {rebuild_advice(dataset_id)}"
    )


def _made_by(entry: DatasetEntry, weights: bool = True) -> dict[str, Any]:
    """The recipe, with checksums of the committed policies that play, where there are any and `weights` asks for them:
    older manifests lack them."""
    recipe = entry.generator
    made_by = {"generator": recipe.name, "params": recipe.params, "seed": recipe.seed}
    played = _weights(entry) if weights else {}
    return made_by | ({"weights": played} if played else {})


def _weights(entry: DatasetEntry) -> dict[str, str]:
    recipe = entry.generator
    if not recipe.parts:
        return weights_of(recipe.name, recipe.params)
    return {name: digest for part in recipe.parts for name, digest in _weights(dataset(part)).items()}


def _same(stated: Any, measured: float | None) -> bool:
    """Whether two statistics differ in rounding at most."""
    if not isinstance(stated, int | float) or measured is None:
        return False
    return math.isclose(stated, measured, rel_tol=1e-6, abs_tol=1e-6)
