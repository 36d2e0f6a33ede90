"""Recorded comparisons as the report and the site show them: arms, their differences, and the statistics in words."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from reproduce import published


@dataclass(frozen=True)
class Shown:
    """One comparison of a row; cells are plain text, heads first."""

    row: str
    created: str
    title: str
    sentence: str
    caption: str
    arms: list[list[str]]
    differences: list[list[str]]


def comparisons(found: Iterable[dict[str, Any]], rows: dict[str, published.PaperRow]) -> list[Shown]:
    """The newest comparison of each set of arms, in the order of the rows; `found` are records, oldest first."""
    newest: dict[str, dict[str, Any]] = {}
    for record in found:
        if record["kind"] == "comparison" and record["of"] in rows:
            arms = [[name, arm["config_fingerprint"]] for name, arm in record["arms"].items()]
            key = json.dumps([record["of"], arms, record["seeds"], record["data"]["id"], record["data"]["kind"]])
            newest.pop(key, None)
            newest[key] = record
    order = list(rows)
    return [shown(record) for record in sorted(newest.values(), key=lambda record: order.index(record["of"]))]


def shown(record: dict[str, Any]) -> Shown:
    """The record in words and cells."""
    data, arms = record["data"], record["arms"]
    seeds = f"seeds {record['seeds'][0]} to {record['seeds'][-1]}"
    common = f" Common settings: {', '.join(record['overrides'])}." if record["overrides"] else ""
    commit = str(record["provenance"].get("commit", "unknown"))[:10]
    caption = (
        f"{record['metric'].replace('_', ' ').capitalize()}, mean ± sample standard deviation over {seeds} on "
        f"{data['id']} ({data['kind']} data, sha256 {data['sha256'][:12]}).{common} {record['method']} Recorded "
        f"{record['created'][:10]}, commit {commit}."
    )
    return Shown(
        record["of"],
        record["created"],
        f"{record['of'].split('/', 2)[-1]}: {' / '.join(arms)}",
        f"{record['of']} on {data['id']} ({data['kind']} data), n = {len(record['seeds'])}: {_sentence(record)}",
        caption,
        [["Arm", "Ours", "n", "Updates"], *([name, *_scores(arm)] for name, arm in arms.items())],
        [["Difference", "Ours", "90 % interval", "Found"], *map(_difference, record["differences"])],
    )


def _sentence(record: dict[str, Any]) -> str:
    """What was found of each arm that is judged, with the interval that it rests on."""
    words = {"better": "better than", "worse": "worse than", "undecided": "undecided against"}
    return "; ".join(
        f"{pair['arm']} {words[pair['found']]} {pair['against']}, {pair['difference'] + 0.0:.4g} in "
        f"[{pair['widened_low'] + 0.0:.4g}, {pair['widened_high'] + 0.0:.4g}]"
        for pair in record["differences"]
        if pair["found"]
    )


def _scores(arm: dict[str, Any]) -> list[str]:
    values = arm["per_seed"]
    spread = f" ± {stdev(values):.3g}" if len(values) > 1 else ""
    crashed = f", {len(arm['crashed'])} diverged" if arm.get("crashed") else ""
    updates = arm.get("n_updates")
    return [f"{fmean(values):.5g}{spread}{crashed}", str(len(values)), "unknown" if updates is None else f"{updates:,}"]


def _difference(pair: dict[str, Any]) -> list[str]:
    interval = f"[{pair['low'] + 0.0:.4g}, {pair['high'] + 0.0:.4g}]"
    if pair["widened_low"] is not None and (pair["widened_low"], pair["widened_high"]) != (pair["low"], pair["high"]):
        interval += f", widened [{pair['widened_low'] + 0.0:.4g}, {pair['widened_high'] + 0.0:.4g}]"
    name = f"{pair['arm']} - {pair['against']}"
    return [name, f"{pair['difference'] + 0.0:.4g}", interval, pair["found"] or "not judged"]
