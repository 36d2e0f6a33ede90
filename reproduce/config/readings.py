"""Readings of a row: settings that its file calls as good as its own (`also_judged`), where a paper leaves them open.

Each is judged by an interval that is widened by their number, which is fixed before anything runs.
"""

from collections.abc import Sequence
from functools import cache
from math import prod
from pathlib import Path

from data.common.paths import CONFIGS
from data.common.yaml_files import read_yaml
from reproduce.config.settings import NOT_PART_OF_FINGERPRINT
from reproduce.config.tables import column_of


def also_judged(row: str) -> list[str]:
    """The overrides that the row's file lists; a column of a table has those of its row."""
    found = column_of(row, CONFIGS)
    file = f"rows/{found[0] if found else row}.yaml"
    return _listed(CONFIGS / file, f"configs/{file}") if (CONFIGS / file).is_file() else []


@cache
def _listed(file: Path, where: str) -> list[str]:
    content = read_yaml(file, where)
    return list(content.get("also_judged") or []) if isinstance(content, dict) else []


def reading(row: str, overrides: Sequence[str]) -> list[str]:
    """The overrides that make the run a reading of the row; none where it has settings besides."""
    chosen = [o for o in overrides if not o.startswith(NOT_PART_OF_FINGERPRINT)]
    choices = also_judged(row)
    return chosen if all(o in choices for o in chosen) else []


def number_of_readings(row: str, overrides: Sequence[str]) -> int:
    """By how many readings the interval of a run with these overrides is widened; 1 for the row's own settings.

    They are all combinations of the choices, of each key one, beside the row's own.
    """
    if not reading(row, overrides):
        return 1
    keys = [choice.partition("=")[0] for choice in also_judged(row)]
    return prod(1 + keys.count(key) for key in set(keys)) - 1
