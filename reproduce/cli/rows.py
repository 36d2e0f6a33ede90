"""`reproduce list`, `check` and `diff`: rows as they stand, without running anything."""

import json
from typing import Annotated, Any

import typer

from data.common.errors import ReproduceError
from reproduce.cli.format import claim_word, result_line
from reproduce.cli.options import Json, Overrides, Row, complete, published_rows, published_rows_and_claims

Listed = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A published row, a claim, or a glob of them.",
        autocompletion=complete(published_rows_and_claims),
        show_default=False,
    ),
]
Recorded = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A row or a glob of rows that have records.",
        autocompletion=complete(published_rows),
        show_default=False,
    ),
]


def list_rows(pattern: Listed = "*", as_json: Json = False) -> int:
    """List rows with the paper's value and the last recorded verdict.

    Every published row of the papers' tables is listed, whether it can run yet or not, and every claim.
    """
    entries = _entries(pattern)
    if as_json:
        print(json.dumps(entries, indent=1))
        return 0
    width = max(len(entry["row"]) for entry in entries)
    print(f"{'row':{width}}  {'paper':>18}  last verdict")
    for entry in entries:
        state = entry["verdict"] or ("not run" if entry["can_run"] else "cannot run yet: no config")
        if entry["verdict"] and not entry["full_budget"]:
            state += ", never run at full budget"
        print(f"{entry['row']:{width}}  {entry['paper']:>18}  {state}")
    return 0


def _entries(pattern: str) -> list[dict[str, Any]]:
    from fnmatch import fnmatchcase

    from reproduce import published, records
    from reproduce.config import claim_ids, row_ids

    runnable = set(row_ids())
    claims = [name for name in claim_ids() if fnmatchcase(name, pattern)]
    names = [] if claims and pattern.startswith("claims") else published.match(pattern)
    found = records.read()
    last = {record["row"]: record for record in found if record["kind"] == "claim"}
    reported: dict[str, list[dict[str, Any]]] = {}
    for record in records.select_reported(found):
        reported.setdefault(record["row"], []).append(record)
    own = [record for record in found if record["kind"] in ("row", "claim") and records.of_own_algorithm(record)]
    complete = {record["row"] for record in own if not record.get("differs")}  # with their own settings, at least once
    entries = []
    for name in names:
        row, recorded = published.row(name), _verdicts(reported.get(name, []))
        facts = {"row": name, "metric": row.metric, "paper": row.printed, "can_run": name in runnable}
        entries.append(facts | {"verdict": recorded, "full_budget": name in complete})
    for name in claims:
        recorded = claim_word(last[name]) if name in last else None
        facts = {"row": name, "metric": "claim", "paper": "", "can_run": True}
        entries.append(facts | {"verdict": recorded, "full_budget": name in complete})
    return entries


def _verdicts(reported: list[dict[str, Any]]) -> str | None:
    """Headlines, with the dataset where there are several."""
    if len(reported) < 2:
        return reported[0]["verdict"]["headline"] if reported else None
    return "; ".join(f"{record['verdict']['headline']} on {record['data']['id']}" for record in reported)


def check(pattern: Recorded, as_json: Json = False) -> int:
    """Judge recorded scores again, with the bounds of today.

    Nothing is trained. The exit code is that of the verdict, of several the highest.
    """
    from reproduce import published, records

    names, found = published.match(pattern), records.read()
    reported = records.select_today([record for record in found if record["row"] in names])
    if not reported:
        if len(names) == 1:
            raise ReproduceError(f"nothing is recorded for {names[0]}; `reproduce {names[0]}` runs it.")
        raise ReproduceError(f"nothing is recorded for {pattern}; `reproduce list` shows what can run.")
    reported.sort(key=lambda pair: names.index(pair[0]["row"]))
    documents = [_judged(record, found, changed) for record, changed in reported]
    if as_json:
        print(json.dumps(documents[0] if len(documents) == 1 else {"rows": documents}, indent=1))
    for document in [] if as_json else documents:
        print(result_line(document))
    return max(document["exit_code"] for document in documents)


def _judged(record: dict[str, Any], found: list[dict[str, Any]], changed: list[str]) -> dict[str, Any]:
    """The document of a record's raw scores, judged today; `found` holds all records.

    `changed`: how its row has become another experiment since.
    """
    from reproduce import published, records
    from reproduce.judge import judge

    name, old = record["row"], record["verdict"]
    reasons = old["reasons"] if old["state"] == "NOT COMPARABLE" else changed
    curve = record["curve"].get(record["scores"]["mode"]) or []
    early = curve[0] if record["config"]["algo"]["name"] == "inspo" and curve else None  # before its clones moved
    clones = record.get("behavior_cloning") or records.recorded_cloning(  # which may have run later
        name, record["config"]["algo"], record["data"], record["seeds"], found
    )
    verdict = judge(
        record["scores"]["per_seed"],
        published.row(name).bound,
        not_comparable=reasons,
        data_kind=record["data"]["kind"],
        behavior_cloning=clones or early,
    )
    return records.row_document({**record, "verdict": verdict.to_json(), "behavior_cloning": clones})


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
        print(f"{name}\n  {'setting':32} {'paper':>9} {'row':>18} {'used':>18}  source")
        for e in entries:
            mark = "*" if e["used"] != e["row"] else " "
            print(f"{mark} {e['key']:32} {e['paper']!s:>9} {e['row']!s:>18} {e['used']!s:>18}  {e['source']}")
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
