"""Which of several records is meant."""

from typing import Any


def of_own_algorithm(record: dict[str, Any]) -> bool:
    """Whether the row's own algorithm ran; a baseline on its data (`algo=bc`) is recorded under the same row."""
    return all(difference.get("key") != "algo.name" for difference in record.get("differs", []))
