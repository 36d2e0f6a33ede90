"""Runs of behavior cloning among the records, and the facts by which a record knows its dataset again."""

import hashlib
import json
from statistics import fmean, stdev
from typing import Any, NamedTuple

from reproduce.records import store

CLONING = ("bc", "bc_recurrent", "bc_shared", "gaussian_bc")


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


class Scored(NamedTuple):
    """In which world and how policies were scored: clones that agree in it are one experiment, of one row or two."""

    world: str  # its fingerprint
    metric: str
    mode: str
    episodes: int | None
    references: dict[str, float] | None  # of a normalized score

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Scored":
        scores, episodes = record["scores"], record["config"].get("protocol", {}).get("eval_episodes")
        places = (record["environment"]["fingerprint"], scores["metric"], scores["mode"])
        return cls(*places, episodes, scores.get("references"))


def recorded_cloning(
    row: str,
    algo: dict[str, Any],
    data: dict[str, Any],
    seeds: list[int],
    among: list[dict[str, Any]] | None = None,
    scored: Scored | None = None,
) -> list[float] | None:
    """Scores of the newest cloning of the same `data` (facts), with the seeds and updates of `algo`'s run.

    Cloning counts where policies were `scored` alike (None: anyhow, but of no other row), with its own settings and no
    seed that diverged: a clone that was spoilt would make the run look better. That of other rows counts too, for
    clones see neither rewards nor ends of episodes; the row's own comes first. `among` holds the records to search,
    oldest first (None: all). The result is None where there is no such run, and where `algo` (settings) is cloning
    itself.
    """
    found = _clones(row, algo, seeds, among, scored)
    return next((record["scores"]["per_seed"] for record in found if same_data(record["data"], data)), None)


def cloning_of_other_data(record: dict[str, Any], among: list[dict[str, Any]]) -> str | None:
    """A sentence where cloning that would stand beside the run was trained on a copy of its dataset that is not the
    same data: it says nothing about the run."""
    scored = Scored.of(record)
    found = _clones(record["row"], record["config"]["algo"], record["seeds"], among, scored)
    kept = [clone for clone in found if clone["data"]["id"] == record["data"]["id"]]
    if not kept or any(same_data(clone["data"], record["data"]) for clone in kept):
        return None
    theirs, ours = kept[0]["data"]["sha256"][:12], record["data"]["sha256"][:12]
    return f"cloning is recorded on another copy of the data (sha256 {theirs}, this run's is {ours}) and is not used"


def is_cloning(record: dict[str, Any]) -> bool:
    """Whether it is a row's run of cloning."""
    return record["kind"] == "row" and record["config"]["algo"]["name"] in CLONING


def _clones(
    row: str,
    algo: dict[str, Any],
    seeds: list[int],
    among: list[dict[str, Any]] | None,
    scored: Scored | None,
) -> list[dict[str, Any]]:
    """Runs of cloning that differ from that of `algo` in nothing but what was learned: the row's own first, newest
    first."""
    if algo["name"] in CLONING:
        return []
    if among is None:
        others = [] if scored is None else [r for r in store.read_of_others() if r["row"] != row]
        among = [*others, *store.read_sound(row, "row")]

    def fits(record: dict[str, Any]) -> bool:
        if not is_cloning(record) or record["crashed"] or any(map(_changes_it, record["overrides"])):
            return False
        if (record["row"] != row) if scored is None else (Scored.of(record) != scored):
            return False
        return (record["config"]["algo"].get("n_updates"), record["seeds"]) == (algo["n_updates"], seeds)

    found = [record for record in reversed(among) if fits(record)]
    return sorted(found, key=lambda record: record["row"] != row)


def _changes_it(override: str) -> bool:
    """Whether an override makes another algorithm of cloning; only its budget may be chosen."""
    return override.startswith("algo.") and not override.startswith("algo.n_updates=")


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
    another. Measured over seventeen datasets of omar/, AMD's EPYC against Intel's Xeon: mean and deviation moved by
    0.0002 of the returns' standard deviation at most, quartiles by 0.0009, the tails (p5 and p95) by 0.0024. Another
    seed moves the mean of 40,000 episodes by 0.005, and a tail of normal returns by 0.015. The best and the worst
    return are those of single episodes, which may be among the ones that took another course: of these two one has to
    agree.
    """
    if one["sha256"] == other["sha256"]:
        return True
    stated = [[data[key] for key in ("id", "kind", "n_transitions", "n_episodes")] for data in (one, other)]
    if stated[0] != stated[1] or one["kind"] != "regenerated":
        return False
    near = {name: (0.005 if name in ("p5", "p95") else 0.002) * one["return"]["std"] for name in one["return"]}
    agree = {name: abs(value - other["return"][name]) <= near[name] for name, value in one["return"].items()}
    extremes = [agree.pop(name) for name in ("min", "max") if name in agree]
    return all(agree.values()) and (any(extremes) or not extremes)
