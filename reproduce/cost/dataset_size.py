"""Bytes and rows of a dataset: measured where it is built, else at most."""

from typing import Any

from data.catalog import store
from data.catalog.manifest import TRANSITIONS, folder_of, is_built, read_manifest
from data.catalog.registry import dataset


def dataset_files(dataset_id: str) -> tuple[dict[str, int], bool]:
    """({dataset: bytes on disk}, whether it is built): measured, or at most, with the parts that must be built too."""
    file = folder_of(dataset_id) / TRANSITIONS
    if file.exists():
        return {dataset_id: file.stat().st_size}, True
    files = {dataset_id: store.size_on_disk(dataset_id)}
    for part in dataset(dataset_id).generator.parts:
        files |= dataset_files(part)[0]
    return files, False


def n_rows(dataset_id: str, world: Any) -> int:
    """Rows of the file: the manifest's, or at most."""
    if is_built(dataset_id):
        statistics = read_manifest(dataset_id)["statistics"]
        return statistics.get("n_rows", statistics["n_transitions"])
    return store.size_on_disk(dataset_id) // world.layout.row_bytes
