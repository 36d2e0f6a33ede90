"""The documents of `--json`: a record's part that a reader of its verdict needs, with the exit code."""

from typing import Any

ROW_KEYS = (
    "row",
    "verdict",
    "scores",
    "behavior_cloning",
    "data",
    "seeds",
    "overrides",
    "time",
    "weights_sha256",
    "file",
    "notes",
)
CLAIM_KEYS = ("row", "checks", "passed", "time", "file")


def row_document(record: dict[str, Any]) -> dict[str, Any]:
    """The verdict of a row; keys that an older record lacks are None."""
    return {key: record.get(key) for key in ROW_KEYS} | {"exit_code": record["verdict"]["exit_code"]}


def claim_document(record: dict[str, Any]) -> dict[str, Any]:
    """The checks of a claim; exit code 0 where all hold, else 1."""
    return {key: record.get(key) for key in CLAIM_KEYS} | {"exit_code": 0 if record["passed"] else 1}
