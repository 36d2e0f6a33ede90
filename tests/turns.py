"""Which rows the quick tests take."""

import pytest

from reproduce.config import row_ids
from reproduce.config.today import stated_today


def rows_by_turn() -> list:
    """Rows. After the first of a table, task and algorithm rows come with the slow tests, and columns not at all."""
    marked, seen = [], set()
    for row, settings in zip(row_ids(), stated_today([(row, []) for row in row_ids()]), strict=True):
        column = row.count("/") == 3
        kind = (*row.split("/")[:2], str(settings["task"]), settings["algo"]["name"], column)
        if kind not in seen or not column:
            marked.append(pytest.param(row, marks=[pytest.mark.slow] if kind in seen else []))
        seen.add(kind)
    return marked
