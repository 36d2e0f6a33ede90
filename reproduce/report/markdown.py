"""The report in a few lines of markdown, fit for a comment on a pull request: the page holds the rest."""

from collections.abc import Sequence
from typing import Any

from reproduce.report.content import Content, holds, theirs

HEAD = ("row", "theirs", "ours", "ours - theirs, 90 % interval", "verdict")
LONGEST = 40  # rows, of which a summary has at most 60 lines
MOST = 8  # comparisons


def document(content: Content) -> str:
    """Counts, a line for each row that ran with its own settings, a line for each claim."""
    out = ["# Reproduction report", "", content.counts.sentence, ""]
    compared = _compared(content)
    if runs := content.runs:
        longest = LONGEST - len(compared)
        lines = [[run.row.id, theirs(run.row), *run.cells()[2:5]] for run in runs[:longest]]
        out += grid([HEAD, *lines])
        if more := len(runs) - longest:
            out += [f"{more} more rows ran: see the page.", ""] if more > 0 else []
    out += compared
    if content.claims:
        others = [f"{claim['row']} ({_why_not(claim)})" for claim in content.claims if not holds(claim)]
        told = f"{len(content.claims) - len(others)} of {len(content.claims)} claims hold"
        out.append(told + (f"; not: {', '.join(others)}." if others else "."))
    for table in content.tables:
        out += table.aggregates
    shown = [f"{one.title} ({one.filled} of {one.wanted} runs)" for one in content.matrices if one.filled]
    matrices = f" On the page, on the same data: {'; '.join(shown)}." if shown else ""
    n_readings = sum(len(run.readings) for run in content.runs)
    tables = ", ".join(f"{table.paper.title} ({table.counts})" for table in content.tables)
    out += ["", f"{n_readings} other readings are not counted. Published numbers: {tables}.{matrices}", ""]
    out.append(f"Written {content.written:%Y-%m-%d %H:%M} UTC; report.html holds the rest.")
    return "\n".join(out).rstrip() + "\n"


def _why_not(claim: dict[str, Any]) -> str:
    return f"its {claim['changed']} changed since" if claim["changed"] else claim["state"]


def _compared(content: Content) -> list[str]:
    """A section of recorded comparisons, a line each, the newest first; empty where there are none."""
    found = sorted((one for table in content.tables for one in table.comparisons), key=lambda one: one.created)[::-1]
    if not found:
        return []
    more = [f"- {len(found) - MOST} more: see the page"] if len(found) > MOST else []
    return ["## Compared on the same data", "", *(f"- {one.sentence}" for one in found[:MOST]), *more, ""]


def grid(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a markdown table, its head first, and an empty line."""
    lines = ["| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in line) + " |" for line in cells]
    return [lines[0], "| " + " | ".join(["---"] * len(cells[0])) + " |", *lines[1:], ""]
