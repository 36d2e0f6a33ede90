"""Which of several records is meant."""

from typing import Any

from reproduce.records.store import read


def of_own_algorithm(record: dict[str, Any]) -> bool:
    """Whether the row's own algorithm ran; a baseline on its data (`algo=bc`) is recorded under the same row."""
    return all(difference.get("key") != "algo.name" for difference in record.get("differs", []))


def latest(row_id: str, kind: str | None = "row") -> dict[str, Any] | None:
    """The newest record of one row by its own algorithm, or None."""
    found = reversed(read(row_id, kind))
    return next((record for record in found if record["row"] == row_id and of_own_algorithm(record)), None)
