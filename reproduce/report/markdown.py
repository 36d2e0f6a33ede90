"""The report as one markdown file: tables alone, fit for a diff."""

from collections.abc import Sequence

from reproduce.report import speed
from reproduce.report.content import HEADER, STATUSES, Content, Table, short, theirs


def document(content: Content) -> str:
    out = ["# Reproduction report", "", f"Written {content.written:%Y-%m-%d %H:%M} UTC.", ""]
    if content.claims:
        out += ["## Claims", ""]
    for claim in content.claims:
        out.append(f"- **{claim['row']}**: {'HOLDS' if claim['passed'] else 'DOES NOT HOLD'}")
        out += [f"  - {'passed' if check['passed'] else 'FAILED'}: {check['text']}" for check in claim["checks"]]
    for table in content.tables:
        out += _table(table)
    if content.speed is not None:
        lines = [speed.cells(line) for line in content.speed["lines"]]
        out += ["", "## Speed", "", speed.origin(content.speed), "", *grid([speed.HEAD, *lines])]
    return "\n".join(out).rstrip() + "\n"


def _table(table: Table) -> list[str]:
    out = ["", f"## {table.paper.title} (`{table.paper.id}`)", "", table.caption, ""]
    if table.runs:
        out += grid([HEADER, *(run.cells() for run in table.runs)])
    for sentence in table.aggregates:
        out += [sentence, ""]
    if table.matrix:
        out += ["### On the same data", "", *grid(table.matrix)]
    for plot in table.sensitivity:
        out += [f"### {plot.title}", "", *grid(plot.table())]
    for status in STATUSES[1:]:
        names = [f"{short(row)} ({theirs(row)})" for i, row in table.rows.items() if table.status(i) == status]
        if names:
            out += [f"{status.capitalize()}: {'; '.join(names)}.", ""]
    return out


def grid(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a markdown table, its head first, and an empty line."""
    lines = ["| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in line) + " |" for line in cells]
    return [lines[0], "| " + " | ".join(["---"] * len(cells[0])) + " |", *lines[1:], ""]
