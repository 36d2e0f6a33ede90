"""THEIR numbers: the published tables, entered by hand with their sources."""

from reproduce.published.schema import MODES, RELATIVE_DELTA, json_schema, parse_printed
from reproduce.published.tables import OtherNumber, PaperRow, PaperTable, load_table, match, row, rows, slug, tables

__all__ = [
    "MODES",
    "RELATIVE_DELTA",
    "OtherNumber",
    "PaperRow",
    "PaperTable",
    "json_schema",
    "load_table",
    "match",
    "parse_printed",
    "row",
    "rows",
    "slug",
    "tables",
]
