"""Generated pages: one per published table, one per row with a config, one of datasets. Markdown as text."""

from collections.abc import Iterable
from typing import Any

from gen import facts
from gen.tables import table

from reproduce import published
from reproduce.report import comparison_matrix

REPOSITORY_FILES = {"row": "configs/rows/{}.yaml", "numbers": "paper_results/{}.yaml"}
GROUPS = ("data", "task", "protocol", "algo", "run")


def row_page(row_id: str) -> str:
    """Where a row's page lies, below docs/."""
    return f"rows/{row_id}.md"


def table_page(table_id: str) -> str:
    return f"results/{table_id.replace('/', '_')}.md"


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
    scores = record["scores"]["per_seed"]
    text = facts.mean_std(scores, digits)
    return text if "n =" in text else f"{text} (n = {len(scores)})"


def interval(record: dict[str, Any] | None) -> str:
    """The difference's interval and the margin, or nothing where no statistics were done."""
    if record is None or (found := facts.verdict(record)).low is None or found.high is None:
        return ""
    digits = 4 if found.delta is not None and found.delta < 0.1 else 1
    low, high = (facts.number(value, digits) for value in (found.low, found.high))
    return f"[{low}, {high}], margin {'unknown' if found.delta is None else f'{found.delta:.4g}'}"


def result_lines(rows: Iterable[published.PaperRow]) -> list[list[str]]:
    """A line per row that can run: name, theirs, ours, difference, what was found, data."""
    lines = []
    for row in rows:
        if row.id not in facts.can_run():
            continue
        record = facts.own(row.id)
        kind = facts.category(row)
        if record is not None and facts.verdict(record).vacuous and kind == facts.OPTIMUM:
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
        f"{paper_table.venue}. Metric: {paper_table.printed_metric.replace('_', ' ')}. "
        f"{counts.printed} published numbers, {counts.can_run} of them can run here. Theirs as printed; ours is the mean "
        "± sample standard deviation over n seeds, from records.",
        "",
        f"Their numbers, each with its source: `{REPOSITORY_FILES['numbers'].format(paper_table.id)}`. On how many seeds "
        f"they rest: {'unknown' if bound is None or bound.n is None else bound.n}.",
        "",
        "## The rows' own settings",
        "",
    ]
    out += [table(RESULT_HEAD, result_lines(rows)) if runnable else "No row of this table can run yet.", ""]
    out += _readings(runnable)
    found = [record for record in facts.all_records() if record["row"] in runnable]
    beside = comparison_matrix.matrix(found, dict(runnable))
    if beside:
        out += [
            "## On the same data",
            "",
            "A row's own settings beside its budgets, variants, ablations and baselines; five seeds unless said, and a "
            "verdict where one is given. Only the first column, on the dataset that the row's file names, is the row.",
            "",
            *_blocks(beside),
        ]
    out += _all_numbers(rows)
    return "\n".join(out).rstrip() + "\n"


def _readings(rows: dict[str, published.PaperRow]) -> list[str]:
    lines = []
    for row in rows.values():
        for record in facts.readings(row.id):
            found = facts.verdict(record)
            state = found.state.lower() + (", vacuous" if found.vacuous else "")
            label = f"`{facts.label(record) or 'regenerated data'}`"
            lines.append([_link(row.id, "../"), label, facts.theirs(row), ours(row, record), interval(record), state])
    if not lines:
        return []
    words = (
        "Where a paper leaves something open, a row lists other settings that are as good as its own. Each is judged by "
        "itself and listed here. None is counted: several readings at the margin find one REPRODUCED far more often "
        "than one does."
    )
    head = ["row", "reading", "theirs", "ours", "ours - theirs, 90 % interval", "found"]
    return ["## Other readings", "", words, "", table(head, lines), ""]


def _blocks(beside: list[list[str]], width: int = 4) -> list[str]:
    """The matrix cut into tables of few columns, fit for a phone; each holds the rows that have a score in it."""
    head, *lines = beside
    first = 3
    out = []
    for start in range(first, len(head), width):
        columns = range(start, min(start + width, len(head)))
        kept = [[*line[:first], *(line[c] for c in columns)] for line in lines if any(line[c] for c in columns)]
        out += [table([*head[:first], *(_head(head[c]) for c in columns)], kept), ""]
    return out


def _head(words: str) -> str:
    return words if words == comparison_matrix.OWN else f"`{words}`"


def _all_numbers(rows: list[published.PaperRow]) -> list[str]:
    names = list(dict.fromkeys(row.algorithm for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        cells.setdefault(_short(row.id).split("/")[0], {})[row.algorithm] = facts.theirs(row)
    lines = [[name, *(line.get(a, "") for a in names)] for name, line in cells.items()]
    return ["## All published numbers", "", "As printed.", "", table(["row", *names], lines), ""]


def results_index(tables: dict[str, published.PaperTable]) -> str:
    lines = []
    for each in tables.values():
        counts = facts.counts(each.rows.values())
        lines.append([f"[{each.title}]({table_page(each.id).removeprefix('results/')})", counts.printed, counts.can_run])
    head = ["published table", "published numbers", "can run"]
    return "\n".join(
        [
            "# Results",
            "",
            "{{ counted() }}",
            "",
            "{{ readings() }}",
            "",
            "{{ holds() }}",
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


# ---- rows


def claim_line(row_id: str) -> str:
    """The first comments of the row's file, which say what is claimed."""
    from data.common.paths import CONFIGS

    lines = (CONFIGS / "rows" / f"{row_id}.yaml").read_text(encoding="utf-8").splitlines()
    words = []
    for line in lines[1:]:
        if not line.startswith("#") or "docs/papers" in line:
            break
        words.append(line.lstrip("# ").rstrip())
    return " ".join(words)


def also_judged(row_id: str) -> tuple[list[str], str]:
    """The readings that the row's file names, and why: (overrides, reason)."""
    import yaml

    from data.common.paths import CONFIGS

    text = (CONFIGS / "rows" / f"{row_id}.yaml").read_text(encoding="utf-8")
    reason = next((line[len("# also_judged:") :].strip() for line in text.splitlines() if line.startswith("# also_j")), "")
    return list(yaml.safe_load(text).get("also_judged", [])), reason


def row(row_id: str) -> str:
    """The page of one row: claim, command, verdict, settings with sources, readings, history of records."""
    about = published.row(row_id)
    record = facts.own(row_id)
    up = "../" * (row_id.count("/") + 1)
    out = [
        f"# {row_id}",
        "",
        f"{claim_line(row_id)}",
        "",
        f"Published in [{published.tables()[f'{about.paper}/{about.table}'].title}]"
        f"({up}{table_page(f'{about.paper}/{about.table}')}); source: {about.source}.",
        "",
        "```",
        f"reproduce {row_id}              # trains, evaluates, judges, records",
        f"reproduce check {row_id}        # the verdict from recorded scores, no training",
        f"reproduce diff {row_id}         # the settings below, in the terminal",
        "```",
        "",
        "## What holds",
        "",
    ]
    if record is None:
        out += ["No run with the row's own settings is recorded.", ""]
    else:
        head = ["theirs", *RESULT_HEAD[2:]]
        line = result_lines([about])[0]
        out += [table(head, [line[1:]]), "", *(f"- {reason}" for reason in facts.verdict(record).reasons), ""]
    choices, reason = also_judged(row_id)
    if choices:
        out += ["## Other readings", "", f"{reason[:1].upper()}{reason[1:]}. As good as the row's own settings, each judged by itself:", ""]
        done = {facts.label(r): r for r in facts.readings(row_id)}
        lines = []
        for choice in [*choices, *(label for label in done if label not in choices)]:
            found = done.get(choice)
            state = "" if found is None else facts.verdict(found).state.lower()
            state += ", vacuous" if found is not None and facts.verdict(found).vacuous else ""
            lines.append([f"`{choice or 'regenerated data'}`", ours(about, found), interval(found), state or "not run"])
        out += [table(["reading", "ours", "ours - theirs, 90 % interval", "found"], lines), ""]
    out += _settings(row_id)
    out += _history(about)
    return "\n".join(out).rstrip() + "\n"


def _settings(row_id: str) -> list[str]:
    values, sources = facts.values(row_id), facts.source_of(row_id)
    out = ["## Settings", "", f"From `{REPOSITORY_FILES['row'].format(row_id)}` and what it composes, each with its source.", ""]
    for group in GROUPS:
        lines = [
            [f"`{key}`", f"`{value}`", sources.get(key, "")]
            for key, value in values.items()
            if key.startswith(f"{group}.")
        ]
        if lines:
            out += [f"### {group}", "", table(["setting", "value", "source"], lines), ""]
    return out


def _history(about: published.PaperRow) -> list[str]:
    found = facts.all_records(about.id)
    if not found:
        return ["## History", "", "Nothing is recorded.", ""]
    lines = []
    for record in reversed(found):
        verdict, made = facts.verdict(record), record["provenance"]
        commit = f"`{str(made.get('commit', 'unknown'))[:10]}`" + (" with local changes" if made.get("dirty") else "")
        settings = facts.label(record)
        state = verdict.state.lower() + (", vacuous" if verdict.vacuous else "")
        wall = record["time"].get("wall_s")
        took = "" if wall is None else f"{wall / 60:.1f} min"
        lines.append([record["created"][:10], f"`{settings}`" if settings else "its own", ours(about, record), state, commit, took])
    head = ["date", "settings", "ours", "found", "commit", "wall time"]
    return ["## History", "", "Every record of the row, the newest first.", "", table(head, lines), ""]


def rows_index(tables: dict[str, published.PaperTable]) -> str:
    out = ["# Rows", "", "A row is one published number with a config: its id is the path of its file and the command that runs it.", ""]
    for each in tables.values():
        runnable = [r for r in each.rows.values() if r.id in facts.can_run()]
        if runnable:
            lines = [[f"[{r.id}]({r.id}.md)", facts.theirs(r), ours(r, facts.own(r.id)), facts.category(r)] for r in runnable]
            out += [f"## {each.title}", "", table(["row", "theirs", "ours", "found"], lines), ""]
    return "\n".join(out).rstrip() + "\n"


# ---- data


def data() -> str:
    """The catalog: one table per family, the official statistics beside those of the data made here."""
    families: dict[str, list[list[str]]] = {}
    for name, entry in facts.datasets().items():
        family, short = name.split("/", 1)
        official = "statistics not published" if entry.get("official") else f"none: {entry.get('official_reason', 'none')}"
        if "published" in entry:
            official = _statistics(entry["published"])
        made = facts.data_facts(name)
        families.setdefault(family, []).append(
            [short, entry["description"], official, "not built here" if made is None else _statistics(made)]
        )
    out = [
        "# Data",
        "",
        "Every row runs on regenerated data, made here by committed programs and accepted only within stated intervals, or on "
        "the authors' own files with `data.kind=official data.root=DIR`. Nothing is downloaded. A verdict on regenerated "
        "data says so.",
        "",
        "```",
        "reproduce data list                # every dataset",
        "reproduce data show bridge/mix     # a dataset's manifest: how it was made, counts, checksums",
        "reproduce data compare             # official statistics beside those of the datasets built here",
        "```",
        "",
        "The tables are written from the catalog. Returns are mean ± standard deviation [lowest, highest] over episodes. The "
        "last column is of the newest record that ran on the dataset, or of its manifest where it is built.",
        "",
    ]
    sources = {e["published"]["source"] for e in facts.datasets().values() if "source" in e.get("published", {})}
    if sources:
        out += [f"Official statistics: {'; '.join(sorted(sources))}.", ""]
    for family, lines in families.items():
        out += [f"## {family}", "", table(["dataset", "description", "official", "made here"], lines), ""]
    return "\n".join(out).rstrip() + "\n"


def _statistics(found: dict[str, Any]) -> str:
    digits = 0 if abs(found["mean"]) >= 20 else 2
    text = facts.number(found["mean"], digits)
    if "std" in found:
        text += f" ± {facts.number(found['std'], digits)}"
    if "min" in found and "max" in found:
        text += f" [{facts.number(found['min'], digits)}, {facts.number(found['max'], digits)}]"
    return text + (f", {found['n_episodes']:,} episodes" if "n_episodes" in found else "")
