"""Runs of behavior cloning among the records, and the facts by which a record knows its dataset again."""

import hashlib
import json
from statistics import fmean, stdev
from typing import Any

from reproduce.records import store

CLONING = ("bc", "gaussian_bc")


def data_facts(manifest: dict[str, Any]) -> dict[str, Any]:
    """The `data` of a record; official data have one checksum over those of their files."""
    files = json.dumps(manifest["files"], sort_keys=True)
    statistics = manifest["statistics"]
    return {
        "id": manifest["id"],
        "kind": manifest["kind"],
        **({"path": manifest["path"]} if "path" in manifest else {}),
        "sha256": manifest["sha256"] or hashlib.sha256(files.encode()).hexdigest(),
        "n_transitions": statistics["n_transitions"],
        "n_episodes": statistics["n_episodes"],
        "return": statistics["return"],
    }


def recorded_cloning(
    row: str,
    algo: dict[str, Any],
    data: dict[str, Any],
    seeds: list[int],
    among: list[dict[str, Any]] | None = None,
) -> list[float] | None:
    """Scores of the newest cloning of the row on the same `data` (facts), with the seeds and updates of `algo`'s run.

    `among` holds the records to search, oldest first (None: all of the row). The result is None where there is no such
    run, and where `algo` (settings) is cloning itself.
    """
    if algo["name"] in CLONING:
        return None
    runs = (
        store.read_sound(row, "row") if among is None else [r for r in among if (r["row"], r["kind"]) == (row, "row")]
    )
    for record in reversed(runs):
        clone = record["config"]["algo"]
        found = (clone.get("n_updates"), record["seeds"]) == (algo["n_updates"], seeds)
        whole = None not in record["scores"]["per_seed"]
        if clone["name"] in CLONING and found and whole and same_data(record["data"], data):
            return record["scores"]["per_seed"]
    return None


def cloning_returns(data: dict[str, Any], among: list[dict[str, Any]] | None = None) -> dict[str, Any] | None:
    """Mean and sample deviation over seeds of the episode return that cloning earns on the dataset `data` (facts).

    They are those of the run with the most updates, of equals the newest. `among` holds the records of rows to search,
    oldest first (None: all of them). The result is None where no such run is recorded.
    """
    runs = store.read_sound("*", "row") if among is None else among
    found = [record for record in reversed(runs) if record["config"]["algo"]["name"] in CLONING]
    found = [record for record in found if same_data(record["data"], data)]
    found = [record for record in found if None not in record["evaluation"][record["scores"]["mode"]]]
    if not found:
        return None
    longest = max(found, key=lambda record: record["n_updates"])
    per_seed = [fmean(episodes) for episodes in longest["evaluation"][longest["scores"]["mode"]]]
    return {
        "mean": fmean(per_seed),
        "std": stdev(per_seed) if len(per_seed) > 1 else None,
        "n_seeds": len(per_seed),
        "n_updates": longest["n_updates"],
        "row": longest["row"],
        "recorded": longest["created"],
    }


def same_data(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two records read the same dataset, or regenerated ones that differ in rounding only.

    Policies and worlds round differently on another kind of CPU: some episodes take another course, and the checksum is
    another. Measured over nine datasets of omar/, an AMD EPYC against an Intel Xeon: statistics of returns moved by
    0.0009 of their standard deviation at most; another seed moves the mean of 40,000 episodes by 0.005.
    """
    if one["sha256"] == other["sha256"]:
        return True
    stated = [[data[key] for key in ("id", "kind", "n_transitions", "n_episodes")] for data in (one, other)]
    if stated[0] != stated[1] or one["kind"] != "regenerated":
        return False
    tolerance = 0.002 * one["return"]["std"]
    return all(abs(value - other["return"][name]) <= tolerance for name, value in one["return"].items())
