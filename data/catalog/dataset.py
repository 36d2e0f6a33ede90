"""A dataset at hand, and the part of its manifest that regenerated and official data have in common."""

from dataclasses import dataclass, field
from typing import Any

from tensordict import TensorDict

from data.catalog.schema import DatasetEntry, Kind, WorldEntry
from data.layout import Layout
from data.worlds import fingerprint, layout_for


@dataclass(frozen=True)
class Dataset:
    """transitions: experience in its world's layout. manifest: what `reproduce data show` prints.

    dataset_world_params: parameters of the world that these data bring along and must be evaluated in (the official
    prey); empty where the task's own world is the one.
    """

    transitions: TensorDict
    manifest: dict[str, Any]
    dataset_world_params: dict[str, Any] = field(default_factory=dict)


def layout_of(world: WorldEntry) -> Layout:
    """The layout of a world's experience."""
    return layout_for(world.name, **world.params)


def described(
    dataset_id: str, kind: Kind, entry: DatasetEntry, params: dict[str, Any], statistics: dict[str, Any]
) -> dict[str, Any]:
    """The manifest's first keys. `published` and `published_cloning` are of the official data, where they are known."""
    published = {"published": entry.published, "published_cloning": entry.published_cloning}
    return {
        "id": dataset_id,
        "kind": kind,
        "description": entry.description,
        "world": {"name": entry.world.name, "params": params},
        "fingerprint": fingerprint(entry.world.name, **params),
        "statistics": statistics,
        **{key: model.model_dump() for key, model in published.items() if model is not None},
    }
