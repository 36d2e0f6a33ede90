"""How the command writes numbers: means with deviations, intervals, durations, sizes, and the line of a verdict."""

import math
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

UNSTEADY = 0.1  # relative spread above which a time is printed with ±


def mean_std(mean: float, std: float | None, n: int, sign: str = "±") -> str:
    """`1.25 ± 0.3 (n=5)`; without the deviation where it is unknown."""
    return f"{mean:.5g}" + ("" if std is None else f" {sign} {deviation(std)}") + f" (n={n})"


def deviation(std: float, digits: int = 2) -> str:
    """Two digits that matter, all of them from 100 on."""
    return f"{std:.0f}" if 99.5 <= std < 1e6 else f"{std:.{digits}g}"


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
    """Returns, sizes and cloning of a dataset in a cell of `data compare`; None where nothing is known."""
    if statistics is None:
        return "not built"
    s = statistics
    extremes = f" [{s['min']:.0f}, {s['max']:.0f}]" if "min" in s else ""  # not published everywhere
    returns = f"{s['mean']:.0f} ± {s['std']:.0f}{extremes}"
    text = f"{returns}, {s['n_episodes']} episodes, {s['n_rows'] / 1e6:.2f}M rows"
    text += " (as recorded)" if s.get("from") == "record" else ""
    if clone := s["cloning"]:
        text += f"; cloning {clone['mean']:.0f}" + ("" if clone["std"] is None else f" ± {clone['std']:.0f}")
        text += f" ({clone['n_updates']:,} updates)" if "n_updates" in clone else ""
    return text


def result_line(document: dict[str, Any]) -> str:
    """A row or claim on the console, from the document of --json: name and verdict, then the facts, indented."""
    if "error" in document:
        return f"{document['row']}  ERROR"
    if "verdict" not in document:
        from reproduce.records import check_line

        facts = [*map(check_line, document["checks"]), f"{seconds(document['time']['wall_s'])} s"]
        if changed := document.get("changed"):
            facts.append(f"its {changed} changed since: run it again")
        return "\n".join([f"{document['row']}  {document['state']}", *map(fill_in, facts)])
    v = document["verdict"]
    parts = []
    if v["mean"] is not None:
        held = "" if v["state"] == "NOT COMPARABLE" else f", theirs {theirs(v)}"  # which may well be known
        parts.append(f"ours {mean_std(v['mean'], v['std'], v['n'], '+-')}{held}")
    if v["low"] is not None:
        margin = "unknown" if v["delta"] is None else f"{v['delta']:g}"
        parts.append(f"difference in {interval(v['low'], v['high'])}, margin {margin}")
    if v["mean"] is not None and (v["state"] == "NOT COMPARABLE" or v["within_reported_std"] is not None):
        parts += beside(document)
    if document.get("time"):
        parts.append(f"{seconds(document['time']['wall_s'])} s")
    facts = ["; ".join(parts)] if parts else []
    facts += [*v["reasons"], *([power(v)] if v.get("power") is not None else []), *(document.get("notes") or [])]
    return "\n".join([f"{document['row']}  {word(v)}", *map(fill_in, facts)])


def beside(document: dict[str, Any]) -> list[str]:
    """The scores of the data and of cloning, where they are known."""
    from reproduce.records import data_score

    clones, data = document["behavior_cloning"], data_score(document)
    facts = [] if data is None else [f"data {data:.5g}"]
    return [*facts, f"behavior cloning {sum(clones) / len(clones):.5g}"] if clones else facts


def reading_line(document: dict[str, Any], kind: str = "reading") -> str:
    """A run below its row: its settings, then score and verdict, indented; it is not counted. `kind`: "reading" where
    it is judged, else "other run"."""
    v = document["verdict"]
    facts = [] if v["mean"] is None else [f"ours {mean_std(v['mean'], v['std'], v['n'], '+-')}"]
    if v["low"] is not None:
        wide = f", one of {v['readings']} readings" if v.get("readings", 1) > 1 else ""
        facts.append(f"difference in {interval(v['low'], v['high'])}{wide}")
    facts += beside(document) if v["state"] == "NOT COMPARABLE" and facts else []
    found = [] if v["state"] == "NOT COMPARABLE" else [word(v)]
    own = "regenerated data" if kind == "reading" else "with the row's settings"
    why = v["reasons"][:1] if v["state"] == "NOT COMPARABLE" and not document["reading"] else []
    return "\n".join([f"  {kind} {document['reading'] or own}", fill_in("; ".join([*found, *facts, *why]))])


def theirs(verdict: dict[str, Any]) -> str:
    """The published mean; where it is unknown, the optimum that the score was compared with."""
    if verdict["theirs"] is not None:
        return f"{verdict['theirs']:.6g}"
    return "unknown" if verdict.get("optimum") is None else f"unknown (optimum {verdict['optimum']:.6g})"


def word(verdict: dict[str, Any]) -> str:
    """The verdict's headline, with `vacuous` where cloning does it too."""
    from reproduce.judge import Verdict

    return Verdict.from_json(verdict).word


def power(verdict: dict[str, Any]) -> str:
    """What the verdict could have shown."""
    return (
        f"power: truly equal means would be found so in {100 * verdict['power']:.0f} % of runs, and a true loss of "
        f"{deviation(verdict['told'], 3)} would be told in 80 %"
    )


def width() -> int:
    """Columns of the terminal, 80 off one."""
    return shutil.get_terminal_size((80, 24)).columns


def fill(text: str, indent: str = "") -> str:
    """The text in lines that fit."""
    return textwrap.fill(
        text, max(40, width()), initial_indent=indent, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def hanging(word: str, text: str, indent: int) -> str:
    """The word, and the text behind it in lines that fit, below one another."""
    return textwrap.fill(
        f"{word:{indent - 1}} {text}", max(40, width()), subsequent_indent=" " * indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def fill_in(text: str) -> str:
    return fill(text, "    ")


def columns(head: Sequence[str], lines: Sequence[Sequence[str]], drop: Sequence[str] = ()) -> str:
    """A table in plain text. Columns of `drop` go, the first named first, until it fits the terminal's width."""
    shown = [k for k, name in enumerate(head) if any(line[k] for line in lines) or name not in drop]
    sizes = [max(len(line[k]) for line in [head, *lines]) for k in range(len(head))]
    for name in drop:
        if sum(sizes[k] + 2 for k in shown) - 2 > width():
            shown = [k for k in shown if head[k] != name]
    rows = ["  ".join(f"{line[k]:{sizes[k]}}" for k in shown).rstrip() for line in [head, *lines]]
    return "\n".join(rows)


LIST_HEAD = ["row", "theirs", "ours", "verdict", "time"]


def listed(prefix: str, title: str, lines: Sequence[list[str]]) -> str:
    """A table of `list` under its title, which names the rows' common prefix where whole names leave no room. Where
    that is not enough, a column of the table stands below its row as `  ../name`."""
    drop = ["time"] if any(ours for _, _, ours, *_ in lines) else ["time", "ours"]
    text = columns(LIST_HEAD, lines, drop)
    if max(map(len, text.splitlines())) > width():
        cut = [[name.removeprefix(prefix), *rest] for name, *rest in lines]
        title, text = f"{title}: {prefix}..", columns(LIST_HEAD, cut, drop)
        if max(map(len, text.splitlines())) > width():
            text = columns(LIST_HEAD, _below_their_rows(cut), drop)
    return f"{title}\n{text}"


def _below_their_rows(lines: Sequence[list[str]]) -> list[list[str]]:
    """Columns as `  ../name` below their row, which has a line of its own also where its result is not listed."""
    below, above = [], ""
    for name, *rest in lines:
        row, _, column = ("", "", "") if name.startswith(" ") else name.partition("/")  # a reading is part of its row
        if column and row != above:
            below.append([row, *("" for _ in rest)])
        above = row or above
        below.append([f"  ../{column}" if column else name, *rest])
    return below


def listed_lines(each: Any) -> list[list[str]]:
    """Lines of `list` for a row (a Standing): its own result, then its readings, indented."""
    from reproduce import standing

    row, own = each.row, each.own
    printed = "unknown" if row.bound.mean is None else row.printed.removesuffix(" ± unknown")
    if own is None:
        state = "not run" if each.can_run else "cannot run yet"
        state += f" ({len(each.others)} others)" if each.others else ""
        lines = [[row.id, printed, "", state, ""]]
    else:
        v = own.verdict
        found = "no published number" if standing.category(each) == standing.UNMATCHED else v.found
        lines = [[row.id, printed, short_mean(v.mean, v.std, v.n), found, duration(own.record["time"]["wall_s"])]]
    for one in each.readings:
        v = one.verdict
        lines.append([f"  {one.name or 'regenerated data'}", "", short_mean(v.mean, v.std, v.n), f"({v.found})", ""])
    return lines


def short_mean(mean: float | None, std: float | None, n: int) -> str:
    """`18.8 ± 3.1`, with n where it is not five."""
    if mean is None:
        return ""
    text = f"{mean:.4g}" + ("" if std is None else f" ± {deviation(std)}")
    return text if n == 5 else f"{text} (n={n})"


RESULT_HEAD = ["row", "verdict", "ours", "theirs", "difference in", "margin", "data", "seconds"]
RESULT_DROP = ["seconds", "data", "margin", "difference in", "theirs", "ours"]


def result_cells(document: dict[str, Any]) -> list[str]:
    """Cells of a result in the table of several, in the order of RESULT_HEAD."""
    if "error" in document:
        return [document["row"], "ERROR", "", "", "", "", "", ""]
    took = seconds(document["time"]["wall_s"])
    if "verdict" not in document:
        return [document["row"], document["state"], "", "", "", "", "", took]
    v = document["verdict"]
    between = "" if v["low"] is None else interval(v["low"], v["high"])
    margin = "" if v["delta"] is None else f"{v['delta']:g}"
    state = word(v).replace(f" ({v['data_kind']} data)", "")
    ours = short_mean(v["mean"], v["std"], v["n"])
    return [document["row"], state, ours, theirs(v), between, margin, v["data_kind"], took]
