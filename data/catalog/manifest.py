"""Built datasets without torch: the folder they lie in, and the manifest that describes them."""

import json
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError
from data.common.paths import outputs_dir

TRANSITIONS, MANIFEST = "transitions.safetensors", "manifest.json"


def folder_of(dataset_id: str) -> Path:
    """Where the regenerated dataset lies."""
    return outputs_dir() / "data" / dataset_id


def is_built(dataset_id: str) -> bool:
    """Whether the regenerated dataset is there: its manifest is written last."""
    return (folder_of(dataset_id) / MANIFEST).exists()


def read_manifest(dataset_id: str) -> dict[str, Any]:
    """The manifest of a built dataset; its data are not looked at. Raises ReproduceError when it is damaged."""
    folder = folder_of(dataset_id)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        missing = {"id", "kind", "sha256", "files", "statistics"} - set(manifest)
        if not isinstance(manifest, dict) or missing:
            raise ValueError(f"without {', '.join(sorted(missing))}")
    except (OSError, ValueError, TypeError) as error:
        raise ReproduceError(
            f"{folder / MANIFEST} is damaged ({error!r}). "
            f"Rebuild it with `reproduce data build {dataset_id}`, or delete {folder}."
        ) from error
    return manifest
