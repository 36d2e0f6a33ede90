"""The facts that both reports show, from records and paper_results only."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError
from data.common.patterns import as_glob, matching
from reproduce import published, records
from reproduce.config import claim_ids
from reproduce.judge import Verdict
from reproduce.report import comparison_matrix
from reproduce.report.aggregate import bootstrap_interval, interquartile_mean
from reproduce.report.comparisons import Shown, comparisons
from reproduce.report.matrices import Filled, filled_matrices
from reproduce.report.sensitivity import SensitivityPlot, sensitivity_plots
from reproduce.standing import Counts, Result, Standing, changed_since, count, standings

MARKS = {"REPRODUCED": "✓", "OPTIMUM MET": "◎", "BELOW": "▼", "ABOVE": "▲", "INCONCLUSIVE": "?", "NOT COMPARABLE": "≠"}
HEADER = ("Row", "Theirs", "Ours", "Ours - theirs", "Verdict", "Data", "Seeds needed", "Within reported std")
HEADER += ("Vacuous", "Deviations", "Commit", "Wall time")
STATUSES = ("run", "not run", "no config yet")


@dataclass(frozen=True)
class Run:
    """One result beside the published number it is judged by, with the row's other readings."""

    row: published.PaperRow
    result: Result
    readings: Sequence["Run"] = ()

    @property
    def record(self) -> dict[str, Any]:
        return self.result.record

    @property
    def verdict(self) -> Verdict:
        return self.result.verdict

    @property
    def decimals(self) -> int:
        """As many as the paper prints, and enough to show two digits of the margin."""
        delta = self.row.bound.delta
        fine = max(0, 1 - math.floor(math.log10(delta))) if delta else 2
        return max(self.row.bound.decimals or 0, min(fine, 6))

    def number(self, value: float | None) -> str:
        return "unknown" if value is None else f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"  # no -0.0000

    def cells(self) -> list[str]:
        """The run in plain text, in HEADER's order; both reports say this."""
        v, record = self.verdict, self.record
        provenance = record["provenance"]
        ours = f"{self.number(v.mean)} ± {self.number(v.std)} (n = {v.n})"
        gap = "not computed" if v.low is None else f"{self.number(v.difference)} [{self.number(v.low)}, "
        gap += "" if v.low is None else f"{self.number(v.high)}], margin {self.number(v.delta)}"
        dirty = {True: " (with local changes)", False: ""}.get(provenance.get("dirty"), " (changes unknown)")
        known = "; ".join([*record["deviations"], *self.result.notes]) or "none"
        return [
            short(self.row), theirs(self.row), ours, gap, f"{MARKS[v.state]} {v.word}", _data(record),
            "decided" if v.seeds_needed is None and v.exit_code < 2 else str(v.seeds_needed or "unknown"),
            _words(v.within_reported_std), _words(v.vacuous), known,
            str(provenance.get("commit", "unknown"))[:10] + dirty, duration(record["time"].get("wall_s")),
        ]  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A published table with the rows of it that are reported. `runs` are those with the rows' own settings; `matrix`
    are scores on the same data."""

    paper: published.PaperTable
    rows: dict[str, Standing]
    runs: list[Run]
    matrix: list[list[str]]
    sensitivity: list[SensitivityPlot]
    comparisons: list[Shown] = field(default_factory=list)

    @property
    def caption(self) -> str:
        metric = self.paper.printed_metric.replace("_", " ")
        return (
            f"{self.paper.venue}. Metric: {metric}. "
            "Theirs as printed; ours mean ± sample standard deviation over seeds."
        )

    def status(self, row_id: str) -> str:
        """One of STATUSES."""
        row = self.rows[row_id]
        return "run" if row.own else "not run" if row.can_run else "no config yet"

    @property
    def counts(self) -> str:
        counts = Counter(map(self.status, self.rows))
        return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])

    @property
    def aggregates(self) -> list[str]:
        """A sentence for each algorithm and kind of data: the interquartile mean of our normalized scores with its
        interval.

        It counts runs with the row's own settings that are compared with a published number, and needs two such rows.
        """
        groups: dict[tuple[str, str], list[Run]] = {}
        for run in filter(_judged_on_normalized, self.runs):
            groups.setdefault((run.row.algorithm, run.record["data"]["kind"]), []).append(run)
        return [_aggregate(self.paper.title, *key, runs) for key, runs in groups.items() if len(runs) > 1]


@dataclass(frozen=True)
class Content:
    """All that both reports show; `rows` are the published numbers of the chosen tables. `matrices`: tables of
    algorithms on the same data, with all rows only."""

    written: datetime
    rows: dict[str, Standing]
    tables: list[Table]
    claims: list[dict[str, Any]]  # records, with `state` and `changed` (since it was recorded)
    speed: dict[str, Any] | None
    matrices: list[Filled] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        return [run for table in self.tables for run in table.runs]

    @property
    def counts(self) -> Counts:
        return count(self.rows.values())


def collect(pattern: str = "*", left_out: dict[Path, str] | None = None) -> Content:
    """The rows and claims that match the pattern, with what is recorded of them.

    A record that cannot be read is added to `left_out`. Raises ReproduceError when neither a row nor a recorded claim
    matches, and for such a record where `left_out` is None.
    """
    every = published.rows()
    glob = as_glob(pattern, [*every, *claim_ids()])
    recorded = records.read(glob, left_out=left_out)
    newest = {record["row"]: record for record in recorded if record["kind"] == "claim"}
    about = {name: {"state": records.claim_state(r), "changed": changed_since(r)} for name, r in newest.items()}
    claims = [record | about[name] for name, record in newest.items()]
    chosen = matching(pattern, every)
    if not chosen and not claims:
        published.match(pattern)  # raises, with the nearest names
    for record in [record for record in recorded if record["kind"] == "row" and record["row"] not in chosen]:
        text = f"record {record['file']} is of a row that paper_results does not hold: restore {record['row']}."
        if left_out is None:
            raise ReproduceError(text)
        left_out[Path(record["file"])] = text
        recorded.remove(record)
    among = recorded if pattern == "*" else records.read_of_others()
    rows = standings(chosen, recorded, among)
    plots = sensitivity_plots(recorded, {i: each.row for i, each in rows.items()})
    words = {id(r.record): r.verdict for each in rows.values() for r in [each.own, *each.readings] if r}
    compared = records.read(f"comparisons/{glob}", "comparison", left_out)
    tables = []
    for paper in published.tables().values():
        if of_table := {i: each for i, each in rows.items() if i in paper.rows}:
            about = {i: each.row for i, each in of_table.items()}
            matrix = comparison_matrix.matrix(recorded, about, words)
            runs = [_run(each) for each in of_table.values() if each.own]
            drawn = [plot for plot in plots if plot.row.id in of_table]
            tables.append(Table(paper, of_table, runs, matrix, drawn, comparisons(compared, about)))
    speed = [r for r in recorded if r["row"] == "bench/all"] if pattern == "*" else []
    matrices = filled_matrices(recorded) if pattern == "*" else []
    return Content(datetime.now(UTC), rows, tables, claims, speed[-1] if speed else None, matrices)


def _run(each: Standing) -> Run:
    assert each.own is not None
    return Run(each.row, each.own, [Run(each.row, reading) for reading in each.readings])


def holds(claim: dict[str, Any]) -> bool:
    """Whether a claim of `Content.claims` held, as its file and its rows state it today."""
    return claim["state"] == "HOLDS" and not claim["changed"]


def theirs(row: published.PaperRow) -> str:
    """The printed number and its n, or the optimum that stands in for it."""
    if row.bound.mean is None:
        return "unknown" if row.bound.optimum is None else f"unknown (known optimum {row.bound.optimum:g})"
    return f"{row.printed} (n {'unknown' if row.bound.n is None else f'= {row.bound.n}'})"


def duration(seconds: float | None) -> str:
    """135.2 -> 2 min 15 s."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def short(row: published.PaperRow) -> str:
    """The row's id within its table."""
    return row.id.split("/", 2)[2]


def _words(flag: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[flag]


def _data(record: dict[str, Any]) -> str:
    return f"{record['data'].get('kind', 'unknown')}: {record['data'].get('id', 'unknown')}"


def _judged_on_normalized(run: Run) -> bool:
    return run.record["scores"]["metric"] == "normalized_score" and run.verdict.low is not None


def _aggregate(title: str, algorithm: str, kind: str, runs: Sequence[Run]) -> str:
    scores = {f"{k} {run.row.id}": run.result.per_seed for k, run in enumerate(runs)}
    low, high = bootstrap_interval(scores)
    return (
        f"{title}, {algorithm}: with the rows' own settings, over the {len(runs)} rows on {kind} data that are "
        f"compared with a published number ({sum(map(len, scores.values()))} seeds): interquartile mean of our "
        f"normalized scores "
        f"{interquartile_mean(scores):.1f}, 95 % stratified bootstrap interval [{low:.1f}, {high:.1f}]. Each seed "
        "weighs the same, and seeds are resampled within their row. It is no verdict: the published table gives no "
        "score per seed to set beside it."
    )
