"""Which of several records is meant."""

from typing import Any

from reproduce.records.store import read


def of_own_algorithm(record: dict[str, Any]) -> bool:
    """Whether the row's own algorithm ran; a baseline on its data (`algo=bc`) is recorded under the same row."""
    return all(difference.get("key") != "algo.name" for difference in record.get("differs", []))


def latest(row_id: str, kind: str | None = "row", comparable_only: bool = False) -> dict[str, Any] | None:
    """The newest record of one row by its own algorithm, or None. `comparable_only` skips NOT COMPARABLE runs."""
    for record in reversed(read(row_id, kind)):
        state = record.get("verdict", {}).get("state")
        wanted = record["row"] == row_id and of_own_algorithm(record)
        if wanted and not (comparable_only and state == "NOT COMPARABLE"):
            return record
    return None
