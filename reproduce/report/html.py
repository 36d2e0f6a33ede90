"""The report as one self-contained HTML page: no script, no external resource, light and dark, fit for a phone.

The templates hold the markup, this file the facts they show.
"""

import os
import re
import tomllib
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data.common.paths import CONFIGS, PAPER_RESULTS, ROOT
from reproduce import records, standing
from reproduce.config.tables import file_of
from reproduce.report import comparison_matrix, plots, speed
from reproduce.report.content import HEADER, Content, Run, Table, duration, holds, short, theirs
from reproduce.report.sensitivity import SensitivityPlot

ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
TEMPLATES = Path(__file__).parent / "templates"
LOOKS = {"REPRODUCED": "good", "OPTIMUM MET": "met", "BELOW": "bad", "ABOVE": "bad", "INCONCLUSIVE": "open"}
LOOKS |= {"NOT COMPARABLE": "none"}
CLAIM_LOOKS = {"HOLDS": "good", "FAILS": "bad", "INCONCLUSIVE": "open"}
# Columns of the overview with the categories that they hold.
VERDICTS = (
    ("reproduced", (standing.REPRODUCED,)),
    ("vacuous", (standing.VACUOUS, standing.UNCHECKED)),  # unless a cloning beside it shows otherwise
    ("optimum met", (standing.OPTIMUM,)),
    ("below", (standing.BELOW, standing.MISSED)),
    ("above", (standing.ABOVE,)),
    ("undecided", (standing.OPEN, standing.UNMATCHED)),
)


@cache
def _templates() -> Environment:
    found = FileSystemLoader(TEMPLATES)
    return Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def page(content: Content, folder: Path) -> str:
    """The whole page, a function of the content and of the `folder` that its links start from."""
    facts: dict[str, Any] = {"written": f"{content.written:%Y-%m-%d %H:%M} UTC", "counts": content.counts.sentence}
    facts["overview"] = _overview(content)
    facts["claims"] = [_claim(claim, folder) for claim in content.claims]
    facts["held"] = sum(map(holds, content.claims))
    facts["matrices"] = content.matrices
    facts["tables"] = [_table(table, folder) for table in content.tables]
    facts["speed"] = None if content.speed is None else _speed(content.speed)
    facts["style"] = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return _templates().get_template("page.html.jinja").render(facts)


def _overview(content: Content) -> dict[str, Any]:
    """The matrix of rows by verdict: heads, and per table a line for each row that has run, then the names of those
    that can and have not."""
    groups = []
    for table in content.tables:
        able = {row_id: each for row_id, each in table.rows.items() if each.can_run}
        untried = [short(each.row) for each in able.values() if each.own is None]
        lines = []
        for row_id, each in able.items():
            if each.own is None:
                continue
            kind = standing.category(each)
            cells = [(LOOKS[each.own.verdict.state], kind) if kind in kinds else ("", "") for _, kinds in VERDICTS]
            lines.append({"id": anchor(row_id), "row": short(each.row), "cells": cells})
        if able:
            title, at = table.paper.title, anchor(table.paper.id)
            groups.append({"title": title, "id": at, "lines": lines, "untried": untried})
    return {"head": [name for name, _ in VERDICTS], "groups": groups}


def anchor(row_id: str) -> str:
    """The row's place in the page."""
    return row_id.replace("/", "-")


@cache
def _repository() -> str | None:
    """The address of the repository that pyproject.toml states; a fork that states its own gets links to commits."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return stated.get("urls", {}).get("Repository")


def _commit(record: dict[str, Any]) -> list[tuple[str, str]]:
    commit, place = record["provenance"].get("commit"), _repository()
    return [("commit", f"{place.rstrip('/')}/commit/{commit}")] if place and commit else []


def _link(path: str | Path, folder: Path) -> str:
    """A relative link from the page to a file, which may lie anywhere in the checkout."""
    return quote(Path(os.path.relpath(Path(path), folder)).as_posix())


def _claim(claim: dict[str, Any], folder: Path) -> dict[str, Any]:
    arms, judged = [], {check.get("mode") for check in claim["checks"]}
    for name, arm in claim["arms"].items():
        modes = {mode: s for mode, s in arm["scores"].items() if mode in judged and isinstance(s, list)}
        words = [f"{mode} {fmean(s):.4g}" + (f" ± {stdev(s):.2g}" if len(s) > 1 else "") for mode, s in modes.items()]
        if words:
            arms.append(f"{name} {', '.join(words)} (n = {len(next(iter(modes.values())))})")
    commit = str(claim["provenance"].get("commit", "unknown"))[:10]
    time = duration(claim["time"].get("wall_s"))
    facts = {key: claim[key] for key in ("row", "state", "changed")} | {"arms": arms, "commit": commit, "time": time}
    facts |= {"lines": [records.check_line(check) for check in claim["checks"]], "look": CLAIM_LOOKS[claim["state"]]}
    facts["passed"] = sum(bool(check["passed"]) for check in claim["checks"])
    files = {"record": claim["file"], "config": CONFIGS / f"{claim['row']}.yaml"}
    links = [*((name, _link(path, folder)) for name, path in files.items()), *_commit(claim)]
    return facts | {"text": claim.get("claim", {}).get("text", claim["row"]), "links": links}


def _table(table: Table, folder: Path) -> dict[str, Any]:
    curves = [_learning_curves(run) for run in table.runs]
    title, _, place = table.paper.title.partition(", ")
    return {
        "section": title,
        "title": place or title,
        "id": table.paper.id,
        "anchor": anchor(table.paper.id),
        "numbers": _link(PAPER_RESULTS / f"{table.paper.id}.yaml", folder),
        "caption": table.caption,
        "arxiv": found[1] if (found := ARXIV.search(table.paper.venue)) else None,
        "head": HEADER[:5],
        "runs": [_run(run, folder) for run in table.runs],
        "aggregates": table.aggregates,
        "matrix": comparison_matrix.blocks(table.matrix),
        "comparisons": table.comparisons,
        "figures": [figure for figure in curves if figure] + [_sensitivity(plot) for plot in table.sensitivity],
        "counts": table.counts,
        "published": _published(table),
    }


def _published(table: Table) -> list[list[str]]:
    """Cells: the head, then a line per row of the table with each algorithm's number and how far we are with it."""
    names = list(dict.fromkeys(each.row.algorithm for each in table.rows.values()))
    lines: dict[str, dict[str, str]] = {}
    for row_id, each in table.rows.items():
        row, mark = each.row, {"run": " ●", "not run": " ○"}.get(table.status(row_id), "")
        lines.setdefault(short(row).split("/")[0], {})[row.algorithm] = theirs(row).replace(" (n unknown)", "") + mark
    return [["Row", *names], *([name, *(line.get(a, "") for a in names)] for name, line in lines.items())]


def _run(run: Run, folder: Path) -> dict[str, Any]:
    """The comparison, and everything one needs to doubt it."""
    cell, record, verdict = dict(zip(HEADER, run.cells(), strict=True)), run.record, run.verdict
    picture = ""
    if verdict.difference is not None and verdict.low is not None and verdict.high is not None:
        ends = (verdict.low, verdict.high)
        picture = plots.interval(verdict.difference, *ends, verdict.delta or 0.0, one_sided=run.row.bound.mean is None)
    clones, returns = run.result.behavior_cloning, record["data"].get("return", {})
    facts = [f"data {cell['Data']}" + (f", mean return {returns['mean']:.5g}" if returns else "")]
    facts += [f"behavior cloning {fmean(clones):.5g}"] if clones else []
    facts += [f"{name.lower()}: {cell[name]}" for name in ("Seeds needed", "Within reported std", "Vacuous")]
    if verdict.power is not None:
        power = f"{100 * verdict.power:.0f} % of runs with truly equal means would be found so"
        facts.append(f"power: {power}, a true loss of {run.number(verdict.told)} would be told in 80 %")
    evaluated = duration(record["time"].get("evaluate_s"))
    facts.append(f"{cell['Wall time']} on {_machine(record)}, of which evaluation {evaluated}")
    if record["crashed"]:
        facts.append(f"crashed seeds: {', '.join(str(crash.get('seed')) for crash in record['crashed'])}")
    notes = [*verdict.reasons, *run.result.notes, *record["deviations"]]
    notes += [f"differs: {d.get('key')} = {d.get('used')} (row: {d.get('row')})" for d in record["differs"]]
    count = f"{len(verdict.reasons)} remarks, {len(record['deviations'])} deviations"
    files = {"record": record["file"], "config": CONFIGS / "rows" / f"{file_of(run.row.id)}.yaml"}
    return {
        "id": anchor(run.row.id),
        "cell": cell,
        "look": LOOKS[verdict.state],
        "picture": Markup(picture),
        "facts": facts,
        "notes": notes,
        "count": count,
        "links": [*((name, _link(path, folder)) for name, path in files.items()), *_commit(record)],
        "readings": [_reading(reading, folder) for reading in run.readings],
    }


def _reading(run: Run, folder: Path) -> dict[str, Any]:
    """A reading below its row: named, judged by a widened interval, not counted."""
    cell, readings = dict(zip(HEADER, run.cells(), strict=True)), run.verdict.readings
    wide = f"one of {readings} readings" if readings > 1 else "not counted"
    words = f"{cell['Ours']}; {cell['Ours - theirs']}; {run.verdict.word.lower()}; {wide}"
    return {"name": run.result.name or "regenerated data", "words": words, "link": _link(run.record["file"], folder)}


def _machine(record: dict[str, Any]) -> str:
    machine = record["provenance"].get("machine", {})
    device = machine.get("device", "unknown")
    return f"{machine.get('cpu', 'unknown')}, {machine.get('threads', '?')} threads" if device == "cpu" else str(device)


def _learning_curves(run: Run) -> dict[str, Any]:
    """A drawing of one run in the unit of its table, or of episode returns where curves hold nothing else; empty where
    the record holds no curve."""
    shape, bound, data, row = run.record["curve"], run.row.bound, run.record["data"], run.row
    metric = row.metric if row.metric == "normalized_score" else "episode_return"
    reference, name = (bound.optimum, "optimum") if bound.mean is None else (bound.mean, "paper")
    reference = reference if metric == row.metric else None  # a win rate is no return
    normal = run.record["scores"].get("references")

    def unit(points: list[list[float | None]]) -> list[list[float | None]]:
        if metric != "normalized_score":
            return points
        return [[x if x is None else row.score({"episode_return": x}, normal) for x in point] for point in points]

    greedy, sampled = (unit(shape.get(mode, [])) for mode in ("greedy", "sampled"))
    on = f"{data.get('id', 'unknown')}, {data.get('kind', 'unknown')} data"
    label = f"learning curves of {short(row)} on {on}"
    svg = plots.learning_curves(shape.get("n_updates", []), greedy, sampled, reference, label, metric.replace("_", " "))
    words = [f"on {on}, {run.result.name or 'the row’s own settings'}, {run.record['n_updates']:,} updates"]
    words += ["one line per seed"]
    words += ["greedy: solid"] if greedy else []
    words += ["sampled: dotted"] if sampled else []
    words += [f"{name} {reference:.5g}: dashed"] if reference is not None else []
    return {"svg": Markup(svg), "title": short(row), "words": " " + "; ".join(words), "table": None} if svg else {}


def _sensitivity(plot: SensitivityPlot) -> dict[str, Any]:
    words = "; dots: seeds; lines: their means"
    return {"svg": Markup(plot.svg()), "title": plot.title, "words": words, "table": plot.table()}


def _speed(record: dict[str, Any]) -> dict[str, Any]:
    figures = [
        {"svg": Markup(svg), "title": "", "words": words, "table": None} for svg, words in speed.drawings(record)
    ]
    lines = [speed.cells(line) for line in record["lines"]]
    return {"origin": speed.origin(record), "figures": figures, "table": [speed.HEAD, *lines]}
