"""The report's sensitivity curves: a row's score against one setting, from records that differ in nothing else."""

import json
import re
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, stdev
from typing import Any

from reproduce import published
from reproduce.config import NOT_PART_OF_FINGERPRINT, flat
from reproduce.records import of_own_algorithm
from reproduce.report import plots

MINIMUM_VALUES = 3
FIXED = (*NOT_PART_OF_FINGERPRINT, "protocol.")  # the protocol says how a run is scored: no curve is drawn over it


@dataclass(frozen=True)
class Point:
    """Scores at one value of the setting, one per seed, in the row's metric."""

    value: float
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.scores)

    def __str__(self) -> str:
        spread = f" ± {stdev(self.scores):.4g}" if len(self.scores) > 1 else ""
        return f"{self.mean:.4g}{spread} (n = {len(self.scores)})"


@dataclass(frozen=True)
class Published:
    """One number of the paper's own sweep, in the row's metric.

    `half` is printed after ±, None for unknown; `source` says where, and in which metric.
    """

    value: float
    mean: float
    half: float | None
    source: str

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {'unknown' if self.half is None else format(self.half, '.4g')}"


@dataclass(frozen=True)
class Curve:
    """Points of one row by value of `key`; the label says what else is set otherwise than in the row's file."""

    row: str
    key: str
    label: str
    metric: str
    points: list[Point]


@dataclass(frozen=True)
class SensitivityPlot:
    """All curves of one row over one setting, and the paper's."""

    row: published.PaperRow
    key: str
    curves: list[Curve]
    theirs: list[Published]

    @property
    def title(self) -> str:
        return f"{self.row.id.split('/', 2)[2]}: {self.row.metric.replace('_', ' ')} against {self.key}"

    @property
    def origin(self) -> str:
        return f"Theirs: {'; '.join(dict.fromkeys(point.source for point in self.theirs))}"

    def table(self) -> list[list[str]]:
        """Cells: the head, then a line for each value that we or they have."""
        columns = {f"Ours: {curve.label}": {p.value: str(p) for p in curve.points} for curve in self.curves}
        columns |= {self.origin: {p.value: str(p) for p in self.theirs}} if self.theirs else {}
        values = sorted({value for column in columns.values() for value in column})
        return [[self.key, *columns], *([f"{v:g}", *(c.get(v, "") for c in columns.values())] for v in values)]

    def svg(self) -> str:
        """The drawing; the row's own number is dashed, with its margin as a band."""
        bound = self.row.bound
        level, word = (bound.optimum, "Optimum") if bound.mean is None else (bound.mean, "The row's published number")
        margin = bound.delta or 0.0
        band = None if level is None else (level, level - margin, level + (0.0 if bound.mean is None else margin))
        return plots.sensitivity(
            {f"Ours: {curve.label}": {p.value: p.scores for p in curve.points} for curve in self.curves},
            [(p.value, p.mean, p.half or 0.0) for p in self.theirs],
            band,
            plots.Names(
                x=self.key,
                y=f"{self.row.metric.replace('_', ' ')} ({self.row.mode})",
                theirs=self.origin,
                reference="" if level is None else f"{word}, {level:g}, and its margin",
            ),
            f"{self.title}; the numbers are in the table below it",
        )


def curves(found: list[dict[str, Any]]) -> list[Curve]:
    """Curves among the records (oldest first) of the rows' own algorithms and their ablations, sorted.

    Records of one curve agree in row, metric, data and every setting that is not free, except for one number. Each
    value of that number counts once, by the record with the most seeds, the newest of several. When the
    data were built anew, the newer curve is returned.
    """
    groups: dict[tuple, dict[float, Point]] = {}
    files: dict[str, dict[str, Any]] = {}  # row -> what its file says, by its newest record that chose no other group
    for record in found:
        if record["kind"] != "row" or not of_own_algorithm(record) or None in record["scores"]["per_seed"]:
            continue
        row, data, metric = record["row"], record["data"], record["scores"]["metric"]
        used = {
            key: value for key, value in flat(record["config"]).items() if not key.startswith(NOT_PART_OF_FINGERPRINT)
        }
        if row not in files or all("." in override.partition("=")[0] for override in record["overrides"]):
            files[row] = used | {difference["key"]: difference["row"] for difference in record["differs"]}
        for key, value in used.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and not key.startswith(FIXED):
                rest = json.dumps({k: v for k, v in used.items() if k != key}, sort_keys=True)
                group = (row, key, metric, data.get("id"), data.get("kind"), data.get("sha256"), rest)
                point = Point(float(value), tuple(record["scores"]["per_seed"]))
                points = groups.pop(group, {})
                if len(point.scores) >= len(points.get(point.value, point).scores):
                    points[point.value] = point
                groups[group] = points  # the newest group stays last
    named: dict[tuple, Curve] = {}
    for (row, key, metric, data_id, kind, _, rest), points in groups.items():
        if len(points) >= MINIMUM_VALUES:
            used, file = json.loads(rest), files[row]
            keys = sorted((used | file).keys() - {key, "data.id"})
            changed = [f"{k}={used.get(k)}" for k in keys if used.get(k) != file.get(k)]
            label = f"{', '.join(changed) or 'the settings of the row'} ({data_id}, {kind} data)"
            named[row, key, len(changed), label] = Curve(
                row, key, label, metric, sorted(points.values(), key=lambda p: p.value)
            )
    return [named[name] for name in sorted(named)]


def published_points(row: published.PaperRow, key: str) -> list[Published]:
    """The paper's own sweep: `other` entries of the row's table that read ALGORITHM(key=value), by value.

    Raw returns are brought to the row's metric; entries in a metric that is neither are left out.
    """
    table = published.tables()[f"{row.paper}/{row.table}"]
    pattern = re.compile(rf"{re.escape(row.algorithm)}\({re.escape(key.rpartition('.')[2])}=([-+.\deE]+)\)")
    points = []
    for number in table.other:
        hit, raw = pattern.fullmatch(number.algorithm), number.metric.startswith("raw_return")
        same = (number.task, number.dataset) == (row.task, row.dataset)
        if hit and same and number.mean is not None and (raw or number.metric in (row.metric, table.printed_metric)):
            score = (lambda mean: row.score({"episode_return": mean})) if raw else float
            half = None if number.std is None else score(number.mean + number.std) - score(number.mean)
            source = f"{number.source}, {number.metric.replace('_', ' ')}"
            points.append(Published(float(hit[1]), score(number.mean), half, source))
    return sorted(points, key=lambda point: point.value)


def sensitivity_plots(found: list[dict[str, Any]], known: dict[str, published.PaperRow]) -> list[SensitivityPlot]:
    """The curves among the records of the known rows, in the order of the rows.

    Curves in a former metric of their row are left out.
    """
    mine = [curve for curve in curves(found) if curve.row in known and curve.metric == known[curve.row].metric]
    made = []
    for (row, key), some in groupby(mine, lambda curve: (curve.row, curve.key)):
        made.append(SensitivityPlot(known[row], key, list(some), published_points(known[row], key)))
    return sorted(made, key=lambda plot: list(known).index(plot.row.id))
