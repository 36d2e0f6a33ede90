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
from reproduce.records.document import check_line, claim_document, claim_state, data_score, row_document
from reproduce.records.exact import carried_out_alike, recorded
from reproduce.records.recheck import FEWER_SEEDS, why_not_today
from reproduce.records.schema import RECORD_SCHEMA, ROW_ID, json_schema
from reproduce.records.select import of_own_algorithm
from reproduce.records.store import exit_code, load, note_of_others, of_rows, read, read_of_others, read_sound, write

__all__ = [
    "CLONING",
    "FEWER_SEEDS",
    "RECORD_SCHEMA",
    "ROW_ID",
    "Scored",
    "carried_out_alike",
    "check_line",
    "claim_document",
    "claim_state",
    "cloning_of_other_data",
    "cloning_returns",
    "data_facts",
    "data_score",
    "exit_code",
    "healthy",
    "is_cloning",
    "json_schema",
    "load",
    "note_of_others",
    "of_own_algorithm",
    "of_rows",
    "read",
    "read_of_others",
    "read_sound",
    "recorded",
    "recorded_cloning",
    "row_document",
    "same_data",
    "why_no_verdict",
    "why_not_today",
    "write",
]
