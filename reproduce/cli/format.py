"""How the command writes numbers: means with deviations, intervals, durations, sizes, and the line of a verdict."""

import math
from typing import Any

UNSTEADY = 0.1  # relative spread above which a time is printed with ±


def mean_std(mean: float, std: float | None, n: int, sign: str = "±") -> str:
    """`1.25 ± 0.3 (n=5)`; a deviation that is unknown counts as 0."""
    return f"{mean:.5g} {sign} {std or 0:.2g} (n={n})"


def interval(low: float, high: float) -> str:
    """`[-0.5, 0.25]`; rounding noise is not a difference."""
    low, high = (round(end, 9) + 0.0 for end in (low, high))
    return f"[{low:.4g}, {high:.4g}]"


def seconds(value: float) -> str:
    """Whole seconds, as runs print what they took."""
    return f"{value:.0f}"


def duration(value: float) -> str:
    """Seconds in two digits that matter: 0.12 s, 34 s, 5.6 min, 7.8 h, 12 days."""
    for unit, length, longest in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 72), ("days", 86400, math.inf)):
        if value < length * longest:
            scaled = value / length
            return f"{scaled:.2g} {unit}" if scaled < 10 else f"{scaled:.0f} {unit}"
    raise AssertionError(value)


def hours(value: float) -> str:
    """Seconds in hours, three digits."""
    return f"{value / 3600:.3g} h"


def spread(relative: float) -> str:
    """` ± 33 %` behind a time, NaN for unknown; empty where the times were steady."""
    if math.isnan(relative):
        return " ± unknown"
    return f" ± {100 * relative:.0f} %" if relative > UNSTEADY else ""


def size(n_bytes: int | None) -> str:
    """Bytes in MB or GB."""
    if n_bytes is None:
        return "unknown"
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def dataset_cell(statistics: dict[str, Any] | None) -> str:
    """Returns, sizes and cloning of a dataset in a cell of `data compare`; None where it is not built."""
    if statistics is None:
        return "not built"
    s = statistics
    extremes = f" [{s['min']:.0f}, {s['max']:.0f}]" if "min" in s else ""  # not published everywhere
    returns = f"{s['mean']:.0f} ± {s['std']:.0f}{extremes}"
    text = f"{returns}, {s['n_episodes']} episodes, {s['n_rows'] / 1e6:.2f}M rows"
    if clone := s["cloning"]:
        text += f"; cloning {clone['mean']:.0f} ± {clone['std'] or 0:.0f}"
        text += f" ({clone['n_updates']:,} updates)" if "n_updates" in clone else ""
    return text


def result_line(document: dict[str, Any]) -> str:
    """One console line for a row or claim, from the document that --json prints; reasons and notes follow below it."""
    if "error" in document:
        return f"{document['row']}  ERROR"
    took = f"{seconds(document['time']['wall_s'])} s"
    if "verdict" not in document:
        checks = "; ".join(f"{'holds' if c['passed'] else 'FAILS'}: {c['text']}" for c in document["checks"])
        return f"{document['row']}  {claim_word(document)}  {checks}  {took}"
    v = document["verdict"]
    parts = [document["row"], v["headline"]]
    if v["mean"] is not None:
        parts.append(f"ours {mean_std(v['mean'], v['std'], v['n'], '+-')}")
    if v["low"] is not None:
        margin = "unknown" if v["delta"] is None else f"{v['delta']:g}"
        parts.append(f"theirs {v['theirs']:.6g}, difference in {interval(v['low'], v['high'])}, margin {margin}")
    if v["state"] == "NOT COMPARABLE" or v["within_reported_std"] is not None:
        clones = document["behavior_cloning"]
        parts.append(f"data {document['scores'].get('data', document['data']['return']['mean']):.5g}")
        parts += [f"behavior cloning {sum(clones) / len(clones):.5g}"] if clones else []
    parts.append(took)
    more = [*v["reasons"], *(document.get("notes") or [])]
    return "  ".join(parts) + "".join(f"\n    {text}" for text in more)


def result_cells(document: dict[str, Any]) -> list[str]:
    """Cells of a result in the table of several: row, verdict, ours, theirs, difference in, margin, seconds."""
    if "error" in document:
        return [document["row"], "ERROR"]
    took = seconds(document["time"]["wall_s"])
    if "verdict" not in document:
        return [document["row"], claim_word(document), "", "", "", "", took]
    v = document["verdict"]
    ours = "" if v["mean"] is None else mean_std(v["mean"], v["std"], v["n"])
    theirs = "unknown" if v["theirs"] is None else f"{v['theirs']:.6g}"
    between = "" if v["low"] is None else interval(v["low"], v["high"])
    margin = "" if v["delta"] is None else f"{v['delta']:g}"
    return [document["row"], v["headline"], ours, theirs, between, margin, took]


def claim_word(document: dict[str, Any]) -> str:
    """HOLDS or FAILS."""
    return "HOLDS" if document["passed"] else "FAILS"
