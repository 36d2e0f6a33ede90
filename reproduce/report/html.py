"""The report as one self-contained HTML page: no script, no external resource, light and dark, fit for a phone."""

from collections import Counter
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from reproduce import published
from reproduce.judge import EXIT_CODES
from reproduce.report import sensitivity, speed
from reproduce.report.content import (
    HEADER,
    MARKS,
    Content,
    Run,
    caption,
    count_runs,
    duration,
    short,
    status,
    theirs,
)
from reproduce.report.plots import curve, interval

CSS = Path(__file__).parent / "templates" / "report.css"
LOOKS = {"REPRODUCED": "good", "BELOW": "bad", "ABOVE": "bad", "INCONCLUSIVE": "open", "NOT COMPARABLE": "none"}


def _badge(look: str, words: str) -> str:
    return f'<span class="badge {look}">{escape(words)}</span>'


def page(content: Content) -> str:
    known, runs, claims = content.known, content.runs, content.claims
    states = Counter(run.verdict.state for run in runs)
    counts = "".join(f"<li>{_badge(LOOKS[s], f'{MARKS[s]} {states[s]} {s}')}</li>" for s in EXIT_CODES if states[s])
    held = sum(bool(claim["passed"]) for claim in claims)
    if claims:
        counts += f"<li>{_badge('good' if held == len(claims) else 'bad', f'{held} of {len(claims)} claims hold')}</li>"
    open_rows = len(set(known) - {run.row.id for run in runs})
    body = [
        "<h1>Reproduction report</h1>",
        f'<p class="soft">Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {len(known)} published numbers, '
        f"{open_rows} of them without a run.</p>",
        f'<ul class="counts">{counts}</ul>' if counts else "",
    ]
    if claims:
        body.append("<h2>Claims</h2>" + "".join(map(_claim, claims)))
    before = ""
    for table, mine, rows in content.tables:
        name = table.title.split(",")[0]
        if name != before:
            body.append(f"<h2>{escape(name)}</h2>")
            before = name
        drawn = [sheet for sheet in content.sheets if sheet.row.id in rows]
        body.append(_table(table, mine, rows, content.beside[table.id], drawn))
    body += map(speed.section, content.speed)
    style = CSS.read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Reproduction report</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>\n{style}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _claim(claim: dict[str, Any]) -> str:
    word = "HOLDS" if claim["passed"] else "DOES NOT HOLD"
    checks = "".join(
        f"<li>{'✓ passed' if check['passed'] else '✗ failed'}: {escape(str(check['text']))}</li>"
        for check in claim["checks"]
    )
    arms = []
    for name, arm in claim["arms"].items():
        modes = {mode: s for mode, s in arm["scores"].items() if isinstance(s, list)}
        words = [f"{mode} {fmean(s):.4g} ± {stdev(s) if len(s) > 1 else 0:.2g}" for mode, s in modes.items()]
        if words:
            arms.append(f"{escape(name)} {', '.join(words)} (n = {len(next(iter(modes.values())))})")
    commit = escape(str(claim["provenance"].get("commit", "unknown"))[:10])
    return (
        f'<div class="claim"><code>{escape(claim["row"])}</code> {_badge("good" if claim["passed"] else "bad", word)}'
        f'<ul>{checks}</ul><p class="soft">{"; ".join(arms)}</p><p class="soft">commit <code>{commit}</code>, '
        f"{duration(claim['time'].get('wall_s'))}</p></div>"
    )


def _table(
    table: published.PaperTable,
    runs: list[Run],
    rows: dict[str, published.PaperRow],
    beside: list[list[str]],
    sheets: list[sensitivity.Sheet],
) -> str:
    out = [f"<h3>{escape(table.title)} <code>{escape(table.id)}</code></h3>"]
    if runs:
        head = "".join(f'<th scope="col">{name}</th>' for name in HEADER[:5])
        out.append(f'<table class="results"><caption>{escape(caption(table))}</caption><thead><tr>{head}</tr></thead>')
        out.append("<tbody>" + "".join(map(_lines, runs)) + "</tbody></table>")
    if beside:
        out.append(_matrix(beside))
    figures = [_figure(run) for run in runs]
    if any(figures):
        out.append(f'<div class="curves">{"".join(figures)}</div>')
    if sheets:
        out.append(f'<div class="curves">{"".join(map(sensitivity.figure, sheets))}</div>')
    done = {run.row.id for run in runs}
    names = list(dict.fromkeys(row.algorithm for row in rows.values()))
    cells: dict[str, dict[str, str]] = {}
    for row_id, row in rows.items():
        mark = {"run": " ●", "not run": " ○"}.get(status(row_id, done), "")
        text = escape(theirs(row).replace(" (n unknown)", "")) + mark
        cells.setdefault(short(row).split("/")[0], {})[row.algorithm] = text
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td>{line.get(a, '')}</td>" for a in names) + "</tr>"
        for name, line in cells.items()
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("Row", *names))
    out.append(
        f"<details><summary>All published numbers: {count_runs(rows, done)}</summary>"
        '<div class="scroll"><table class="all">'
        "<caption>As printed; n unknown unless said. ● run, ○ not run, unmarked: no config yet.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )
    return "".join(out)


def _matrix(cells: list[list[str]]) -> str:
    head, *lines = [[escape(cell) for cell in line] for line in cells]
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(f'<tr><th scope="row">{line[0]}</th><td>{"</td><td>".join(line[1:])}</td></tr>' for line in lines)
    return (
        "<details open><summary>On the same data</summary>"
        '<div class="scroll"><table class="all"><caption>Ours, mean ± sample standard deviation over five seeds unless '
        "said: what the row's settings give beside its budgets, variants, ablations and baselines; a verdict where one "
        f"is given.</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _lines(run: Run) -> str:
    """Two table lines: the comparison, and below it everything one needs to doubt it."""
    name, ref, ours, gap, state, data, needed, within, vacuous, _, commit, wall = run.cells()
    v = run.verdict
    picture = interval(v, one_sided=run.row.bound.mean is None)
    values = (("Theirs", escape(ref)), ("Ours", ours), ("Ours - theirs", gap + picture))
    main = "".join(f'<td class="number" data-label="{label}">{value}</td>' for label, value in values)
    clones = run.record.get("behavior_cloning")
    returns = run.record["data"].get("return", {})
    facts = [f"data {escape(data)}" + (f", mean return {returns['mean']:.5g}" if returns else "")]
    facts += [f"behavior cloning {sum(clones) / len(clones):.5g}"] if clones else []
    facts += [f"seeds needed: {needed}", f"within reported std: {within}", f"vacuous: {vacuous}"]
    evaluated = duration(run.record["time"].get("evaluate_s"))
    facts += [f"commit <code>{escape(commit)}</code>"]
    facts += [f"{wall} on {escape(str(_machine(run.record)))}, of which evaluation {evaluated}"]
    crashed = [str(crash.get("seed")) for crash in run.record["crashed"]]
    facts += [f"crashed seeds: {escape(', '.join(crashed))}"] if crashed else []
    notes = [*v.reasons, *run.record["deviations"]]
    notes += [f"differs: {d.get('key')} = {d.get('used')} (row: {d.get('row')})" for d in run.record["differs"]]
    items = "".join(f"<li>{escape(str(note))}</li>" for note in notes)
    count = f"{len(v.reasons)} remarks, {len(run.record['deviations'])} deviations"
    details = f"<details><summary>{count}</summary><ul>{items}</ul></details>" if notes else "no remarks, no deviations"
    return (
        f'<tr class="main"><th scope="row">{escape(name)}</th>{main}<td>{_badge(LOOKS[v.state], state)}</td></tr>'
        f'<tr class="more"><td colspan="5">{" · ".join(facts)} {details}</td></tr>'
    )


def _machine(record: dict[str, Any]) -> str:
    machine = record["provenance"].get("machine", {})
    device = machine.get("device", "unknown")
    return f"{machine.get('cpu', 'unknown')}, {machine.get('threads', '?')} threads" if device == "cpu" else device


def _figure(run: Run) -> str:
    """Small plot of one run; nothing where the record holds no curve."""
    shape, bound, name = run.record["curve"], run.row.bound, short(run.row)
    reference, word = (bound.optimum, "optimum") if bound.mean is None else (bound.mean, "paper")
    ends = [run.row.references.get(f"normalization_{end}") for end in ("random", "expert")]
    if reference is not None and run.row.metric == "normalized_score":  # curves are raw returns
        low, high = ends
        reference = None if low is None or high is None else low + reference / 100 * (high - low)
    greedy, sampled = shape.get("greedy", []), shape.get("sampled", [])
    drawing = curve(shape.get("n_updates", []), greedy, sampled, reference, f"learning curves of {name}")
    if not drawing:
        return ""
    legend = [f"<strong>{escape(name)}</strong> ({escape(run.record['data'].get('kind', ''))} data), one line per seed"]
    legend += ["greedy: solid"] if greedy else []
    legend += ["sampled: dotted"] if sampled else []
    legend += [f"{word} {reference:.5g}: dashed"] if reference is not None else []
    return f"<figure>{drawing}<figcaption>{'; '.join(legend)}</figcaption></figure>"
