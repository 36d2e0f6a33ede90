"""Facts for the documentation: our numbers come from records, theirs from paper_results, settings from configs.

A number that no record holds is an error.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from data.catalog import manifest, registry
from data.common.errors import ReproduceError, nearest
from data.common.paths import records_dir
from reproduce import config, judge, published, records, standing
from reproduce.core import numbers

DATA, KIND, SEEDS = "data.id", "data.kind", "protocol.n_seeds"


LEFT_OUT: dict[Path, str] = {}  # records that cannot be read, and why; gen/nav.py ends the build with them


@cache
def _all_records(folder: str) -> list[dict[str, Any]]:
    return records.read("*", left_out=LEFT_OUT)


def all_records(row_id: str = "*", kind: str = "row") -> list[dict[str, Any]]:
    """Records of one kind whose row is, or matches, the pattern; oldest first."""
    found = _all_records(str(records_dir()))
    return [r for r in found if r["kind"] == kind and (r["row"] == row_id or fnmatchcase(r["row"], row_id))]


@cache
def settings(row_id: str) -> config.Settings:
    """The row's settings as its file states them."""
    return config.compose(row_id)


@cache
def values(row_id: str) -> dict[str, Any]:
    """The row's settings, flat: {"algo.lr": 0.001, ..}."""
    return config.flat(settings(row_id).values)


def source_of(row_id: str) -> dict[str, str]:
    """Setting -> the comment on its line."""
    return config.sources(row_id)


@cache
def can_run() -> frozenset[str]:
    """Rows that have a config."""
    return frozenset(config.row_ids())


def label(record: dict[str, Any]) -> str:
    """The settings of a run as one types them, without the free ones; empty for the row's own settings."""
    return standing.label(record, values(record["row"])[DATA] if record["row"] in can_run() else None)


def find(row_id: str, wanted: str = "") -> dict[str, Any]:
    """The record of the row with exactly these settings, e.g. "budget=omsd_long variant=low_noise": the one with the
    most seeds, the newest of several.

    Without data.id the row's dataset of today counts, without data.kind the regenerated kind, without
    protocol.n_seeds any number of seeds. Raises ReproduceError naming row and settings when no record has them.
    """
    asked = wanted.split()
    seeds = next((int(o.partition("=")[2]) for o in asked if o.startswith(f"{SEEDS}=")), None)
    words = " ".join(sorted(o for o in asked if not o.startswith((SEEDS, f"{KIND}=regenerated"))))
    of_row = all_records(row_id)
    fitting = [record for record in of_row if label(record) == words and seeds in (None, len(record["seeds"]))]
    if fitting:
        return max(reversed(fitting), key=lambda record: len(record["seeds"]))
    known = sorted({label(record) for record in of_row})
    there = "; ".join(one or "(the row's own settings)" for one in known) or "nothing"
    asked_for = repr(wanted or "(its own)")
    raise ReproduceError(
        f"no record of row {row_id} with the settings {asked_for}.{nearest(words, known)} Recorded: {there}."
    )


@cache
def _standings(folder: str) -> dict[str, standing.Standing]:
    return standing.standings(list(published.rows()), _all_records(folder))


def standings() -> dict[str, standing.Standing]:
    """How every published row stands, by id."""
    return _standings(str(records_dir()))


@cache
def _results(folder: str) -> dict[int, standing.Result]:
    return {id(result.record): result for each in _standings(folder).values() for result in each.history}


def own(row_id: str) -> dict[str, Any] | None:
    """The record that stands for the row, of its own settings; on official data where there is one, or None."""
    found = standings()[row_id].own
    return None if found is None else found.record


def readings(row_id: str) -> list[dict[str, Any]]:
    """Newest record of every other setting that is judged against the published number, by its settings."""
    return [result.record for result in sorted(standings()[row_id].readings, key=lambda result: result.name)]


def verdict(record: dict[str, Any]) -> judge.Verdict:
    """The verdict of a record of `all_records`, by the bound of today."""
    return _results(str(records_dir()))[id(record)].verdict


def verdicts(rows: Iterable[str]) -> dict[int, judge.Verdict]:
    """By id() of its record, the verdict of each row's own result and of its readings."""
    found = [standings()[row_id] for row_id in rows]
    return {id(r.record): r.verdict for each in found for r in [each.own, *each.readings] if r}


def category(row: published.PaperRow) -> str:
    """What holds of the row, from its own settings alone: other readings are listed, never counted."""
    return standing.category(standings()[row.id])


def counts(rows: Iterable[published.PaperRow]) -> standing.Counts:
    """Counts over rows."""
    return standing.count(standings()[row.id] for row in rows)


def claims() -> list[dict[str, Any]]:
    """The newest record of every claim."""
    return list({record["row"]: record for record in all_records("claims/*", "claim")}.values())


def claim(name: str) -> dict[str, Any]:
    """The newest record of a claim, such as inspo/coordination."""
    found = {record["row"].removeprefix("claims/"): record for record in claims()}
    if name not in found:
        raise ReproduceError(f"no record of the claim {name!r}.{nearest(name, list(found))}")
    return found[name]


# ---- numbers as text


def mean_std(scores: list[float], digits: int | None = None) -> str:
    """Mean ± sample standard deviation over seeds, and their number where it is not five."""
    return numbers.mean_std(fmean(scores), stdev(scores) if len(scores) > 1 else None, len(scores), digits)


def scores(record: dict[str, Any]) -> list[float]:
    """The score of each seed that has one, as it is judged today."""
    judged = _results(str(records_dir())).get(id(record))
    return judged.per_seed if judged else records.healthy(record["scores"]["per_seed"])


def raw_returns(record: dict[str, Any]) -> list[float]:
    """Mean episode return of each seed that did not diverge, in the mode of the score."""
    return [fmean(episodes) for episodes in records.healthy(record["evaluation"][record["scores"]["mode"]])]


def theirs(row: published.PaperRow) -> str:
    """The printed number, or that it is unknown and which optimum stands in for it."""
    if row.bound.mean is not None:
        return row.printed.removesuffix(" ± unknown")
    return "unknown" if row.bound.optimum is None else f"unknown (optimum {row.bound.optimum:g})"


def data_facts(dataset_id: str, of_records: bool = False) -> dict[str, Any] | None:
    """Return statistics and sizes of a regenerated dataset: of the newest record that ran on it, else of the manifest
    of the built one (unless `of_records`), else None."""
    for record in reversed(_all_records(str(records_dir()))):
        data = record.get("data", {})
        if data.get("id") == dataset_id and data.get("kind") == "regenerated" and "return" in data:
            return {**data["return"], "n_rows": data["n_transitions"], "n_episodes": data["n_episodes"]}
    return None if of_records else _of_manifest(dataset_id)


def _of_manifest(dataset_id: str) -> dict[str, Any] | None:
    if not manifest.is_built(dataset_id):
        return None
    try:
        statistics = manifest.read_manifest(dataset_id)["statistics"]
    except ReproduceError:
        return None
    sizes = {key: statistics[key] for key in ("n_rows", "n_episodes") if key in statistics}
    return {**statistics["return"], **sizes}


def datasets() -> dict[str, dict[str, Any]]:
    """The catalog: dataset id -> entry, without the keys that it leaves out."""
    return {name: entry.model_dump(exclude_none=True) for name, entry in registry.datasets().items()}
