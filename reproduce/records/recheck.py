"""Whether a record is still a run of its row: rows change, records do not."""

from collections.abc import Sequence
from typing import Any

from reproduce.config import config_hash, differences
from reproduce.config.today import stated_today
from reproduce.records.select import select_reported


def changed_since(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Per record, why its row of today is another experiment; empty where it is the same or never was comparable.

    A record whose settings are those of today's row stays comparable, whatever the row said in between.
    """
    judged = [k for k, record in enumerate(found) if record["verdict"]["state"] != "NOT COMPARABLE"]
    values = stated_today([(found[k]["row"], found[k]["overrides"]) for k in judged])
    today = dict(zip(judged, values, strict=True))
    return [_reasons(record, today[k]) if k in today else [] for k, record in enumerate(found)]


def select_today(found: list[dict[str, Any]]) -> list[tuple[dict[str, Any], list[str]]]:
    """(record, how its row has changed since) of the records that stand for their rows as these are today.

    A record of a row that has changed does not hide one of the row as it is.
    """
    changed: dict[int, list[str]] = {}  # by id() of the record
    while True:
        reported = select_reported(found, [key for key, reasons in changed.items() if reasons])
        unseen = [record for record in reported if id(record) not in changed]
        if not unseen:
            return [(record, changed[id(record)]) for record in reported]
        changed |= {id(record): reasons for record, reasons in zip(unseen, changed_since(unseen), strict=True)}


def _reasons(record: dict[str, Any], today: dict[str, Any]) -> list[str]:
    if "error" in today:
        return [f"the row cannot be composed today: {today['error']}"]
    if record["row_fingerprint"] == config_hash(today):
        return []
    apart = differences(record["config"], today)
    return [
        f"the row has changed since: {d['key']} is {d['used']} in the record, the row says {d['row']}" for d in apart
    ]
