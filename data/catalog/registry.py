"""The datasets this project knows, read from registry.yaml. Imports no torch: the command lists them fast."""

import copy
from functools import lru_cache
from pathlib import Path

import yaml

from data.common.errors import ReproduceError, nearest

REGISTRY = Path(__file__).with_name("registry.yaml")


@lru_cache(maxsize=1)
def _parsed() -> dict[str, dict]:
    return yaml.load(REGISTRY.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["datasets"]


def datasets() -> dict[str, dict]:
    """Dataset id -> entry; registry.yaml explains the keys. A copy: the caller may change it."""
    return copy.deepcopy(_parsed())


def dataset(dataset_id: str) -> dict:
    """One entry. Raises ReproduceError naming the nearest ids when there is none."""
    known = datasets()
    if dataset_id not in known:
        raise ReproduceError(
            f"unknown dataset {dataset_id!r}; known: {', '.join(known)}.{nearest(str(dataset_id), list(known))}"
        )
    return known[dataset_id]
