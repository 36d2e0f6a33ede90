"""Has this commit hurt? New seeds of the built-in rows against recorded ones (verdict.md's regression question).

The reference is 32 recorded seeds. 16 new seeds are compared by a one-sided pooled t test at 0.5 %, and only a second
batch of fresh seeds that fails too makes the gate fail: 0.05 % false alarms, 97 % detection of a loss of 1.5 sigma
(simulated).
"""

import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from data.common.errors import ReproduceError
from reproduce import judge, published, records
from reproduce.config import Settings, compose, differences, expand, row_ids
from reproduce.core import console, ending
from reproduce.experiment.playable import playable
from reproduce.experiment.run import run_row
from reproduce.experiment.scoring import mode_scores

REFERENCE_SEEDS = 32
SEEDS = ("protocol.first_seed=", "protocol.n_seeds=")
BATCHES = ((10_000, 16), (20_000, 16))  # (first seed, seeds): the second only when the first fails


def _run(row: str, first_seed: int, n_seeds: int, overrides: Sequence[str]) -> tuple[dict[str, Any], Settings]:
    seeds = [f"protocol.first_seed={first_seed}", f"protocol.n_seeds={n_seeds}"]
    settings = compose(row, [*overrides, *seeds])
    return run_row(settings, write=False), settings


def record_references(pattern: str, overrides: Sequence[str] = ()) -> int:
    """Run 32 seeds of each row of `pattern`, with the overrides, and file them as the new reference."""
    if pattern == "losses":
        from reproduce.regression.fingerprints import write_fingerprints

        console.note(f"wrote {write_fingerprints()}")
        return 0
    if taken := [o for o in overrides if o.startswith(SEEDS)]:
        raise ReproduceError(f"{taken[0]}: a reference has seeds of its own, 0 to {REFERENCE_SEEDS - 1}.")
    rows, _ = playable(pattern, overrides)
    with ending.together():
        for number, row in enumerate(rows, 1):
            with console.row(row, number, len(rows)):
                record, _ = _run(row, 0, REFERENCE_SEEDS, overrides)
            path = _written({**record, "kind": "reference"})
            means = "  ".join(f"{mode} {fmean(s):.6g}" for mode, s in mode_scores(record).items())
            print(f"{row}  {REFERENCE_SEEDS} seeds  {means}  {path}")
    return 0


def _written(reference: dict[str, Any]) -> str:
    """The reference's file, which is there already where a stopped command wrote it."""
    for before in records.read_sound(reference["row"], "reference"):
        if before.get("run", {}).get("id") == reference["run"]["id"]:
            return before["file"]
    return str(records.write({key: value for key, value in reference.items() if key not in ("verdict", "file")}))


def run_gate(pattern: str, tell: Callable[[str], Any] | None = None) -> list[dict[str, Any]]:
    """The outcome of each row that has a reference: row, point (algo=.., where it is not the row's own), passed,
    batches, time, or error and exit_code; `tell` gets a line for each. Where several algorithms have one on a row, each
    is run.

    Raises ReproduceError where no row of the pattern has one.
    """
    outcomes, rows = [], expand(pattern, row_ids())
    references = [found for row in rows for found in _newest(row)]
    if not references:
        raise ReproduceError(f"row {rows[0]} has no reference; `reproduce record {rows[0]}` makes one.")
    with ending.together():
        for number, reference in enumerate(references, 1):
            row, point = reference["row"], [o for o in _overrides(reference) if o.startswith("algo=")]
            name = " ".join([row, *point])
            try:
                with console.row(name, number, len(references)):
                    outcomes.append(_judge(row, reference) | {"point": point})
            except Exception as raised:  # the other rows are still compared
                error = ending.as_error(raised)
                outcomes.append({"row": row, "error": str(error), "exit_code": error.exit_code, "point": point})
            o = outcomes[-1]
            if "error" in o:
                console.note(f"{name}: {o['error']}")
            elif tell:
                tell(f"{name}  {'fine' if o['passed'] else 'WORSE'}  " + "; ".join(o["batches"]))
    return outcomes


def _newest(row: str) -> list[dict[str, Any]]:
    """The row's newest reference of each algorithm, the row's own first."""
    newest = {r["config"]["algo"]["name"]: r for r in records.read_sound(row, "reference") if r["row"] == row}
    return sorted(newest.values(), key=lambda reference: not records.of_own_algorithm(reference))


def _overrides(reference: dict[str, Any]) -> list[str]:
    return [o for o in reference["overrides"] if not o.startswith(SEEDS)]


def _judge(row: str, reference: dict[str, Any]) -> dict[str, Any]:
    started, old, seen = time.perf_counter(), mode_scores(reference), []
    overrides = _overrides(reference)
    tolerance = (published.row(row).bound.delta or 1e-6) / 10  # a smaller loss is fine however sure it is
    _check_alike(row, reference, overrides)
    passed = False
    for first_seed, n in BATCHES:
        record, _ = _run(row, first_seed, n, overrides)
        new = mode_scores(record)
        results = {mode: judge.gate(old[mode], new[mode], tolerance) for mode in old}
        seen.append(", ".join(f"{m} {fmean(new[m]):.5g} (reference {fmean(old[m]):.5g})" for m in old))
        if passed := all(fine for fine, _ in results.values()):
            break
    took = round(time.perf_counter() - started, 2)
    return {
        "row": row,
        "algo": reference["config"]["algo"]["name"],
        "passed": passed,
        "batches": seen,
        "time": {"wall_s": took},
    }


def _check_alike(row: str, reference: dict[str, Any], overrides: Sequence[str]) -> None:
    """Raises ReproduceError where the row or the chosen settings are not what the reference ran with."""
    settings = compose(row, overrides)
    apart = differences(reference["config"], settings.values)
    apart = [d for d in apart if not f"{d['key']}=".startswith(SEEDS)]
    if settings.row_fingerprint != reference["row_fingerprint"] or apart:
        which = f" ({apart[0]['key']} was {apart[0]['used']}, today it is {apart[0]['row']})" if apart else ""
        raise ReproduceError(
            f"row {row} has other settings than its reference of {reference['created']}{which}: "
            f"`reproduce record {' '.join([row, *overrides])}` in a commit that says why moves it."
        )
