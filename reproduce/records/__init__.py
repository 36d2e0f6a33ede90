"""OUR numbers: append-only records, written by programs only."""

from reproduce.records.cloning import (
    CLONING,
    Scored,
    cloning_of_other_data,
    cloning_returns,
    data_facts,
    is_cloning,
    recorded_cloning,
    same_data,
)
from reproduce.records.crashed import healthy, why_no_verdict
from reproduce.records.document import claim_document, row_document
from reproduce.records.exact import recorded
from reproduce.records.recheck import why_not_today
from reproduce.records.schema import RECORD_SCHEMA, ROW_ID, json_schema
from reproduce.records.select import latest, of_own_algorithm
from reproduce.records.store import exit_code, load, read, read_sound, write

__all__ = [
    "CLONING",
    "RECORD_SCHEMA",
    "ROW_ID",
    "Scored",
    "claim_document",
    "cloning_of_other_data",
    "cloning_returns",
    "data_facts",
    "exit_code",
    "healthy",
    "is_cloning",
    "json_schema",
    "latest",
    "load",
    "of_own_algorithm",
    "read",
    "read_sound",
    "recorded",
    "recorded_cloning",
    "row_document",
    "same_data",
    "why_no_verdict",
    "why_not_today",
    "write",
]
