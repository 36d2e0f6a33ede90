"""OUR numbers."""

from reproduce.records.store import (
    COMMON,
    RECORD_SCHEMA,
    REQUIRED,
    ROW_ID,
    RUN,
    TIME,
    latest,
    load,
    of_own_algorithm,
    read,
    standing,
    write,
)

__all__ = [
    "COMMON",
    "RECORD_SCHEMA",
    "REQUIRED",
    "ROW_ID",
    "RUN",
    "TIME",
    "latest",
    "load",
    "of_own_algorithm",
    "read",
    "standing",
    "write",
]
