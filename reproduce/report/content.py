"""The report: one self-contained HTML page and one markdown file, from records and paper_results only."""

import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError
from data.common.files import write_text
from data.common.paths import CONFIGS
from reproduce import published, records
from reproduce.judge import Verdict
from reproduce.report import comparison_matrix, sensitivity
from reproduce.report import speed as speed_table

MARKS = {"REPRODUCED": "✓", "BELOW": "▼", "ABOVE": "▲", "INCONCLUSIVE": "?", "NOT COMPARABLE": "≠"}
HEADER = ("Row", "Theirs", "Ours", "Ours - theirs", "Verdict", "Data", "Seeds needed", "Within reported std")
HEADER += ("Vacuous", "Deviations", "Commit", "Wall time")


@dataclass(frozen=True)
class Run:
    """One record beside the published number it is judged by."""

    row: published.PaperRow
    record: dict[str, Any]

    @property
    def verdict(self) -> Verdict:
        return Verdict.from_json(self.record["verdict"])

    @property
    def decimals(self) -> int:
        """As many as the paper prints, and enough to show two digits of the margin."""
        delta = self.row.bound.delta
        fine = max(0, 1 - math.floor(math.log10(delta))) if delta else 2
        return max(self.row.bound.decimals or 0, min(fine, 6))

    def number(self, value: float | None) -> str:
        return "unknown" if value is None else f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"  # no -0.0000

    def cells(self) -> list[str]:
        """What both reports say about the run, in HEADER's order, as plain text."""
        v, record = self.verdict, self.record
        provenance = record["provenance"]
        ours = f"{self.number(v.mean)} ± {self.number(v.std)} (n = {v.n})"
        gap = "not computed" if v.low is None else f"{self.number(v.difference)} [{self.number(v.low)}, "
        gap += "" if v.low is None else f"{self.number(v.high)}], margin {self.number(v.delta)}"
        dirty = {True: " (with local changes)", False: ""}.get(provenance.get("dirty"), " (changes unknown)")
        known = "; ".join([*record["deviations"], *record.get("notes", [])]) or "none"
        return [
            short(self.row), theirs(self.row), ours, gap, f"{MARKS[v.state]} {v.headline}", _data(record),
            "decided" if v.seeds_needed is None and v.exit_code < 2 else str(v.seeds_needed or "unknown"),
            _words(v.within_reported_std), _words(v.vacuous), known,
            str(provenance.get("commit", "unknown"))[:10] + dirty, duration(record["time"].get("wall_s")),
        ]  # fmt: skip


def theirs(row: published.PaperRow) -> str:
    """The printed number and its n, or the optimum that stands in for it."""
    if row.bound.mean is None:
        return "unknown" if row.bound.optimum is None else f"unknown (optimum {row.bound.optimum:g})"
    return f"{row.printed} (n {'unknown' if row.bound.n is None else f'= {row.bound.n}'})"


def duration(seconds: float | None) -> str:
    """135.2 -> 2 min 15 s."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _words(flag: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[flag]


def short(row: published.PaperRow) -> str:
    return row.id.split("/", 2)[2]


def _data(record: dict[str, Any]) -> str:
    return f"{record['data'].get('kind', 'unknown')}: {record['data'].get('id', 'unknown')}"


def status(row_id: str, done: set[str]) -> str:
    if row_id in done:
        return "run"
    return "not run" if (CONFIGS / "rows" / f"{row_id}.yaml").is_file() else "no config yet"


def write_report(out_dir: Path, pattern: str = "*") -> tuple[Path, Path]:
    """Write report.html and report.md into `out_dir`; rows and claims that match the pattern.

    Raises ReproduceError when neither a row nor a recorded claim matches, or a record cannot be read.
    """
    found = records.read(pattern)
    claims = list({record["row"]: record for record in found if record["kind"] == "claim"}.values())
    known = {i: row for i, row in published.rows().items() if i == pattern or fnmatchcase(i, pattern)}
    if not known and not claims:
        published.match(pattern)  # raises, with the nearest names
    newest = records.select_reported(found)
    runs = [Run(known[record["row"]], record) for record in newest if record["row"] in known]
    strangers = sorted({record["row"] for record in newest} - set(known))
    if strangers:
        raise ReproduceError(f"records of rows that paper_results does not hold: {', '.join(strangers)}. Restore them.")
    runs.sort(key=lambda run: list(known).index(run.row.id))
    from reproduce.report.html import page

    sheets = sensitivity.sheets(found, known)
    speed = [record for record in records.read("bench/all") if pattern == "*"][-1:]
    html_path, md_path = Path(out_dir) / "report.html", Path(out_dir) / "report.md"
    beside = {table.id: comparison_matrix.matrix(found, rows) for table, _, rows in tables_of(known, runs)}
    content = Content(known, runs, beside, claims, sheets, speed)
    write_text(html_path, page(content))
    write_text(md_path, _markdown(content))
    return html_path, md_path


@dataclass(frozen=True)
class Content:
    """What both reports show."""

    known: dict[str, published.PaperRow]
    runs: list[Run]
    beside: dict[str, list[list[str]]]  # table id -> scores on the same data
    claims: list[dict[str, Any]]
    sheets: list[sensitivity.Sheet]
    speed: list[dict[str, Any]]

    @property
    def tables(self) -> list[tuple[published.PaperTable, list[Run], dict[str, published.PaperRow]]]:
        return tables_of(self.known, self.runs)


def tables_of(
    known: dict[str, published.PaperRow], runs: list[Run]
) -> list[tuple[published.PaperTable, list[Run], dict[str, published.PaperRow]]]:
    """Each published table with the runs and rows of it that are reported."""
    chosen = []
    for table in published.tables().values():
        mine = {i: row for i, row in table.rows.items() if i in known}
        if mine:
            chosen.append((table, [run for run in runs if run.row.id in mine], mine))
    return chosen


def caption(table: published.PaperTable) -> str:
    metric = table.printed_metric.replace("_", " ")
    return f"{table.venue}. Metric: {metric}. Theirs as printed; ours mean ± sample standard deviation over seeds."


def count_runs(mine: dict[str, published.PaperRow], done: set[str]) -> str:
    counts = Counter(status(row_id, done) for row_id in mine)
    return ", ".join(f"{counts[state]} {state}" for state in ("run", "not run", "no config yet") if counts[state])


# ---- markdown


def _markdown(content: Content) -> str:
    def line(cells: list[str] | tuple[str, ...]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    out = ["# Reproduction report", "", f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.", ""]
    if content.claims:
        out += ["## Claims", ""]
    for claim in content.claims:
        out.append(f"- **{claim['row']}**: {'HOLDS' if claim['passed'] else 'DOES NOT HOLD'}")
        out += [f"  - {'passed' if check['passed'] else 'FAILED'}: {check['text']}" for check in claim["checks"]]
    for table, mine, rows in content.tables:
        done = {run.row.id for run in mine}
        out += ["", f"## {table.title} (`{table.id}`)", "", caption(table), ""]
        if mine:
            out += [line(HEADER), line(["---"] * len(HEADER)), *(line(run.cells()) for run in mine), ""]
        if content.beside[table.id]:
            head, *lines = content.beside[table.id]
            out += ["### On the same data", "", line(head), line(["---"] * len(head)), *map(line, lines), ""]
        for sheet in content.sheets:
            if sheet.row.id in rows:
                head, *lines = sheet.table()
                out += [f"### {sheet.title}", "", line(head), line(["---"] * len(head)), *map(line, lines), ""]
        for state in ("not run", "no config yet"):
            names = [f"{short(row)} ({theirs(row)})" for i, row in rows.items() if status(i, done) == state]
            if names:
                out += [f"{state.capitalize()}: {'; '.join(names)}.", ""]
    for record in content.speed:
        out += ["", "## Speed", "", speed_table.origin(record), "", line(speed_table.HEAD)]
        out += [line(["---"] * len(speed_table.HEAD)), *(line(speed_table.cells(one)) for one in record["lines"])]
    return "\n".join(out).rstrip() + "\n"
