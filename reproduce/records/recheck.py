"""Whether a record is still a run of its row: rows change, records do not."""

from typing import Any

from reproduce.config import differences
from reproduce.records.crashed import why_no_verdict

FEWER_SEEDS = "fewer seeds than the row's"
ABOUT_SEEDS = ("a verdict needs", FEWER_SEEDS)


def why_not_today(record: dict[str, Any], today: dict[str, Any]) -> list[str]:
    """Why a record is no run of the row as it is today; `today` holds the row's settings, or {"error": text}."""
    if "error" in today:
        return [f"the row cannot be composed today: {today['error']}"]
    verdict, apart = record["verdict"], {_apart(d): d["key"] for d in record["differs"]}
    kept = []  # what is not about settings and seeds, which are looked at anew
    if verdict["state"] == "NOT COMPARABLE":
        gone = {*apart, *why_no_verdict(record["seeds"], record["scores"]["per_seed"])}
        kept = [r for r in verdict["reasons"] if r not in gone and not r.startswith(ABOUT_SEEDS)]
    if len(record["seeds"]) < (n_seeds := today["protocol"]["n_seeds"]):
        kept.append(f"{FEWER_SEEDS} {n_seeds}")
    now = differences(record["config"], today)
    return kept + [
        _apart(d)
        if d["key"] in apart.values()
        else f"the row has changed since: {d['key']} is {d['used']} in the record, the row says {d['row']}"
        for d in now
    ]


def _apart(difference: dict[str, Any]) -> str:
    return f"{difference['key']} is {difference['used']}, the row says {difference['row']}"
