"""Generated pages of rows: claim, command, verdict, readings, settings with sources, history. Markdown as text."""

from statistics import fmean
from typing import Any

import yaml
from gen import facts
from gen.pages import RESULT_HEAD, diary, interval, ours, result_lines, table_page
from gen.tables import table

from data.common.paths import CONFIGS
from reproduce import published
from reproduce.config.tables import file_of

GROUPS = ("data", "task", "protocol", "algo", "run")


def claim_line(row_id: str) -> str:
    """The first comments of the row's file, which say what is claimed. A column claims its own number."""
    if file_of(row_id) != row_id:
        about = published.row(row_id)
        number = "a number that is unknown" if about.printed == "unknown" else about.printed
        return f"Claim (printed): {about.algorithm} reaches {number} on {about.task}, {about.dataset} data."
    lines = (CONFIGS / "rows" / f"{row_id}.yaml").read_text(encoding="utf-8").splitlines()
    words = []
    for line in lines[1:]:
        if not line.startswith("#") or "docs/papers" in line:
            break
        words.append(line.lstrip("# ").rstrip())
    return " ".join(words)


def also_judged(row_id: str) -> tuple[list[str], str]:
    """The readings that the row's file names, and why: (overrides, reason)."""
    text = (CONFIGS / "rows" / f"{file_of(row_id)}.yaml").read_text(encoding="utf-8")
    reason = next(
        (line[len("# also_judged:") :].strip() for line in text.splitlines() if line.startswith("# also_j")), ""
    )
    return list(yaml.safe_load(text).get("also_judged", [])), reason


def page(row_id: str) -> str:
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
        f"({up}{table_page(f'{about.paper}/{about.table}')}); source: {about.source}.{diary(about.paper, up)}",
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
        out += diagnostics(record)
    choices, reason = also_judged(row_id)
    if choices:
        out += [
            "## Other readings",
            "",
            f"{reason[:1].upper()}{reason[1:]}. As good as the row's own settings, each judged by itself:",
            "",
        ]
        done = {facts.label(r): r for r in facts.readings(row_id)}
        lines = []
        for choice in [*choices, *(label for label in done if label not in choices)]:
            found = done.get(choice)
            state = "" if found is None else facts.verdict(found).found.lower()
            lines.append([f"`{choice or 'regenerated data'}`", ours(about, found), interval(found), state or "not run"])
        out += [table(["reading", "ours", "ours - theirs, 90 % interval", "found"], lines), ""]
    out += _settings(row_id)
    out += _history(about)
    return "\n".join(out).rstrip() + "\n"


def diagnostics(record: dict[str, Any]) -> list[str]:
    """What training reported at its end; nothing where the record is older than this."""
    lines = []
    for phase, quantities in record.get("diagnostics", {}).items():
        for name, seeds in quantities.items():
            if known := [value for value in seeds if value is not None]:
                found = (f"{value:.4g}" for value in (fmean(known), min(known), max(known)))
                lines.append([f"`{phase}`", f"`{name}`", *found])
    if not lines:
        return []
    words = "What each phase of training reported at its end: of every seed the mean over the last chunk of updates."
    head = ["phase", "quantity", "mean", "lowest seed", "highest seed"]
    return ["## At the end of training", "", words, "", table(head, lines, numbers_from=2), ""]


def _settings(row_id: str) -> list[str]:
    values, sources = facts.values(row_id), facts.source_of(row_id)
    table_id = "/".join(row_id.split("/")[:2])
    column = f", changed by `configs/tables/{table_id}.yaml`" if file_of(row_id) != row_id else ""
    out = [
        "## Settings",
        "",
        f"From `configs/rows/{file_of(row_id)}.yaml` and what it composes{column}, each with its source.",
        "",
    ]
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
        state = verdict.found.lower()
        wall = record["time"].get("wall_s")
        took = "" if wall is None else f"{wall / 60:.1f} min"
        lines.append(
            [
                record["created"][:10],
                f"`{settings}`" if settings else "its own",
                ours(about, record),
                state,
                commit,
                took,
            ]
        )
    head = ["date", "settings", "ours", "found", "commit", "wall time"]
    return ["## History", "", "Every record of the row, the newest first.", "", table(head, lines), ""]


def index(tables: dict[str, published.PaperTable]) -> str:
    out = [
        "# Rows",
        "",
        "A row is one published number with a config: its id is the path of its file and the command that runs it.",
        "",
    ]
    for each in tables.values():
        runnable = [r for r in each.rows.values() if r.id in facts.can_run()]
        if runnable:
            lines = [
                [f"[{r.id}]({r.id}.md)", facts.theirs(r), ours(r, facts.own(r.id)), facts.category(r)] for r in runnable
            ]
            out += [f"## {each.title}", "", table(["row", "theirs", "ours", "found"], lines), ""]
    return "\n".join(out).rstrip() + "\n"
