"""The datasets this project knows, read from data/catalog/datasets. Imports no torch: the command lists them fast."""

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

from data.catalog.schema import CatalogFile, DatasetEntry
from data.common.errors import ReproduceError, nearest
from data.common.validation import checked
from data.common.yaml_files import read_yaml

FOLDER = Path(__file__).with_name("datasets")


def entries() -> dict[str, dict[str, Any]]:
    """Dataset id -> entry as written, unchecked. A copy: the caller may change it."""
    return copy.deepcopy(_parsed())


def datasets() -> dict[str, DatasetEntry]:
    """Dataset id -> entry, copies. Raises ReproduceError at the first bad one: its file, id, key and nearest word."""
    return {dataset_id: _checked(dataset_id, entry) for dataset_id, entry in _parsed().items()}


def dataset(dataset_id: str) -> DatasetEntry:
    """One entry. Raises ReproduceError naming the nearest ids when there is none, and for a bad one."""
    known = _parsed()
    if dataset_id not in known:
        raise ReproduceError(
            f"unknown dataset {dataset_id!r}; known: {', '.join(known)}.{nearest(str(dataset_id), list(known))}"
        )
    return _checked(dataset_id, known[dataset_id])


def file_of(dataset_id: str) -> str:
    """The catalog's file that holds the entry, for messages."""
    return f"data/catalog/datasets/{_files(FOLDER)[1].get(dataset_id, '*')}"


def _checked(dataset_id: str, entry: Any) -> DatasetEntry:
    return checked(DatasetEntry, copy.deepcopy(entry), f"{file_of(dataset_id)}, {dataset_id}", noun="key")


def _parsed() -> dict[str, dict[str, Any]]:
    return _files(FOLDER)[0]


@lru_cache(maxsize=4)
def _files(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(entries, name of the file of each) by id. Raises ReproduceError for a file that is no catalog's, or an id that
    stands in two."""
    found: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    for file in sorted(folder.glob("*.yaml")):
        where = f"data/catalog/datasets/{file.name}"
        for dataset_id, entry in checked(CatalogFile, read_yaml(file, where), where, noun="key").datasets.items():
            if dataset_id in found:
                raise ReproduceError(
                    f"{where}: {dataset_id} stands in {names[dataset_id]} already; rename one of them."
                )
            found[dataset_id], names[dataset_id] = entry, file.name
    return found, names
