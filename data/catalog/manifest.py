"""Built datasets without torch: the folder they lie in, and the manifest that describes them."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from data.catalog.schema import Sha256
from data.common.errors import ReproduceError
from data.common.foreign import read_json
from data.common.paths import outputs_dir
from data.common.validation import Count, Model, NonNegative, Size, checked

TRANSITIONS, MANIFEST = "transitions.safetensors", "manifest.json"


class Part(Model):
    """A mapping with further keys of any kind."""

    model_config = ConfigDict(extra="allow")


class Spread(Part):
    """Of returns or lengths over episodes."""

    mean: float
    std: NonNegative
    min: float
    max: float


class Statistics(Part):
    """Counts, and spreads over episodes."""

    n_transitions: Size
    n_episodes: Size
    n_terminated: Count
    n_truncated: Count
    n_rows: Size | None = None  # of trajectories, final rows included
    returns: Spread = Field(alias="return")
    length: Spread


class Check(Part):
    """A statistic that the catalog bounds, as it was measured."""

    value: float


class Manifest(Part):
    """What readers of a built dataset's manifest rely on."""

    id: str
    kind: Literal["regenerated"]
    description: str
    world: dict[str, Any]
    fingerprint: str
    statistics: Statistics
    sha256: Sha256
    files: dict[str, Sha256]
    license: str
    made_by: dict[str, Any]
    acceptance: dict[str, Check]


def folder_of(dataset_id: str) -> Path:
    """Where the regenerated dataset lies."""
    return outputs_dir() / "data" / dataset_id


def is_built(dataset_id: str) -> bool:
    """Whether the regenerated dataset is there: its manifest is written last."""
    return (folder_of(dataset_id) / MANIFEST).exists()


def rebuild_advice(dataset_id: str) -> str:
    """The last sentence of every message about a built dataset."""
    return f"Rebuild it with `reproduce data build {dataset_id}`, or delete {folder_of(dataset_id)}."


def read_manifest(dataset_id: str) -> dict[str, Any]:
    """The manifest of a built dataset; its data are not looked at.

    Raises ReproduceError, which says how to rebuild, where it is no JSON, lacks a key or has a value of another type.
    """
    path = folder_of(dataset_id) / MANIFEST
    try:
        manifest = read_json(path)
        checked(Manifest, manifest, "it", noun="key")
    except (OSError, ReproduceError) as error:
        raise ReproduceError(f"{path} is damaged ({error}). {rebuild_advice(dataset_id)}") from error
    return manifest
