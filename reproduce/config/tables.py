"""Baseline columns: configs/tables/<paper>/<table>.yaml makes every row of a table run with another algorithm."""

from functools import cache
from pathlib import Path

from pydantic import Field

from data.common.paths import CONFIGS
from data.common.validation import Model, checked
from data.common.yaml_files import read_yaml


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
    """Columns by the algorithm's part of a row id."""

    columns: dict[str, Column]


def columns(table: str, configs: Path = CONFIGS) -> dict[str, Column]:
    """The columns of <paper>/<table>; none where it has no file. Raises ReproduceError naming file and key."""
    return _columns(table, configs)


@cache
def _columns(table: str, configs: Path) -> dict[str, Column]:
    path = configs / "tables" / f"{table}.yaml"
    if not path.is_file():
        return {}
    where = f"configs/tables/{table}.yaml"
    stated = read_yaml(path, where)
    return checked(TableColumns, stated, where, noun="key").columns


def column_of(row: str, configs: Path = CONFIGS) -> tuple[str, Column] | None:
    """(the row whose file is read, the column) of <paper>/<table>/<row>/<algorithm>; None for every other id."""
    base, _, algorithm = row.rpartition("/")
    if base.count("/") != 2 or not (configs / "rows" / f"{base}.yaml").is_file():
        return None
    column = columns("/".join(base.split("/")[:2]), configs).get(algorithm)
    return None if column is None else (base, column)
