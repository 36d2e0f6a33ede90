"""The report as one self-contained HTML page: no script, no external resource, light and dark, fit for a phone.

The templates hold the markup, this file the facts they show.
"""

from collections import Counter
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reproduce.judge import EXIT_CODES
from reproduce.report import plots, speed
from reproduce.report.content import HEADER, MARKS, Content, Run, Table, duration, short, theirs
from reproduce.report.sensitivity import SensitivityPlot

TEMPLATES = Path(__file__).parent / "templates"
LOOKS = {"REPRODUCED": "good", "BELOW": "bad", "ABOVE": "bad", "INCONCLUSIVE": "open", "NOT COMPARABLE": "none"}


@cache
def _templates() -> Environment:
    found = FileSystemLoader(TEMPLATES)
    return Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def page(content: Content) -> str:
    """The whole page, a function of the content alone."""
    facts: dict[str, Any] = {"n_rows": len(content.rows), "written": f"{content.written:%Y-%m-%d %H:%M} UTC"}
    facts["n_open"] = len(set(content.rows) - {run.row.id for run in content.runs})
    facts["badges"] = _badges(content)
    facts["claims"] = [_claim(claim) for claim in content.claims]
    facts["tables"] = [_table(table) for table in content.tables]
    facts["speed"] = None if content.speed is None else _speed(content.speed)
    facts["style"] = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return _templates().get_template("page.html.jinja").render(facts)


def _badges(content: Content) -> list[tuple[str, str]]:
    """(look, words): how many runs have each verdict, and how many claims hold."""
    states = Counter(run.verdict.state for run in content.runs)
    badges = [(LOOKS[state], f"{MARKS[state]} {states[state]} {state}") for state in EXIT_CODES if states[state]]
    if n := len(content.claims):
        held = sum(bool(claim["passed"]) for claim in content.claims)
        badges.append(("good" if held == n else "bad", f"{held} of {n} claims hold"))
    return badges


def _claim(claim: dict[str, Any]) -> dict[str, Any]:
    arms = []
    for name, arm in claim["arms"].items():
        modes = {mode: s for mode, s in arm["scores"].items() if isinstance(s, list)}
        words = [f"{mode} {fmean(s):.4g} ± {stdev(s) if len(s) > 1 else 0:.2g}" for mode, s in modes.items()]
        if words:
            arms.append(f"{name} {', '.join(words)} (n = {len(next(iter(modes.values())))})")
    commit = str(claim["provenance"].get("commit", "unknown"))[:10]
    time = duration(claim["time"].get("wall_s"))
    return {key: claim[key] for key in ("row", "passed", "checks")} | {"arms": arms, "commit": commit, "time": time}


def _table(table: Table) -> dict[str, Any]:
    curves = [_learning_curves(run) for run in table.runs]
    return {
        "section": table.paper.title.split(",")[0],
        "title": table.paper.title,
        "id": table.paper.id,
        "caption": table.caption,
        "head": HEADER[:5],
        "runs": [_run(run) for run in table.runs],
        "aggregates": table.aggregates,
        "matrix": table.matrix,
        "figures": [figure for figure in curves if figure] + [_sensitivity(plot) for plot in table.sensitivity],
        "counts": table.counts,
        "published": _published(table),
    }


def _published(table: Table) -> list[list[str]]:
    """Cells: the head, then a line per row of the table with each algorithm's number and how far we are with it."""
    names = list(dict.fromkeys(row.algorithm for row in table.rows.values()))
    lines: dict[str, dict[str, str]] = {}
    for row_id, row in table.rows.items():
        mark = {"run": " ●", "not run": " ○"}.get(table.status(row_id), "")
        lines.setdefault(short(row).split("/")[0], {})[row.algorithm] = theirs(row).replace(" (n unknown)", "") + mark
    return [["Row", *names], *([name, *(line.get(a, "") for a in names)] for name, line in lines.items())]


def _run(run: Run) -> dict[str, Any]:
    """The comparison, and everything one needs to doubt it."""
    cell, record, verdict = dict(zip(HEADER, run.cells(), strict=True)), run.record, run.verdict
    picture = ""
    if verdict.difference is not None and verdict.low is not None and verdict.high is not None:
        ends = (verdict.low, verdict.high)
        picture = plots.interval(verdict.difference, *ends, verdict.delta or 0.0, one_sided=run.row.bound.mean is None)
    clones, returns = record.get("behavior_cloning"), record["data"].get("return", {})
    facts = [f"data {cell['Data']}" + (f", mean return {returns['mean']:.5g}" if returns else "")]
    facts += [f"behavior cloning {fmean(clones):.5g}"] if clones else []
    facts += [f"{name.lower()}: {cell[name]}" for name in ("Seeds needed", "Within reported std", "Vacuous")]
    evaluated = duration(record["time"].get("evaluate_s"))
    facts.append(f"{cell['Wall time']} on {_machine(record)}, of which evaluation {evaluated}")
    if record["crashed"]:
        facts.append(f"crashed seeds: {', '.join(str(crash.get('seed')) for crash in record['crashed'])}")
    notes = [*verdict.reasons, *record["deviations"]]
    notes += [f"differs: {d.get('key')} = {d.get('used')} (row: {d.get('row')})" for d in record["differs"]]
    count = f"{len(verdict.reasons)} remarks, {len(record['deviations'])} deviations"
    look, picture = LOOKS[verdict.state], Markup(picture)
    return {"cell": cell, "look": look, "picture": picture, "facts": facts, "notes": notes, "count": count}


def _machine(record: dict[str, Any]) -> str:
    machine = record["provenance"].get("machine", {})
    device = machine.get("device", "unknown")
    return f"{machine.get('cpu', 'unknown')}, {machine.get('threads', '?')} threads" if device == "cpu" else str(device)


def _learning_curves(run: Run) -> dict[str, Any]:
    """A drawing of one run; empty where the record holds no curve."""
    shape, bound, data = run.record["curve"], run.row.bound, run.record["data"]
    reference, word = (bound.optimum, "optimum") if bound.mean is None else (bound.mean, "paper")
    if reference is not None and run.row.metric == "normalized_score":  # curves are raw returns
        low, high = (run.row.references.get(f"normalization_{end}") for end in ("random", "expert"))
        reference = None if low is None or high is None else low + reference / 100 * (high - low)
    greedy, sampled = shape.get("greedy", []), shape.get("sampled", [])
    label = f"learning curves of {short(run.row)} on {data.get('id', 'unknown')}, {data.get('kind', 'unknown')} data"
    svg = plots.learning_curves(shape.get("n_updates", []), greedy, sampled, reference, label)
    words = [f"({data.get('kind', '')} data), one line per seed"]
    words += ["greedy: solid"] if greedy else []
    words += ["sampled: dotted"] if sampled else []
    words += [f"{word} {reference:.5g}: dashed"] if reference is not None else []
    return {"svg": Markup(svg), "title": short(run.row), "words": " " + "; ".join(words), "table": None} if svg else {}


def _sensitivity(plot: SensitivityPlot) -> dict[str, Any]:
    words = "; dots: seeds; lines: their means"
    return {"svg": Markup(plot.svg()), "title": plot.title, "words": words, "table": plot.table()}


def _speed(record: dict[str, Any]) -> dict[str, Any]:
    figures = [
        {"svg": Markup(svg), "title": "", "words": words, "table": None} for svg, words in speed.drawings(record)
    ]
    lines = [speed.cells(line) for line in record["lines"]]
    return {"origin": speed.origin(record), "figures": figures, "table": [speed.HEAD, *lines]}
