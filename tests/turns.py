"""Which rows the quick tests take."""

import pytest

from reproduce.config import row_ids
from reproduce.config.today import stated_today


def rows_by_turn() -> list:
    """All rows; those after the first one of a table, task and algorithm with the slow tests."""
    marked, seen = [], set()
    for row, settings in zip(row_ids(), stated_today([(row, []) for row in row_ids()]), strict=True):
        kind = (*row.split("/")[:2], str(settings["task"]), settings["algo"]["name"], row.count("/"))
        marked.append(pytest.param(row, marks=[pytest.mark.slow] if kind in seen else []))
        seen.add(kind)
    return marked
