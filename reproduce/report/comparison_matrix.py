"""Scores on the same data: a row's own settings beside its budgets, variants, ablations and baselines."""

from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

from reproduce import published
from reproduce.config import NOT_PART_OF_FINGERPRINT
from reproduce.core.numbers import mean_std
from reproduce.judge import Verdict
from reproduce.records import healthy

OWN = "the row's settings"
NO_VERDICTS: Mapping[int, Verdict] = {}


def settings_of(record: dict[str, Any]) -> str | None:
    """The overrides that say what ran, e.g. `algo.method=ctde`, without free settings and the dataset's id.

    None for a point of a sweep over numbers of the row's own algorithm: a sensitivity plot shows it.
    """
    kept = [
        o for o in record["overrides"] if not o.startswith(NOT_PART_OF_FINGERPRINT) and not o.startswith("data.id=")
    ]
    if not any(o.startswith("algo=") for o in kept) and any(_is_number(o.partition("=")[2]) for o in kept):
        return None
    return ", ".join(sorted(kept)) or OWN


def matrix(
    found: Iterable[dict[str, Any]], rows: dict[str, published.PaperRow], verdicts: Mapping[int, Verdict] = NO_VERDICTS
) -> list[list[str]]:
    """Cells: the head, then a line per row of the table and dataset; `verdicts` by id() of the records that have one.

    Of the records with these settings the one with the most seeds counts, the newest of several, as for verdicts;
    `found` are records, oldest first. The result is empty where no row has two scores to compare.
    """
    chosen: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for record in found:
        if record["kind"] != "row" or record["row"] not in rows:
            continue
        label = settings_of(record)
        if label is None or record["scores"]["metric"] != rows[record["row"]].metric:
            continue
        data = record["data"]
        shown = data["id"] if data["kind"] == "regenerated" else f"{data['id']} ({data['kind']})"
        known = chosen.setdefault((record["row"], shown), {})
        if label not in known or len(record["seeds"]) >= len(known[label]["seeds"]):
            known[label] = record
    scores = {
        key: {label: cell(record, verdicts.get(id(record))) for label, record in line.items()}
        for key, line in chosen.items()
    }
    labels = {label: None for line in scores.values() for label in line}
    if all(len(line) < 2 for line in scores.values()):
        return []
    columns = sorted(labels, key=lambda label: (label != OWN, not label.startswith("budget="), label))
    order = list(rows)
    cells = [["Row", "Data", "Theirs", *columns]]
    for row, data in sorted(scores, key=lambda key: (order.index(key[0]), len(key[1]), key[1])):
        theirs = "unknown" if rows[row].bound.mean is None else rows[row].printed.removesuffix(" ± unknown")
        cells.append([row.split("/", 2)[2], data, theirs, *(scores[row, data].get(c, "") for c in columns)])
    return cells


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def cell(record: dict[str, Any], verdict: Verdict | None = None) -> str:
    """Mean ± standard deviation over seeds, their number where it is not five, and the verdict of a judged run."""
    values = healthy(record["scores"]["per_seed"])
    mean, std, n = fmean(values) if values else None, stdev(values) if len(values) > 1 else None, len(values)
    if verdict is not None:
        mean, std, n = verdict.mean, verdict.std, verdict.n
    if mean is None:
        return "diverged"
    text = mean_std(mean, std, n)
    return text if verdict is None else f"{text} {verdict.found}"


def blocks(cells: list[list[str]], width: int = 4) -> list[list[list[str]]]:
    """The matrix cut into tables of few columns, fit for a page; each holds the lines that have a score in it."""
    first, found = 3, []
    for start in range(first, len(cells[0]) if cells else 0, width):
        columns = [*range(first), *range(start, min(start + width, len(cells[0])))]
        kept = [line for line in cells[1:] if any(line[c] for c in columns[first:])]
        found.append([[line[c] for c in columns] for line in [cells[0], *kept]])
    return found
