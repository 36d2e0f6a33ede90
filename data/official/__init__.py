"""Official file formats by name: which files one is made of, and how it becomes the schema."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensordict import TensorDict

from data.official import alberdice, madt, omar_npy, omiga_hdf5, omiga_vault, replay, smac_h5, smac_vault, vault


@dataclass(frozen=True)
class Source:
    """files(official, world): names below the dataset's folder -> their size in words. load(path, world).

    with_seed(path, seed): the catalog's path of another dataset seed, where each of several training runs has its own
    data. replayed(path, experience, world): the manifest's `transitions_checked`. world_params(path, world): parameters
    of the world that the files decide. folders: where a clone of the authors' repository holds the data. whole_folder:
    every file below the dataset's folder belongs to it. read_by: packages of extras that read it.
    """

    files: Callable[[dict[str, Any], dict[str, Any]], dict[str, str]]
    load: Callable[[Path, dict[str, Any]], TensorDict]
    with_seed: Callable[[str, int], str] | None = None
    world_params: Callable[[Path, dict[str, Any]], dict[str, Any]] = lambda path, world: {}
    replayed: Callable[[Path, TensorDict, dict[str, Any]], dict[str, Any] | None] = lambda path, found, world: None
    folders: tuple[str, ...] = ()
    whole_folder: bool = False
    read_by: tuple[str, ...] = ()


def _alberdice_files(official: dict[str, Any], world: dict[str, Any]) -> dict[str, str]:
    layout = alberdice.layout(world["name"], official["episodes"])
    return {name: f"{alberdice.file_size(*want)} bytes" for name, want in layout.items()} | {"meta.json": "text"}


def _vault_of(load: Callable[[Path, dict[str, Any]], TensorDict], folder: str, **more: Any) -> Source:
    """`folder`: where OG-MARL's own download puts it."""
    more = {"read_by": ("tensorstore",), **more}
    return Source(lambda official, world: {vault.METADATA: "text"}, load, folders=(folder,), whole_folder=True, **more)


SOURCES = {
    "alberdice": Source(
        _alberdice_files,
        lambda path, world: alberdice.load(path, world["name"]),
        replayed=replay.tables,
        folders=("buffer", "alberdice/buffer"),
    ),
    "cfcql_vault": _vault_of(smac_vault.load, "cfcql/smac_v1"),
    "cfcql_h5": Source(lambda official, world: {"": "size unknown"}, smac_h5.load, read_by=("h5py",)),
    "icq_h5": Source(
        lambda official, world: {"": "size unknown"},
        lambda path, world: smac_h5.load(path, world, source="icq"),
        read_by=("h5py",),
    ),
    "madt": Source(lambda official, world: {}, madt.load, whole_folder=True),
    "madt_vault": _vault_of(lambda path, world: smac_vault.load(path, world, source="omiga"), "omiga/smac_v1"),
    "omar_npy": Source(
        omar_npy.files,
        omar_npy.load,
        omar_npy.with_seed,
        omar_npy.world_params,
        replayed=lambda path, found, world: omar_npy.replayed(path, world),
    ),
    "omiga_hdf5": Source(
        lambda official, world: {"": "size unknown"},
        omiga_hdf5.load,
        replayed=replay.mujoco,
        read_by=("h5py", "mujoco"),
    ),
    "omiga_vault": _vault_of(
        omiga_vault.load, "omiga/mamujoco", replayed=replay.mujoco, read_by=("tensorstore", "mujoco")
    ),
}
