"""`reproduce list`, `check` and `diff`: rows as they stand, without running anything."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from data.common.errors import ReproduceError
from reproduce.cli.format import (
    columns,
    fill,
    listed,
    listed_lines,
    reading_line,
    result_line,
    width,
)
from reproduce.cli.options import Json, Overrides, Row, complete, published_rows_and_claims

Listed = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A published row, a claim, or a prefix or glob of them.",
        autocompletion=complete(published_rows_and_claims),
        show_default=False,
    ),
]
Recorded = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A row or a claim that has records, or a prefix or glob of them.",
        autocompletion=complete(published_rows_and_claims),
        show_default=False,
    ),
]


def list_rows(
    pattern: Listed = "*",
    everything: Annotated[bool, typer.Option("--all", help="Rows that cannot run yet too.")] = False,
    as_json: Json = False,
) -> int:
    """List rows: theirs, ours, verdict, time.

    A row's answer is the run with its own settings. Other readings stand below it and are not counted. --all lists the
    published numbers that cannot run yet as well.
    """
    from data.common.patterns import matching
    from reproduce import published, records, standing
    from reproduce.config import claim_ids, expand

    of_claims = pattern.startswith("claims")
    claims = (expand if of_claims else matching)(pattern, claim_ids())
    names = [] if of_claims else published.match(pattern)
    left_out: dict[Path, str] = {}
    found = records.read(left_out=left_out)
    rows = standing.standings(names, found)
    last = _last_claims(found)
    if as_json:
        entries = [_entry(each) for each in rows.values()] + [_claim_entry(name, last.get(name)) for name in claims]
        print(json.dumps(entries, indent=1))
        return records.exit_code(0, left_out)
    if rows:
        print(fill(standing.count(rows.values()).sentence))
    shown = [each for each in rows.values() if everything or each.can_run]
    tables: dict[str, list[list[str]]] = {}
    for each in shown:
        tables.setdefault(f"{each.row.paper}/{each.row.table}", []).extend(listed_lines(each))
    for table, lines in tables.items():
        print(f"\n{listed(f'{table}/', published.tables()[table].title, lines)}")
    if claims:
        print("\nClaims")
        print(columns(["claim", "verdict"], [[name, _claimed(last.get(name))] for name in claims]))
    if hidden := len(rows) - len(shown):
        print(f"\n{hidden} more published numbers cannot run yet: `reproduce list --all` shows them.")
    return records.exit_code(0, left_out)


def _claimed(record: dict[str, Any] | None) -> str:
    from reproduce import records
    from reproduce.standing import changed_since

    if record is None:
        return "not run"
    changed = changed_since(record)
    return records.claim_state(record) + (f", but its {changed} changed since: run it again" if changed else "")


def _entry(each: Any) -> dict[str, Any]:
    """A row of `list --json`. `full_budget`: whether it ran with the budget of its source."""
    from reproduce import standing

    own = each.own
    return {
        "row": each.row.id,
        "metric": each.row.metric,
        "paper": each.row.printed,
        "can_run": each.can_run,
        "found": standing.category(each),
        "verdict": own and own.verdict.headline,
        "vacuous": own and own.verdict.vacuous,
        "full_budget": each.at_full_budget,
        "ours": own and own.verdict.mean,
        "wall_s": own and own.record["time"]["wall_s"],
        "readings": [
            {"reading": one.name, "verdict": one.verdict.headline, "ours": one.verdict.mean} for one in each.readings
        ],
    }


def _claim_entry(name: str, record: dict[str, Any] | None) -> dict[str, Any]:
    """A claim of `list --json`. `full_budget`: whether it ran as its file and its rows state it today."""
    from reproduce import records
    from reproduce.standing import changed_since

    word = None if record is None else records.claim_state(record)
    entry = {"row": name, "metric": "claim", "paper": "", "can_run": True, "verdict": word}
    return entry | {"full_budget": record is not None and not changed_since(record)}


def check(pattern: Recorded, as_json: Json = False) -> int:
    """Judge recorded scores again, with the bounds of today.

    Nothing is trained. A row is judged by its own run with the most seeds, of several the newest; other readings are
    listed below it. A claim (claims/..) is shown as last recorded: 3 where its file or its rows changed since. The exit
    code is that of the verdict, of several the highest.
    """
    from reproduce import published, records, standing
    from reproduce.config import claim_ids, expand

    left_out: dict[Path, str] = {}
    claims = expand(pattern, claim_ids()) if pattern.startswith("claims") else []
    names, found = claims or published.match(pattern), records.read(left_out=left_out)
    others = {path for path in left_out if _row_of(path) not in names}
    if not claims:
        records.note_of_others(len(others.intersection(records.of_rows(left_out))))
    left_out = {path: text for path, text in left_out.items() if path not in others}
    if claims:
        last = _last_claims(found)
        documents = [_claim_document(last[name]) for name in claims if name in last]
    else:
        rows = standing.standings(names, found).values()
        documents = [each.document for each in rows if each.own or each.readings or each.others]
    if not documents:
        records.exit_code(0, left_out)
        if len(names) == 1:
            raise ReproduceError(f"nothing is recorded for {names[0]}; `reproduce {names[0]}` runs it.")
        raise ReproduceError(f"nothing is recorded for {pattern}; `reproduce list` shows what can run.")
    if as_json:
        print(json.dumps(documents[0] if len(documents) == 1 else {"rows": documents}, indent=1))
        return records.exit_code(max(document["exit_code"] for document in documents), left_out)
    for document in documents:
        print(result_line(document))
        for reading in document.get("readings", []):
            print(reading_line(reading))
        for other in document.get("others", []) if len(documents) == 1 else []:
            print(reading_line(other, "other run"))
    return records.exit_code(max(document["exit_code"] for document in documents), left_out)


def _last_claims(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The newest record of each claim."""
    return {record["row"]: record for record in found if record["kind"] == "claim"}


def _claim_document(record: dict[str, Any]) -> dict[str, Any]:
    """What `check` prints of a recorded claim. `changed`: what of it is not as today, "rule", "runs" or empty."""
    from reproduce.records import claim_document
    from reproduce.standing import changed_since

    document, changed = claim_document(record), changed_since(record)
    return document | {"changed": changed} | ({"exit_code": 3} if changed else {})


def _row_of(path: Path) -> str:
    """The row that a record's place names."""
    from data.common.paths import records_dir

    return path.parent.relative_to(records_dir()).as_posix()


def diff(target: Row, overrides: Overrides = None, as_json: Json = False) -> int:
    """Show each setting: the paper's, the row's, the one used.

    The source of the row's value stands behind it. A star marks settings that KEY=VALUE changed.
    """
    from reproduce.config import expand, row_ids

    tables = {name: _settings(name, overrides or []) for name in expand(target, row_ids())}
    if as_json:
        print(json.dumps(tables, indent=1))
        return 0
    for name, entries in tables.items():
        print(name)
        lines = [
            [f"* {e['key']}", str(e["paper"]), str(e["row"]), str(e["used"])]
            if e["used"] != e["row"]
            else [f"  {e['key']}", str(e["paper"]), str(e["row"]), ""]
            for e in entries
        ]
        shown = columns(["  setting", "paper", "row", "used"], lines, drop=("paper",)).splitlines()
        wide = max(map(len, shown))
        for line, source in zip(shown, ["source", *(e["source"] for e in entries)], strict=True):
            beside = f"{line:{wide}}  {source}"
            print(beside if len(beside) <= width() else f"{line}\n{fill(source, '      ')}")
    return 0


def _settings(name: str, overrides: list[str]) -> list[dict[str, Any]]:
    from reproduce import published
    from reproduce.config import NOT_PART_OF_FINGERPRINT, compose, flat, sources

    settings, stated = compose(name, overrides), published.row(name).settings
    origin = sources(name, overrides)
    used, rows = flat(settings.values), flat(settings.row_values)
    return [
        {
            "key": key,
            "paper": stated.get(key, "unknown"),
            "row": rows.get(key),
            "used": used.get(key),
            "source": origin.get(key, "not stated"),
        }
        for key in rows | used
        if key != "row" and not key.startswith(NOT_PART_OF_FINGERPRINT)
    ]
