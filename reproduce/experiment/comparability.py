"""Whether a run is the experiment that its row describes."""

from typing import Any

from reproduce.config import Settings, in_words


def why_not_comparable(settings: Settings, measured: str, manifest: dict[str, Any]) -> list[str]:
    """Reasons, none when the run is the row's. `measured` is the fingerprint of the world that was played."""
    reasons = in_words(settings.differs)
    if manifest.get("path") != manifest.get("default_path"):
        reasons.append(f"the data are {manifest['path']}, the row's are {manifest['default_path']}")
    if measured != (expected := settings.task.fingerprint):
        reasons.append(f"the world's fingerprint is {measured}, expected {expected}")
    if (precision := settings.run.matmul_precision) != "highest":
        reasons.append(f"run.matmul_precision is {precision}: products are less exact than float32's")
    if settings.protocol.n_seeds < settings.stated.protocol.n_seeds:
        reasons.append(f"fewer seeds than the row's {settings.stated.protocol.n_seeds}")
    return reasons
