"""Which rows the quick tests take."""

import pytest

from data.worlds import absent
from reproduce.config import row_ids
from reproduce.config.today import stated_today


def rows_by_turn(played: bool = False) -> list:
    """Rows. After the first of a table, task and algorithm rows come with the slow tests; of columns the first of a
    task and algorithm comes alone. `played`: those whose world is here; test_fights.py has a stand-in for the others.
    """
    marked, seen = [], set()
    for row, settings in zip(row_ids(), stated_today([(row, []) for row in row_ids()]), strict=True):
        if played and absent(settings["task"]["world"], **settings["task"]["params"]):
            continue
        column = row.count("/") == 3
        table = () if column else tuple(row.split("/")[:2])
        kind = (*table, str(settings["task"]), settings["algo"]["name"], column)
        if kind not in seen or not column:
            marked.append(pytest.param(row, marks=[pytest.mark.slow] if kind in seen else []))
        seen.add(kind)
    return marked
