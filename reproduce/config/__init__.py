"""Settings of rows: composed by Hydra, checked by models, compared with what the row's file says."""

from reproduce.config.compose import choices, compose, groups_of_rows, several, stated
from reproduce.config.ids import claim_ids, expand, row_ids
from reproduce.config.readings import also_judged, number_of_readings, reading
from reproduce.config.schema import RowSettings, known_settings
from reproduce.config.settings import NOT_PART_OF_FINGERPRINT, Settings, config_hash, differences, flat, in_words
from reproduce.config.sources import sources

__all__ = [
    "NOT_PART_OF_FINGERPRINT",
    "RowSettings",
    "Settings",
    "also_judged",
    "choices",
    "claim_ids",
    "compose",
    "config_hash",
    "differences",
    "expand",
    "flat",
    "groups_of_rows",
    "in_words",
    "known_settings",
    "number_of_readings",
    "reading",
    "row_ids",
    "several",
    "sources",
    "stated",
]
