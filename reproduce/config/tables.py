"""Baseline columns: configs/tables/<paper>/<table>.yaml makes every row of a table run with another algorithm."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from data.common.paths import CONFIGS
from data.common.validation import Model, checked
from data.common.yaml_files import read_yaml

BUDGET = re.compile("n_updates|n_[a-z]+_updates|batch_size")  # keys of a row's algo that hold for any algorithm


class Column(Model):
    """`algo` and `protocol`: files of those groups. `overrides`: KEY=VALUE, as on the command line."""

    algo: str
    protocol: str | None = None
    overrides: list[str] = Field(default_factory=list)

    def choices(self) -> list[str]:
        """As Hydra's overrides."""
        protocol = [f"protocol={self.protocol}"] if self.protocol else []
        return [f"algo={self.algo}", *protocol, *self.overrides]


class TableColumns(Model):
    """Columns by the algorithm's part of a row id. `rows`: the table <paper>/<table> whose rows' files they change,
    where that is another one. `overrides`: by row, what all of its columns change too."""

    columns: dict[str, Column]
    rows: str | None = None
    overrides: dict[str, list[str]] = Field(default_factory=dict)


def columns(table: str, configs: Path = CONFIGS) -> dict[str, Column]:
    """The columns of <paper>/<table>; none where it has no file. Raises ReproduceError naming file and key."""
    return _stated(table, configs).columns


@cache
def _stated(table: str, configs: Path) -> TableColumns:
    path = configs / "tables" / f"{table}.yaml"
    if not path.is_file():
        return TableColumns(columns={})
    where = f"configs/tables/{table}.yaml"
    return checked(TableColumns, read_yaml(path, where), where, noun="key")


def column_of(row: str, configs: Path = CONFIGS) -> tuple[str, Column] | None:
    """(the row whose file is read, the column) of <paper>/<table>/<row>/<algorithm>; None for every other id, and for
    one that has a file of its own."""
    base, _, algorithm = row.rpartition("/")
    if base.count("/") != 2 or (configs / "rows" / f"{row}.yaml").is_file():
        return None
    table, _, name = base.rpartition("/")
    stated = _stated(table, configs)
    base = f"{stated.rows or table}/{name}"
    if algorithm not in stated.columns or not (configs / "rows" / f"{base}.yaml").is_file():
        return None
    column = stated.columns[algorithm]
    return base, column.model_copy(update={"overrides": [*column.overrides, *stated.overrides.get(name, [])]})


def file_of(row: str) -> str:
    """The row whose file states the settings: the row itself, or the one that a column of a table changes."""
    found = column_of(row)
    return found[0] if found else row


def column_ids(rows: Iterable[str], configs: Path = CONFIGS) -> set[str]:
    """The ids that columns make of rows with a file."""
    root = configs / "tables"
    names = [path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml")]
    return {
        f"{name}/{row.rpartition('/')[2]}/{algorithm}"
        for name in names
        for row in rows
        if row.rpartition("/")[0] == (_stated(name, configs).rows or name)
        for algorithm in columns(name, configs)
    }


def own_of_algorithm(row_file: dict[str, Any], chosen: str) -> set[str]:
    """Keys of `algo` in a row's file that hold for its own algorithm alone, where another one is chosen."""
    if {"/algo": chosen} in row_file.get("defaults", []):
        return set()
    return {key for key in row_file.get("algo", {}) if not BUDGET.fullmatch(key)}
