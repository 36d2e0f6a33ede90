"""One row's own result and the readings beside it. Of the runs with the row's own settings the one with the most seeds
is the row's answer, the newest of several.

A reading is a run with settings that the row's file calls as good as its own (`also_judged`). Each is judged by an
interval that is widened by the number of readings that the row allows, and none is counted as the row's.
"""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reproduce import config, published, records
from reproduce.config.today import stated_today
from reproduce.judge import MINIMUM_SEEDS, Verdict
from reproduce.standing.labels import KIND, label
from reproduce.standing.rejudge import changed_bound, judged_today

OFFICIAL = f"{KIND}=official"
FULL = "budget=*_full"  # the name of a budget that is its source's, where a row has a CPU's own


@dataclass(frozen=True)
class Result:
    """A record of a row as it is judged today. `name` is the label of its settings, empty for the row's own;
    `per_seed` are the scores that were judged, a diverged seed's replaced by today's minimum; `remarks` are what other
    records say of it."""

    record: dict[str, Any]
    name: str
    verdict: Verdict
    behavior_cloning: list[float] | None
    per_seed: list[float]
    remarks: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """The record's notes, how the published number has changed since, and what other records say of it."""
        return [*self.record.get("notes", []), *changed_bound(self.record), *self.remarks]

    @property
    def document(self) -> dict[str, Any]:
        """What --json prints of it."""
        today = {"verdict": self.verdict.to_json(), "behavior_cloning": self.behavior_cloning, "notes": self.notes}
        return records.row_document({**self.record, **today}) | {"reading": self.name}


@dataclass(frozen=True)
class Standing:
    """`own` and `readings`: of the judged runs of each setting the one with the most seeds, the newest of several.
    `others`: the newest run of every setting without a judged one. `history`: every run of the row, oldest first.
    `refused`: why no run with the row's own settings counts, of the newest; empty where there is none."""

    row: published.PaperRow
    can_run: bool
    own: Result | None = None
    readings: list[Result] = field(default_factory=list)
    others: list[Result] = field(default_factory=list)
    history: list[Result] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def at_full_budget(self) -> bool:
        """Whether a run with the budget of the row's source is recorded."""
        full = fnmatch.filter(config.also_judged(self.row.id), FULL) if self.can_run else []
        if full:
            return any(set(full) & set(result.name.split()) for result in self.readings)
        return self.own is not None

    @property
    def document(self) -> dict[str, Any]:
        """What `check --json` prints: the own result, `readings` and `others`. Without an own result the row is NOT
        COMPARABLE."""
        why = self.refused or ["nothing is recorded with the row's own settings"]
        verdict = Verdict("NOT COMPARABLE", why, 0).to_json()
        none = records.row_document({"row": self.row.id, "verdict": verdict}) | {"reading": ""}
        document = self.own.document if self.own else none
        return document | {
            "readings": [result.document for result in self.readings],
            "others": [result.document for result in self.others],
        }


def standings(
    names: Sequence[str], found: list[dict[str, Any]] | None = None, among: list[dict[str, Any]] | None = None
) -> dict[str, Standing]:
    """How the published rows stand, by id, in the order of `names`; `found` holds all records, oldest first, or those
    of the rows, where `among` holds the ones in which cloning of the same data is looked for."""
    found = records.read_sound("*") if found is None else found
    runnable = set(config.row_ids())
    of_rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for record in found:
        if record["kind"] == "row" and record["row"] in of_rows:
            of_rows[record["row"]].append(record)
    of_all = [record for of_row in of_rows.values() for record in of_row]
    results = _results(of_all, [r for r in (found if among is None else among) if records.is_cloning(r)])
    return {name: _standing(name, name in runnable, [results[id(r)] for r in of_rows[name]]) for name in names}


def _results(of_rows: list[dict[str, Any]], clones: list[dict[str, Any]]) -> dict[int, tuple[Result, bool]]:
    """By id() of the record: its result beside the runs of cloning, and whether it ran with the row's own settings of
    today."""
    rows = list(dict.fromkeys(record["row"] for record in of_rows))
    chosen = [config.reading(record["row"], record["overrides"]) for record in of_rows]
    asked = [(row, []) for row in rows] + [(r["row"], c) for r, c in zip(of_rows, chosen, strict=True)]
    answers = stated_today(asked)
    own, read = dict(zip(rows, answers[: len(rows)], strict=True)), answers[len(rows) :]
    results = {}
    for record, choice, values in zip(of_rows, chosen, read, strict=True):
        today = own[record["row"]]
        mine = "error" not in today and not config.differences(record["config"], today)
        readings = 1 if mine else config.number_of_readings(record["row"], choice)
        reasons = records.why_not_today(record, today if mine else values)
        verdict, beside, scores = judged_today(record, reasons, clones, readings)
        name = label(record, today.get("data", {}).get("id"))
        name = name if not mine or name == OFFICIAL else ""
        unused = None if beside else records.cloning_of_other_data(record, clones)
        results[id(record)] = Result(record, name, verdict, beside, scores, [unused] if unused else []), mine
    return results


def _standing(name: str, can_run: bool, results: list[tuple[Result, bool]]) -> Standing:
    mine = [result for result, is_own in results if is_own]
    official = [r for r in mine if r.name == OFFICIAL and r.verdict.state != "NOT COMPARABLE"]
    own = _with_most_seeds(official or mine)
    if own and (looks := _looks(official or mine)):
        own = replace(own, remarks=[*own.remarks, looks])
    by_name: dict[str, list[Result]] = {}
    for result, _ in results:
        if own is None or result.name != own.name:
            by_name.setdefault(result.name, []).append(result)
    best = {name: _with_most_seeds(found) for name, found in by_name.items()}
    judged = [result for result in best.values() if result]
    others = [found[-1] for name, found in by_name.items() if not best[name]]
    refused = [f"no run of its own settings counts: {why}" for why in mine[-1].verdict.reasons] if mine else []
    every = [result for result, _ in results]
    return Standing(published.row(name), can_run, own, judged, others, every, [] if own else refused)


def _looks(runs: Sequence[Result]) -> str:
    """A sentence where the row ran with several numbers of seeds that allow a verdict, else empty. Fewer seeds than
    today's row asks for were a look as well."""
    counts = sorted({run.verdict.n for run in runs if _is_a_look(run.verdict)})
    if len(counts) < 2:
        return ""
    told = f"{', '.join(map(str, counts[:-1]))} and {counts[-1]}"
    return f"looked at with {told} seeds: with every look the 5 % on a side grow, here to at most {5 * len(counts)} %"


def _is_a_look(verdict: Verdict) -> bool:
    if verdict.state != "NOT COMPARABLE":
        return True
    return verdict.n >= MINIMUM_SEEDS and all(why.startswith(records.FEWER_SEEDS) for why in verdict.reasons)


def _with_most_seeds(results: Sequence[Result]) -> Result | None:
    """Of the judged ones, oldest first; the newest of several with equally many."""
    judged = [result for result in results if result.verdict.state != "NOT COMPARABLE"]
    return sorted(judged, key=lambda result: result.verdict.n)[-1] if judged else None
