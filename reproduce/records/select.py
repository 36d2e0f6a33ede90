"""Which of several records is reported."""

from collections.abc import Collection
from typing import Any

from reproduce.records.store import read


def of_own_algorithm(record: dict[str, Any]) -> bool:
    """Whether the row's own algorithm ran; a baseline on its data (`algo=bc`) is recorded under the same row."""
    return all(difference.get("key") != "algo.name" for difference in record.get("differs", []))


def select_reported(found: list[dict[str, Any]], outdated: Collection[int] = ()) -> list[dict[str, Any]]:
    """The records that stand for their rows, of `found`, oldest first.

    Per row and dataset that is the comparable one by the row's own algorithm with the most updates, the newest of
    equals. A row and kind of data without a comparable one has the newest with the row's own settings, else the newest.
    `outdated`: id() of records that count as not comparable whatever their verdict says.
    """
    chosen: dict[tuple, dict[str, Any]] = {}

    def rank(record: dict[str, Any]) -> tuple[bool, bool, int]:
        comparable = record["verdict"]["state"] != "NOT COMPARABLE" and id(record) not in outdated
        return comparable, not record["differs"], record["n_updates"] if comparable else 0

    for record in found:
        if record["kind"] != "row" or not of_own_algorithm(record):
            continue
        key = (record["row"], record["data"].get("kind"), record["data"].get("id") if rank(record)[0] else None)
        if key not in chosen or rank(record) >= rank(chosen[key]):
            chosen[key] = record
    comparable = {key[:2] for key in chosen if key[2]}
    return [record for key, record in chosen.items() if key[2] or key[:2] not in comparable]


def latest(row_id: str, kind: str | None = "row", comparable_only: bool = False) -> dict[str, Any] | None:
    """The newest record of one row by its own algorithm, or None. `comparable_only` skips NOT COMPARABLE runs."""
    for record in reversed(read(row_id, kind)):
        state = record.get("verdict", {}).get("state")
        wanted = record["row"] == row_id and of_own_algorithm(record)
        if wanted and not (comparable_only and state == "NOT COMPARABLE"):
            return record
    return None
