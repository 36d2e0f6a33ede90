"""OUR numbers."""

from reproduce.records.cloning import CLONING, cloning_returns, data_facts, recorded_cloning, same_data
from reproduce.records.document import claim_document, row_document
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
    "CLONING",
    "COMMON",
    "RECORD_SCHEMA",
    "REQUIRED",
    "ROW_ID",
    "RUN",
    "TIME",
    "claim_document",
    "cloning_returns",
    "data_facts",
    "latest",
    "load",
    "of_own_algorithm",
    "read",
    "recorded_cloning",
    "row_document",
    "same_data",
    "standing",
    "write",
]
