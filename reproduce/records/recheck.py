"""Whether a record is still a run of its row: rows change, records do not."""

from collections.abc import Sequence
from typing import Any

from reproduce.config import config_hash, differences
from reproduce.config.today import stated_today


def changed_since(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Per record, why its row of today is another experiment; empty where it is the same or never was comparable.

    A record whose settings are those of today's row stays comparable, whatever the row said in between.
    """
    judged = [k for k, record in enumerate(found) if record["verdict"]["state"] != "NOT COMPARABLE"]
    values = stated_today([(found[k]["row"], found[k]["overrides"]) for k in judged])
    today = dict(zip(judged, values, strict=True))
    return [_reasons(record, today[k]) if k in today else [] for k, record in enumerate(found)]


def _reasons(record: dict[str, Any], today: dict[str, Any]) -> list[str]:
    if "error" in today:
        return [f"the row cannot be composed today: {today['error']}"]
    if record["row_fingerprint"] == config_hash(today):
        return []
    apart = differences(record["config"], today)
    return [
        f"the row has changed since: {d['key']} is {d['used']} in the record, the row says {d['row']}" for d in apart
    ]
