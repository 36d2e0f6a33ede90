"""A file of paper_results: <paper>/<table>.yaml, entered by hand, checked key by key."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from data.common.errors import ReproduceError, nearest
from data.common.validation import Model, Size, checked
from data.common.yaml_files import read_yaml
from reproduce.config import flat, known_settings
from reproduce.judge.bound import SpreadKind

RELATIVE_DELTA = "10 % of |mean - random|"
NUMBER = re.compile(r"[+-]?\d+(?:\.(\d+))?")
ROW_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
MODES = ("greedy", "sampled")


def _or_unknown(value: Any) -> Any:
    return None if value == "unknown" else value


def _margin(value: Any) -> Any:
    value = _or_unknown(value)
    if value is None or value == RELATIVE_DELTA:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, unknown or {RELATIVE_DELTA!r}, found {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"a margin must be above 0 and finite, found {value}")
    return float(value)


def _sources(value: Any) -> Any:
    value = _or_unknown(value)
    texts = [value] if isinstance(value, str) else value
    if texts is not None and not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise ValueError(f"expected a key of `sources`, a sentence, a list of them or unknown, found {value!r}")
    return texts


def parse_printed(text: Any) -> tuple[float | None, float | None, int | None]:
    """`mean ± std` as printed -> (mean, std, decimals of the mean); `unknown` gives None. Raises ValueError."""
    parts = [part.strip() for part in text.split("±")] if isinstance(text, str) else []
    if parts == ["unknown"]:
        return None, None, None
    mean = NUMBER.fullmatch(parts[0]) if parts else None
    std = NUMBER.fullmatch(parts[1]) if len(parts) == 2 else None
    if not mean or len(parts) != 2 or (not std and parts[1] != "unknown"):
        raise ValueError(f"expected `mean ± std`, `mean ± unknown` or `unknown`, found {text!r}")
    if std and float(std[0]) < 0:
        raise ValueError(f"a standard deviation below 0: {text!r}")
    if not all(math.isfinite(float(number[0])) for number in (mean, std) if number):
        raise ValueError(f"a number beyond the range of floating point: {text[:40]!r}..")
    return float(mean[0]), float(std[0]) if std else None, len(mean[1] or "")


def _printed(value: Any) -> Any:
    parse_printed(value)
    return value


Number = Annotated[float | None, BeforeValidator(_or_unknown)]
Sources = Annotated[list[str] | None, BeforeValidator(_sources)]  # keys of `sources`, or sentences
Printed = Annotated[str, BeforeValidator(_printed)]


class Reference(Model):
    """A named comparison value and its source."""

    value: Number = None
    source: Sources = None


class Inherited(Model):
    """Keys that a cell takes from its row, the row's task or the table where it does not state them itself."""

    metric: str | None = None
    mode: Literal["greedy", "sampled"] | None = None
    n: Annotated[Size | None, BeforeValidator(_or_unknown)] = None
    std_kind: SpreadKind | None = None
    source: Sources = None
    delta: Annotated[Any, BeforeValidator(_margin)] = None
    optimum: Number = None
    minimum_score: Number = None
    references: dict[str, Reference] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)


class Cell(Inherited):
    """One printed number; a cell that is a text alone is its value."""

    value: Printed


def _cells(value: Any) -> Any:
    """Every cell as a mapping; one that is neither text nor mapping fails as the value that it stands for."""
    if not isinstance(value, dict):
        return value
    return {key: cell if isinstance(cell, dict) else {"value": cell} for key, cell in value.items()}


class RowEntry(Inherited):
    """A row of the table; `cells` by algorithm."""

    task: str
    dataset: str
    cells: Annotated[dict[str, Cell], BeforeValidator(_cells)]


class OtherEntry(Model):
    """Printed numbers that no row judges: averages, sweeps, inputs of plots."""

    task: str
    dataset: str
    metric: str
    source: Sources
    cells: dict[str, Printed]


class TableFile(Inherited):
    """The whole file."""

    model_config = ConfigDict(populate_by_name=True)
    version: Literal[1] = Field(alias="schema")
    paper: str
    table: str
    title: str
    venue: str
    headline: str
    printed_metric: str | None = None
    sources: dict[str, str] = Field(default_factory=dict)
    tasks: dict[str, Inherited] = Field(default_factory=dict)
    rows: dict[str, RowEntry]
    other: list[OtherEntry] = Field(default_factory=list)
    # A table states what every number must have; `unknown` is an answer.
    metric: str  # type: ignore[misc]
    mode: Literal["greedy", "sampled"]  # type: ignore[misc]
    n: Annotated[Size | None, BeforeValidator(_or_unknown)]  # type: ignore[misc]
    std_kind: SpreadKind  # type: ignore[misc]
    source: Sources  # type: ignore[misc]


def _check_settings(table: TableFile, where: str) -> None:
    """Settings that a paper states are settings that some row could have."""
    layers: dict[str, Inherited] = {"": table}
    layers |= {f"tasks.{name}.": task for name, task in table.tasks.items()}
    for name, row in table.rows.items():
        layers[f"rows.{name}."] = row
        layers |= {f"rows.{name}.cells.{algorithm}.": cell for algorithm, cell in row.cells.items()}
    for place, layer in layers.items():
        for key in flat(layer.settings):
            if not key.startswith("task.params.") and key not in (known := known_settings()):
                raise ReproduceError(f"{where}, {place}settings: unknown setting {key!r}.{nearest(key, known)}")


def read_table(file: Path) -> TableFile:
    """One file, checked. Raises ReproduceError naming file, row and key."""
    where = f"paper_results/{file.parent.name}/{file.name}"
    table = checked(TableFile, read_yaml(file, where), where, noun="key")
    if (stated := f"{table.paper}/{table.table}") != (place := f"{file.parent.name}/{file.stem}"):
        raise ReproduceError(f"{where}: paper and table say {stated}, the file's place says {place}.")
    _check_settings(table, where)
    of_rows = {row.task: None for row in table.rows.values()}
    if unused := next((name for name in table.tasks if name not in of_rows), None):
        raise ReproduceError(f"{where}, tasks.{unused}: no row has this task.{nearest(unused, list(of_rows))}")
    for name, row in table.rows.items():
        if not ROW_NAME.fullmatch(name):
            raise ReproduceError(
                f"{where}, rows.{name}: a part of a row's id holds lower-case letters, digits and underscores, "
                "e.g. hopper_expert."
            )
        if table.tasks and row.task not in table.tasks:
            raise ReproduceError(
                f"{where}, rows.{name}.task: {row.task} is not listed under `tasks`."
                f"{nearest(row.task, list(table.tasks))}"
            )
        if table.headline not in row.cells:
            raise ReproduceError(
                f"{where}, rows.{name}.cells: the headline algorithm {table.headline} is missing; "
                f"write `{table.headline}: unknown`.{nearest(table.headline, list(row.cells))}"
            )
    return table


def source_text(keys: list[str] | None, sources: dict[str, str], where: str) -> str:
    """The sentences behind `keys`. Raises ReproduceError for a key that `sources` does not list."""
    for key in keys or []:
        if " " not in key and key not in sources:
            raise ReproduceError(f"{where}: source {key!r} is not listed under `sources`.{nearest(key, list(sources))}")
    return "; ".join(sources.get(key, key) for key in keys) if keys else "unknown"


def json_schema() -> dict[str, Any]:
    """JSON Schema of a file, for editors."""
    return TableFile.model_json_schema()
