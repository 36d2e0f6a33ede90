"""Small generated tables and sentences: what holds today, claims, exit codes, speed. Markdown as text."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gen import facts

from reproduce import judge, published, records, standing
from reproduce.core import numbers

if TYPE_CHECKING:
    import numpy as np

# Category -> its line in the table of what holds.
LINES = {
    standing.REPRODUCED: "**published number reproduced**, which cloning does not",
    standing.VACUOUS: "published number reproduced, vacuous: cloning does it too",
    standing.UNCHECKED: "published number reproduced, no cloning run beside it",
    standing.OPTIMUM: "known optimum met, published number unknown",
    standing.MISSED: "known optimum missed, published number unknown",
    standing.BELOW: "below the published number",
    standing.ABOVE: "above the published number",
    standing.OPEN: "inconclusive",
    standing.UNMATCHED: "run, no published number to compare with",
    standing.UNTRIED: "not yet run with the row's own settings",
}
NAMES = {
    "inspo": "InSPO",
    "omiga": "OMIGA",
    "omsd": "OMSD",
    "omar": "OMAR",
    "cfcql": "CFCQL",
    "comadice": "ComaDICE",
}
MEANING = {
    "REPRODUCED": "the whole interval of the difference lies within the margin",
    "OPTIMUM MET": "the published number is unknown; the score is within the margin of the task's known optimum",
    "BELOW": "the whole interval lies below the margin",
    "ABOVE": "the whole interval lies above it: look for a leak, another environment or another metric",
    "INCONCLUSIVE": "neither; the message says how many seeds would decide, or why none would",
    "NOT COMPARABLE": "another dataset, environment or setting than the row's: no statistics are done",
}
ENDINGS = {  # by exit code, beside the verdicts
    4: ("error", "the message says what is wrong and the cure"),
    5: ("fault", "a fault in the program; the trace is in a file under `outputs/faults`, which the message names"),
    "130, 143, 129": (
        "stopped",
        "by Ctrl-C, SIGTERM, a closed terminal; the same command continues and ends with the same bits",
    ),
}
STACKED = "S=5"


def table(head: Sequence[str], lines: Iterable[Sequence[object]], numbers_from: int | None = None) -> str:
    """A markdown table; columns from `numbers_from` on are aligned to the right."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    right = len(head) if numbers_from is None else numbers_from
    rule = ["---" if k < right else "---:" for k in range(len(head))]
    return "\n".join([line(head), line(rule), *map(line, lines)])


def holds() -> str:
    """A column per paper: how many numbers it prints, how many rows can run, and what was found of those."""
    rows = list(published.rows().values())
    papers = list(dict.fromkeys(row.paper for row in rows))
    groups = [*([row for row in rows if row.paper == paper] for paper in papers), rows]
    columns = [facts.counts(group) for group in groups]
    full = [sum(facts.standings()[row.id].at_full_budget for row in group) for group in groups]
    lines = [
        ["published numbers entered", *(c.printed for c in columns)],
        ["of those, precise enough that runs could show them reproduced", *map(_provable, groups)],
        ["rows that run", *(c.runs for c in columns)],
        ["of those, run at the row's full budget", *full],
    ]
    rare = (standing.UNCHECKED, standing.MISSED)
    for kind in (kind for kind in LINES if kind not in rare or columns[-1].by[kind]):
        lines.append([LINES[kind], *(c.by[kind] for c in columns)])
        if kind == standing.OPEN:
            beyond = "of those, beyond any number of our seeds: the paper's spread or rounding is too wide"
            lines.append([beyond, *(c.undecidable for c in columns)])
            near = "of those, our mean within the published mean ± as printed, which is no test"
            lines.append([near, *map(_near, groups)])
    return table(["", *(NAMES.get(paper, paper) for paper in papers), "all"], lines, numbers_from=1)


def _provable(rows: Iterable[published.PaperRow]) -> int:
    """How many published numbers enough seeds of ours could show reproduced, if they are true."""
    bounds = [row.bound for row in rows if row.bound.mean is not None and row.bound.delta is not None]
    return sum(not judge.why_never(bound) for bound in bounds)


def _near(rows: Iterable[published.PaperRow]) -> int:
    """How many rows are inconclusive and have their mean within the published mean ± deviation."""
    own = [facts.own(row.id) for row in rows if facts.category(row) == standing.OPEN]
    return sum(facts.verdict(record).within_reported_std is True for record in own if record)


def precise_enough() -> str:
    """How many published numbers could be shown reproduced, of how many."""
    rows = list(published.rows().values())
    return f"{_provable(rows)} of {facts.counts(rows).printed}"


def worth_running(table_id: str) -> str:
    """Per row of the table: could runs show the number reproduced, and would cloning of the official data do it too?"""
    lines = []
    for row in published.rows().values():
        if row.id.rsplit("/", 1)[0] != table_id or row.bound.mean is None or row.bound.delta is None:
            continue
        cloning = _published_cloning(row)
        shown = f"{numbers.number(cloning['mean'])} ± {numbers.number(cloning['std'])}" if cloning else "unknown"
        where = {True: "outside", False: "within", None: "unknown"}[_beyond_cloning(row)]
        precise = "yes" if _provable([row]) else "no"
        lines.append([row.id.rsplit("/", 1)[1], row.printed, numbers.number(row.bound.delta), precise, shown, where])
    return table(("row", "published", "margin", "precise enough", "published cloning", "of the margin"), lines)


def telling() -> str:
    """Rows of all tables that run, are precise enough, and lie beyond the margin from cloning of the official data."""
    rows = [r for r in published.rows().values() if r.id in facts.can_run() and _provable([r]) and _beyond_cloning(r)]
    return table(
        ("row", "published", "margin", "published cloning", "updates"),
        [
            [
                f"`{row.id}`",
                row.printed,
                numbers.number(row.bound.delta),
                numbers.number(_published_cloning(row)["mean"]),
                f"{_updates(row.id):,}",
            ]
            for row in rows
        ],
        numbers_from=1,
    )


def _updates(row_id: str) -> int:
    """Of all phases."""
    return sum(n for key, n in facts.values(row_id).items() if re.fullmatch(r"algo\.n_(\w+_)?updates", key))


def _published_cloning(row: published.PaperRow) -> dict[str, float]:
    """What cloning of the row's official data earns, by a published table; empty where none says so."""
    if row.id not in facts.can_run():
        return {}
    return facts.datasets().get(facts.values(row.id)["data.id"], {}).get("published_cloning", {})


def _beyond_cloning(row: published.PaperRow) -> bool | None:
    """Whether the row's number is further from that of cloning than the margin; None where that is unknown."""
    cloning, bound = _published_cloning(row), row.bound
    if not cloning or bound.mean is None or bound.delta is None:
        return None
    return abs(cloning["mean"] - bound.mean) > bound.delta


def counted() -> str:
    """The honest counts as a list."""
    counts = facts.counts(published.rows().values())
    by = counts.by
    optimum = f" ({counts.vacuous_optimum} of them vacuous)" if counts.vacuous_optimum else ""
    return "\n".join(
        [
            f"- **{by[standing.REPRODUCED]}** published numbers reproduced, in a way that behavior cloning is not;",
            f"- **{by[standing.VACUOUS]}** published numbers reproduced, but vacuous: cloning alone does it too;",
            *([f"- **{by[standing.UNCHECKED]}** more with no cloning beside them;"] if by[standing.UNCHECKED] else []),
            f"- **{by[standing.OPTIMUM]}** rows meet the known optimum of their task, while the published number is "
            f"unknown{optimum};",
            *([f"- **{by[standing.MISSED]}** rows miss it;"] if by[standing.MISSED] else []),
            f"- **{by[standing.BELOW] + by[standing.ABOVE]}** published numbers missed: {by[standing.BELOW]} below, "
            f"{by[standing.ABOVE]} above; {by[standing.OPEN]} more undecided.",
            "",
            f"{counts.printed} published numbers are entered ({counts.reprinted} of them reprints of another "
            f"table's), {counts.can_run} of them can run here, and {counts.untried} of those have not yet run with "
            "their own settings. "
            "A row's own settings alone count.",
        ]
    )


def readings() -> str:
    """What other readings of rows gave, in a sentence: they are listed and never counted."""
    found = [(row, r) for row in published.rows().values() if row.id in facts.can_run() for r in facts.readings(row.id)]
    found = [(row, r) for row, r in found if row.bound.mean is not None]
    met = [(row, r) for row, r in found if facts.verdict(r).state == "REPRODUCED"]
    names = "; ".join(
        f"`{row.id}` with `{facts.label(r)}`" + (", vacuous" if facts.verdict(r).vacuous else "") for row, r in met
    )
    return f"Of {len(found)} further readings of rows, {len(met)} reproduced the number{f' ({names})' if met else ''}."


def claims() -> str:
    """Each claim's sentence and whether its newest record says that it holds."""

    def found(record: dict[str, Any]) -> str:
        changed = standing.changed_since(record)
        return records.claim_state(record) + (f"; its {changed} changed since" if changed else "")

    lines = [[f"`{r['row']}`", r["claim"]["text"], found(r), r["created"][:10]] for r in facts.claims()]
    return table(["claim", "what is claimed", "found", "recorded"], lines)


def arms(name: str, digits: int | None = None) -> str:
    """The arms of the newest record of a claim: what ran, in which judged mode of acting, and its scores over seeds."""
    record = facts.claim(name)
    judged = {check.get("mode") for check in record["checks"]}
    lines = [
        [arm, f"`{' '.join([ran['row'], *ran['overrides']])}`", mode, facts.mean_std(scores, digits)]
        for arm, ran in record["arms"].items()
        for mode, scores in ran["scores"].items()
        if mode in judged
    ]
    return table(["arm", "what ran", "acting", "score"], lines, 3)


def exit_codes() -> str:
    """States of a verdict with the command's exit codes."""
    lines = [[state, MEANING[state], code] for state, code in judge.EXIT_CODES.items()]
    lines += [[how, meaning, code] for code, (how, meaning) in ENDINGS.items()]
    return table(["verdict", "meaning", "exit code"], lines)


def installed() -> str:
    """What the first command installs, from the newest record of benchmarks/install.py."""
    record = facts.all_records("bench/install", "bench")[-1]
    found = {(line["case"], line["what"]): line["value"] for line in record["lines"]}
    size, seconds = (found["what rows need", what] for what in ("on disk", "wall time"))
    cores = record["provenance"]["machine"]["cores"]
    return f"The installation takes {size / 1e9:.1f} GB and took {seconds / 60:.0f} minutes on {cores} CPU cores."


def headline() -> str:
    """The four counts, in a sentence."""
    return f"**{facts.counts(published.rows().values()).sentence}**"


def gate_seconds() -> str:
    """Minutes that each reference took, with its machine."""
    lines = []
    references = {(r["row"], r["config"]["algo"]["name"]): r for r in facts.all_records("*", "reference")}
    for record in references.values():
        machine = record["provenance"]["machine"]
        used = [o for o in record["overrides"] if not o.startswith(("protocol.first_seed=", "protocol.n_seeds="))]
        took = f"{record['time']['wall_s'] / 60:.1f} min"
        where = f"{machine.get('threads', 'unknown')} threads of {machine.get('cpu', 'unknown')}"
        lines.append([f"`{' '.join([record['row'], *used])}`", len(record["seeds"]), took, where])
    head = ["reference", "seeds", "wall time", "machine"]
    return table(head, lines, numbers_from=1)


def seeds_cost() -> str:
    """Cost of one update per seed beside a plainly written one-seed version, from the newest benchmark record."""
    lines: dict[str, dict[str, str]] = {}
    for line in facts.all_records("bench/all", "bench")[-1]["lines"]:
        if line["section"] == "update" and "ratio" in line:
            lines.setdefault(line["case"], {})[line["what"]] = f"{line['ratio']:.2f}"
    heads = {"S=1": "alone", STACKED: "of five seeds", f"{STACKED} compiled": "of five, compiled"}
    cells = [[case, *(found.get(what, "") for what in heads)] for case, found in lines.items()]
    return table(["update", *heads.values()], cells, numbers_from=1)


def speed() -> str:
    """Where and when the newest benchmark was recorded."""
    record = facts.all_records("bench/all", "bench")[-1]
    machine = record["provenance"]["machine"]
    return (
        f"Recorded {record['created'][:10]} at commit `{record['provenance']['commit'][:10]}` on {machine['cores']} "
        f"cores ({machine['cpu']}); medians of {record['repeats']} rounds taken in turn."
    )


def on_gpu() -> str:
    """A GPU's updates: per row and mode the time, launches and memory, and what differs from the CPU."""
    newest = {record["lines"][0]["case"]: record for record in facts.all_records("bench/cuda", "bench")}
    lines, machines = [], set()
    for case, record in newest.items():
        machine = record["provenance"]["machine"]
        machines.add(f"{machine['gpu']}, commit `{record['provenance']['commit'][:10]}`, {record['created'][:10]}")
        found: dict[str, dict[str, str]] = {}
        for each in record["lines"]:
            what = each["what"].split(", ")[0]
            found.setdefault(what, {}).setdefault(each["unit"], f"{each['value']:.3g}")
        for what, values in found.items():
            if any(other.startswith(f"{what} FELL BACK") and "to the CPU" in found[other] for other in found):
                values.setdefault("to the CPU", "not compared: it fell back there")
            if "ms" in values:
                units = ("ms", "launches per update", "MiB at most", "to the CPU")
                lines.append([f"`{case}`", what, *(values.get(unit, "") for unit in units)])
    head = ["row", "seeds and mode", "ms an update", "launches", "MiB", "difference to the CPU"]
    return f"{table(head, lines, numbers_from=2)}\n\nRecorded on {'; '.join(sorted(machines))}."


def older() -> str:
    """Records with a row's own settings that were made under other settings than the row has today, and records of
    another world than the row's."""
    lines = []
    for record in facts.all_records():
        if record["row"] not in facts.can_run():
            continue
        own = not facts.label(record) and record["config_fingerprint"] != facts.settings(record["row"]).fingerprint
        chosen = any(override.startswith("task") for override in record["overrides"])  # another world than the row's
        world = not chosen and record["environment"]["expected"] != facts.values(record["row"])["task.fingerprint"]
        if own or world:
            why = "; ".join(word for word, true in (("settings", own), ("world", world)) if true)
            lines.append([f"`{record['row']}`", record["created"][:16].replace("T", " "), why])
    return table(["row", "recorded", "has changed since"], lines) if lines else "None."


# ---- simulations of the rule


def naive(n: int = 5, draws: int = 20_000) -> str:
    """How often correct code falls outside a paper's mean ± std, in percent: `n` of our seeds against their five."""
    import numpy as np

    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(draws, n)), rng.normal(size=(draws, 5))
    outside = np.abs(ours.mean(1) - theirs.mean(1)) > theirs.std(1, ddof=1)
    return f"{100 * outside.mean():.0f} %"


def states(ours: "np.ndarray", theirs: "np.ndarray", delta: float) -> "np.ndarray":
    """Rule R4 on many pairs of samples, [draws, n] and [draws, n_p], without rounding; a test holds it to the judge.

    1 REPRODUCED, -1 BELOW or ABOVE, 0 INCONCLUSIVE.
    """
    import numpy as np
    from scipy.special import stdtrit

    n, n_p = ours.shape[1], theirs.shape[1]
    d = ours.mean(1) - theirs.mean(1)
    s2, s2_p = ours.var(1, ddof=1), theirs.var(1, ddof=1)
    if n > max(n_p, 5):
        a, b = s2 / n, s2_p / n_p
        half = stdtrit((a + b) ** 2 / (a**2 / (n - 1) + b**2 / (n_p - 1)), 0.95) * np.sqrt(a + b)
    else:
        pooled = ((n - 1) * s2 + (n_p - 1) * s2_p) / (n + n_p - 2)
        half = stdtrit(n + n_p - 2, 0.95) * np.sqrt(pooled * (1 / n + 1 / n_p))
    within = (d - half >= -delta) & (d + half <= delta)
    return np.where(within, 1, np.where((d + half < -delta) | (d - half > delta), -1, 0))


def unequal(n: int, n_p: int, spread: float, draws: int = 100_000) -> str:
    """How often `n` seeds of code that is worse by a margin of twice their spread end BELOW, in percent, against `n_p`
    of the paper's whose spread is `spread` times as wide."""
    import numpy as np

    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(draws, n)) - 2.0, spread * rng.normal(size=(draws, n_p))
    below = (states(ours, theirs, 2.0) == -1) & (ours.mean(1) < theirs.mean(1))
    return f"{100 * below.mean():.0f} %"


def power(margins: Sequence[float] = (0.5, 1.0, 1.5, 2.0, 3.0), draws: int = 100_000) -> str:
    """Simulated verdicts of five seeds against five, by the margin in standard deviations over seeds."""
    import numpy as np

    rng, lines = np.random.default_rng(0), []
    ours, theirs = rng.normal(size=(draws, 5)), rng.normal(size=(draws, 5))
    for margin in margins:
        equal, worse = states(ours, theirs, margin), states(ours - margin, theirs, margin)
        shares = ((equal == 1).mean(), (equal == -1).mean(), (worse == 1).mean())
        lines.append([f"{margin:g} standard deviations", *(f"{100 * share:.1f} %" for share in shares)])
    head = ["margin", "truly equal: REPRODUCED", "truly equal: BELOW or ABOVE", "worse by the margin: REPRODUCED"]
    return table(head, lines, numbers_from=1)


def gate_power(loss: float = 1.5, draws: int = 100_000) -> str:
    """Simulated: how often the regression gate fails where nothing changed, and after a loss of `loss` deviations."""
    import numpy as np
    from scipy.special import stdtr

    rng, shares = np.random.default_rng(0), []
    for lost in (0.0, loss):
        reference = rng.normal(size=(draws, 32))
        fails = np.ones(draws, dtype=bool)
        for _ in range(2):  # a second batch of fresh seeds must fail too
            fresh = rng.normal(size=(draws, 16)) - lost
            pooled = (31 * reference.var(1, ddof=1) + 15 * fresh.var(1, ddof=1)) / 46
            t = (fresh.mean(1) - reference.mean(1)) / np.sqrt(pooled * (1 / 32 + 1 / 16))
            fails &= stdtr(46, t) < 0.005
        shares.append(fails.mean())
    return (
        f"{100 * shares[0]:.2f} % false alarms, {100 * shares[1]:.0f} % of losses of {loss:g} standard deviations found"
    )
