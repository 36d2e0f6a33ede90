"""Generated pages of published tables, and the cells that pages of rows share with them. Markdown as text."""

from collections.abc import Iterable
from typing import Any

from gen import facts
from gen.tables import table

from data.common.paths import ROOT
from reproduce import published, standing
from reproduce.core import numbers
from reproduce.report import comparison_matrix, comparisons


def row_page(row_id: str) -> str:
    """Where a row's page lies, below docs/."""
    return f"rows/{row_id}.md"


def table_page(table_id: str) -> str:
    return f"results/{table_id.replace('/', '_')}.md"


def diary(paper: str, to_top: str) -> str:
    """A sentence that links the paper's diary, or nothing where it has none yet."""
    if not (ROOT / "docs" / "papers" / f"{paper}.md").is_file():
        return ""
    return f" The diary of the paper: [what was measured and tried]({to_top}papers/{paper}.md)."


def _short(row_id: str) -> str:
    return row_id.split("/", 2)[2]


def _link(row_id: str, to_top: str) -> str:
    """The row's name, linked to its page where it has one."""
    name = _short(row_id)
    return f"[{name}]({to_top}{row_page(row_id)})" if row_id in facts.can_run() else name


def ours(row: published.PaperRow, record: dict[str, Any] | None) -> str:
    """Our score with its n, with as many decimals as the margin needs."""
    if record is None:
        return ""
    delta = row.bound.delta
    digits = max(1, row.bound.decimals or 0) if delta is None or delta >= 0.1 else 4
    if not (scores := facts.scores(record)):
        return "diverged"
    text = facts.mean_std(scores, digits)
    return _unbroken(text if "n =" in text else f"{text} (n = {len(scores)})")


def _unbroken(text: str) -> str:
    """The text with spaces at which a narrow table does not break a number."""
    return text.replace(" ", "\u00a0")


def interval(record: dict[str, Any] | None) -> str:
    """The difference's interval and the margin, or nothing where no statistics were done."""
    if record is None or (found := facts.verdict(record)).low is None or found.high is None:
        return ""
    digits = 4 if found.delta is not None and found.delta < 0.1 else 1
    low, high = (numbers.number(value, digits) for value in (found.low, found.high))
    margin = "unknown" if found.delta is None else f"{found.delta:.4g}"
    return f"{_unbroken(f'[{low}, {high}]')}, {_unbroken(f'margin {margin}')}"


def result_lines(rows: Iterable[published.PaperRow]) -> list[list[str]]:
    """A line per row that can run: name, theirs, ours, difference, what was found, data."""
    lines = []
    for row in rows:
        if row.id not in facts.can_run():
            continue
        record = facts.own(row.id)
        kind = facts.category(row)
        if record is not None and facts.verdict(record).vacuous and kind == standing.OPTIMUM:
            kind += ", vacuous"
        data = "" if record is None else f"{record['data']['id']} ({record['data']['kind']})"
        lines.append([_link(row.id, "../"), facts.theirs(row), ours(row, record), interval(record), kind, data])
    return lines


RESULT_HEAD = ["row", "theirs", "ours", "ours - theirs, 90 % interval", "found", "data"]


def results(paper_table: published.PaperTable) -> str:
    """The page of one published table."""
    rows = list(paper_table.rows.values())
    counts = facts.counts(rows)
    bound = next((row.bound for row in rows), None)
    runnable = {row.id: row for row in rows if row.id in facts.can_run()}
    out = [
        f"# {paper_table.title}",
        "",
        f"{paper_table.venue}. Metric: {paper_table.printed_metric.replace('_', ' ').replace('(', ' (')}. "
        f"{counts.printed} published numbers, {counts.can_run} of them can run here. Theirs as printed; ours is the "
        "mean ± sample standard deviation over n seeds, from records.",
        "",
        f"Their numbers, each with its source: `paper_results/{paper_table.id}.yaml`. On how many "
        f"seeds they rest: {'unknown' if bound is None or bound.n is None else bound.n}."
        f"{diary(paper_table.id.split('/')[0], '../')}",
        "",
        "## The rows' own settings",
        "",
    ]
    out += [table(RESULT_HEAD, result_lines(rows)) if runnable else "No row of this table can run yet.", ""]
    out += _readings(runnable)
    found = [record for record in facts.all_records() if record["row"] in runnable]
    beside = comparison_matrix.matrix(found, dict(runnable), facts.verdicts(runnable))
    if beside:
        out += [
            "## On the same data",
            "",
            "A row's own settings beside its budgets, variants, ablations and baselines; five seeds unless said, and a "
            "verdict where one is given. Only the first column, on the dataset that the row's file names, is the row.",
            "",
            *(line for block in comparison_matrix.blocks(beside) for line in _block(block)),
        ]
    out += _compared(runnable)
    out += _all_numbers(rows)
    return "\n".join(out).rstrip() + "\n"


def _compared(rows: dict[str, published.PaperRow]) -> list[str]:
    """Recorded comparisons of rows, a section each."""
    found = comparisons.comparisons(facts.all_records("comparisons/*", "comparison"), rows)
    if not found:
        return []
    words = "`reproduce compare` holds algorithms against each other on one row's data and seeds."
    out = ["## Compared", "", words, ""]
    for one in found:
        tables = [table(cells[0], cells[1:]) for cells in (one.arms, one.differences)]
        out += [f"### {one.title}", "", one.caption, "", tables[0], "", tables[1], ""]
    return out


def _readings(rows: dict[str, published.PaperRow]) -> list[str]:
    lines = []
    for row in rows.values():
        for record in facts.readings(row.id):
            found = facts.verdict(record)
            state = found.found.lower()
            label = f"`{facts.label(record) or 'regenerated data'}`"
            lines.append([_link(row.id, "../"), label, facts.theirs(row), ours(row, record), interval(record), state])
    if not lines:
        return []
    words = (
        "Where a paper leaves something open, a row lists other settings that are as good as its own. Each is judged "
        "by itself and listed here. None is counted: several readings at the margin find one REPRODUCED far more often "
        "than one does."
    )
    head = ["row", "reading", "theirs", "ours", "ours - theirs, 90 % interval", "found"]
    return ["## Other readings", "", words, "", table(head, lines), ""]


def _block(block: list[list[str]]) -> list[str]:
    head, *lines = block
    return [table([*head[:3], *map(_head, head[3:])], lines), ""]


def _head(words: str) -> str:
    return words if words == comparison_matrix.OWN else f"`{words}`"


def _all_numbers(rows: list[published.PaperRow]) -> list[str]:
    names = list(dict.fromkeys(row.algorithm for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        cells.setdefault(_short(row.id).split("/")[0], {})[row.algorithm] = facts.theirs(row)
    lines = [[name, *(line.get(a, "") for a in names)] for name, line in cells.items()]
    return ["## All published numbers", "", "As printed.", "", table(["row", *names], lines), ""]


def index(tables: dict[str, published.PaperTable]) -> str:
    lines = []
    for each in tables.values():
        counts = facts.counts(each.rows.values())
        lines.append(
            [f"[{each.title}]({table_page(each.id).removeprefix('results/')})", counts.printed, counts.can_run]
        )
    head = ["published table", "published numbers", "can run"]
    return "\n".join(
        [
            "# Results",
            "",
            "{{ holds() }}",
            "",
            "{{ counted() }}",
            "",
            "{{ readings() }}",
            "",
            "## Claims",
            "",
            "Statements of the papers that need no published number. `reproduce 'claims/*'` runs them.",
            "",
            "{{ claims() }}",
            "",
            "## Tables",
            "",
            "Every published table has a page, written from `paper_results/` and `records/`.",
            "",
            table(head, lines, numbers_from=1),
            "",
        ]
    )
