"""THEIR numbers: reads paper_results/<paper>/<table>.yaml, entered by hand; programs never write there.

A cell is the text the paper prints, `mean ± std`, with `unknown` for either part or for the whole; decimals are
counted in that text. A cell takes the rest from its row, the row's entry in `tasks:`, or the table.
Row ids: <paper>/<table>/<row> is the table's headline algorithm, <paper>/<table>/<row>/<algorithm> a baseline.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError, nearest
from data.common.paths import PAPER_RESULTS
from data.common.patterns import matching
from reproduce.config import flat
from reproduce.judge import Bound
from reproduce.published.schema import (
    RELATIVE_DELTA,
    Inherited,
    OtherEntry,
    TableFile,
    parse_printed,
    read_table,
    source_text,
)


@dataclass(frozen=True)
class PaperRow:
    """One published number. `references` are named comparison values (None = unknown); `missing` says what keeps
    `bound.delta` unknown (empty when it is known); `sources` are the texts behind the number and the references."""

    id: str
    paper: str
    table: str
    task: str
    dataset: str
    algorithm: str
    metric: str
    mode: str
    bound: Bound
    printed: str
    source: str
    references: dict[str, float | None] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    missing: str = ""

    @property
    def measure(self) -> str:
        """The metric of the world that the row's metric is computed from."""
        return "episode_return" if self.metric == "normalized_score" else self.metric

    def score(self, means: Mapping[str, float], references: dict[str, float] | None = None) -> float:
        """A run's means by metric of the world -> its score in the row's metric.

        normalized_score: 100 (R - random) / (expert - random), R the episode return. `references`: returns of random
        and expert play in place of the published constants. Raises ReproduceError where the world does not report the
        metric, or a constant that is needed is unknown.
        """
        if self.measure not in means:
            raise ReproduceError(f"row {self.id} is judged by {self.measure}, the world reports {', '.join(means)}.")
        value = means[self.measure]
        if self.metric != "normalized_score":
            return value
        ends = [(references or {}).get(e, self.references.get(f"normalization_{e}")) for e in ("random", "expert")]
        low, high = ends
        if low is None or high is None:
            raise ReproduceError(f"row {self.id}: a normalized score needs normalization_random and _expert.")
        return 100 * (value - low) / (high - low)


@dataclass(frozen=True)
class OtherNumber:
    """A printed number that no row judges: averages, sweeps, inputs of plots."""

    task: str
    dataset: str
    metric: str
    algorithm: str
    mean: float | None
    std: float | None
    source: str


@dataclass(frozen=True)
class PaperTable:
    """One file of paper_results; `id` is <paper>/<table>."""

    id: str
    title: str
    venue: str
    headline: str
    metric: str
    printed_metric: str
    rows: dict[str, PaperRow]
    other: list[OtherNumber]


def slug(algorithm: str) -> str:
    """Algorithm as a part of a row id: BCQ-MA -> bcq_ma."""
    return re.sub(r"[^a-z0-9]+", "_", algorithm.lower()).strip("_")


def load_table(file: Path) -> PaperTable:
    """One file, checked. Raises ReproduceError naming file, row and key."""
    table, where = read_table(file), f"paper_results/{file.parent.name}/{file.name}"
    table_id = f"{table.paper}/{table.table}"
    rows: dict[str, PaperRow] = {}
    for name, entry in table.rows.items():
        task = table.tasks.get(entry.task, Inherited())
        for algorithm, cell in entry.cells.items():
            row_id = f"{table_id}/{name}" + ("" if algorithm == table.headline else f"/{slug(algorithm)}")
            if row_id in rows:
                raise ReproduceError(f"{where}, rows.{name}.cells.{algorithm}: the id {row_id} is taken already.")
            layers = {"": table, f"tasks.{entry.task}": task, f"rows.{name}": entry, f"rows.{name}.{algorithm}": cell}
            rows[row_id] = _row(row_id, algorithm, layers, table.sources, where)
    return PaperTable(
        id=table_id,
        title=table.title,
        venue=table.venue,
        headline=table.headline,
        metric=table.metric,
        printed_metric=table.printed_metric or table.metric,
        rows=rows,
        other=[number for entry in table.other for number in _other(entry, table, where)],
    )


def _row(row_id: str, algorithm: str, layers: Mapping[str, Inherited], sources: dict[str, str], where: str) -> PaperRow:
    """One cell with what table, task and row say: later layers win, references and settings are merged."""
    has: dict[str, Any] = {}
    references: dict[str, float | None] = {}
    origins: dict[str, str] = {}
    settings: dict[str, Any] = {}
    for place, layer in layers.items():
        has |= {key: getattr(layer, key) for key in layer.model_fields_set}
        for name, entry in layer.references.items():
            references[name] = entry.value
            origins[name] = source_text(entry.source, sources, f"{where}, {place}.references.{name}")
        settings |= flat(layer.settings)
    mean, std, decimals = parse_printed(has["value"])
    delta, missing = _delta(has.get("delta"), mean, references.get("random"), f"{where}, rows of {row_id}, delta")
    source = source_text(has["source"], sources, f"{where}, {list(layers)[-1]}.source")
    lowest, optimum = has.get("minimum_score"), has.get("optimum")
    if lowest is not None and optimum is not None and not lowest < optimum:
        raise ReproduceError(f"{where}, rows of {row_id}: minimum_score {lowest} is not below the optimum {optimum}.")
    paper, table = row_id.split("/")[:2]
    return PaperRow(
        id=row_id,
        paper=paper,
        table=table,
        task=has["task"],
        dataset=has["dataset"],
        algorithm=algorithm,
        metric=has["metric"],
        mode=has["mode"],
        bound=Bound(
            mean,
            std,
            has["n"],
            has["std_kind"],
            decimals,
            optimum=optimum,
            delta=delta,
            minimum_score=lowest,
        ),
        printed=has["value"],
        source=source,
        references=references,
        sources={"value": source, **origins},
        settings=settings,
        missing=missing,
    )


def _delta(rule: Any, mean: float | None, random: float | None, where: str) -> tuple[float | None, str]:
    """The margin, or None and what is missing."""
    if rule != RELATIVE_DELTA:
        return rule, "" if rule is not None else "delta is not set"
    if mean is None or random is None:
        needed = "the paper mean" if mean is None else "random's return, which data.generate.random_play measures"
        return None, f"delta = {RELATIVE_DELTA} needs {needed}"
    if mean == random:
        return None, f"delta = {RELATIVE_DELTA} leaves no margin: the paper's mean equals the random one"
    return 0.1 * abs(mean - random), ""


def _other(entry: OtherEntry, table: TableFile, where: str) -> list[OtherNumber]:
    source = source_text(entry.source, table.sources, f"{where}, other")
    numbers = []
    for algorithm, text in entry.cells.items():
        mean, std, _ = parse_printed(text)
        numbers.append(OtherNumber(entry.task, entry.dataset, entry.metric, algorithm, mean, std, source))
    return numbers


@cache
def tables(folder: Path = PAPER_RESULTS) -> dict[str, PaperTable]:
    """Every table, by <paper>/<table>, sorted. Cached: the files do not change while a command runs."""
    files = sorted(folder.glob("*/*.yaml"))
    if not files:
        raise ReproduceError(f"no paper results under {folder}: run from a checkout of the project.")
    return {table.id: table for table in map(load_table, files)}


def rows() -> dict[str, PaperRow]:
    """Every published number, by row id."""
    return {row_id: row for table in tables().values() for row_id, row in table.rows.items()}


def row(row_id: str) -> PaperRow:
    """Raises ReproduceError with the nearest ids for an unknown one."""
    for table in tables().values():
        if row_id in table.rows:
            return table.rows[row_id]
    raise ReproduceError(f"no row {row_id!r} in paper_results.{nearest(row_id, list(rows()))}")


def match(pattern: str) -> list[str]:
    """Row ids of a name, a prefix or a glob (`inspo` is all of InSPO). Raises ReproduceError for none."""
    found = matching(pattern, rows())
    if not found:
        raise ReproduceError(f"no row matches {pattern!r}.{nearest(pattern, list(rows()))} `reproduce list` shows all.")
    return found
