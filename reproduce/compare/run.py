"""A comparison from arms to record: what is recorded is used, the rest runs, and all read the same data."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.catalog import store
from data.common.errors import ReproduceError
from data.common.paths import records_dir
from data.common.provenance import provenance
from lit_modules import algorithm
from reproduce import published, records
from reproduce.compare.arms import Arm
from reproduce.compare.differences import compared, method
from reproduce.config import Settings
from reproduce.core import console
from reproduce.experiment.build import build_evaluator, build_module, open_device
from reproduce.experiment.run import run_row

Run = Callable[[Sequence[Settings]], None]


def run_here(missing: Sequence[Settings]) -> None:
    """Run arms one after another in this process. Raises ReproduceError at the first that leaves no record."""
    for number, settings in enumerate(missing, 1):
        name = f"{settings.row} {settings.algo.name} {' '.join(settings.overrides)}".strip()
        with console.row(name, number, len(missing), "arm"):
            try:
                run_row(settings)
            except ReproduceError:
                if records.recorded(settings) is None:  # with all seeds diverged there is a record, of minimum scores
                    raise


def compare(arms: Sequence[Arm], settings: Sequence[Settings], common: Sequence[str], run: Run) -> dict[str, Any]:
    """The record of kind "comparison", written. `run` runs the arms that have no record and records them.

    Raises ReproduceError for arms that cannot run in the row's world, before any does, and for arms without a record.
    """
    started = time.perf_counter()
    found = [_recorded(one) for one in settings]
    reused = [True] * len(arms)
    if not _agree(found):
        _check(arms, settings, found)
        facts = _data(settings[0])
        found = [_recorded(one, facts) for one in settings]
        reused = [record is not None for record in found]
        run([one for one, record in zip(settings, found, strict=True) if record is None])
        found = [_recorded(one, facts) for one in settings]
    left_out = [arm.label for arm, record in zip(arms, found, strict=True) if record is None]
    if left_out:
        raise ReproduceError(f"no record of the arm {left_out[0]!r} on these data; the same command runs it again.")
    if not _agree(found):
        raise ReproduceError(
            "some arms are recorded in another world than the others (`environment` of their records): other "
            "versions of the simulator do not compare. protocol.first_seed=K runs all arms anew."
        )
    return _write(arms, settings[0], common, found, reused, time.perf_counter() - started)  # type: ignore[arg-type]


def _recorded(settings: Settings, data: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The arm's record in the metric by which its row is judged today."""
    record = records.recorded(settings, data)
    judged_by = published.row(settings.row).metric
    return record if record is not None and record["scores"]["metric"] == judged_by else None


def _agree(found: Sequence[dict[str, Any] | None]) -> bool:
    """Whether every arm is recorded, on one dataset and in one world."""
    first = found[0]
    return first is not None and all(
        record is not None
        and records.same_data(record["data"], first["data"])
        and record["environment"]["fingerprint"] == first["environment"]["fingerprint"]
        for record in found
    )


def _check(arms: Sequence[Arm], settings: Sequence[Settings], found: Sequence[dict[str, Any] | None]) -> None:
    """Whether the algorithms fit the row's world and mode, asked before the first of them trains."""
    for arm, one, record in zip(arms, settings, found, strict=True):
        if record is not None:
            continue
        try:
            device, _ = open_device(one)
            modes = algorithm(one.algo.name)[0].modes
            if one.data.kind == "regenerated" and one.protocol.mode in modes:  # official data may bring parts of it
                build_module(one, build_evaluator(one, device, {}).world)
            elif one.protocol.mode not in modes:
                raise ReproduceError(f"protocol.mode={one.protocol.mode}: {one.algo.name} acts {modes} only.")
        except ReproduceError as error:
            raise ReproduceError(f"arm {arm.label!r}: {error}") from error


def _data(settings: Settings) -> dict[str, Any]:
    """Facts of the dataset, which is built where it is not there."""
    data = settings.data
    with console.bar(f"data {data.id}", 1, "steps") as bar:
        return records.data_facts(store.get(data.id, data.kind, data.root, bar.update, data.seed).manifest)


def _write(
    arms: Sequence[Arm],
    first: Settings,
    common: Sequence[str],
    found: Sequence[dict[str, Any]],
    reused: Sequence[bool],
    seconds: float,
) -> dict[str, Any]:
    for arm, one in zip(arms, found, strict=True):
        if lost := records.why_no_verdict(one["seeds"], one["scores"]["per_seed"]):
            raise ReproduceError(f"{arm.label}: {lost[0]}; nothing is compared. Lower algo.lr or look at the data.")
    differences = compared({a.label: r["scores"]["per_seed"] for a, r in zip(arms, found, strict=True)})
    judged = len(arms) - 1
    record = {
        "kind": "comparison",
        "row": f"comparisons/{first.row}",
        "of": first.row,
        "provenance": provenance(first.run.device, first.run.threads or None),
        "overrides": list(common),
        "metric": published.row(first.row).metric,
        "data": found[0]["data"],
        "seeds": first.protocol.seeds,
        "arms": {
            arm.label: {
                "overrides": list(arm.overrides),
                "record": Path(one["file"]).relative_to(records_dir()).as_posix(),
                "reused": was,
                "config_fingerprint": one["config_fingerprint"],
                "algo": one["config"]["algo"]["name"],
                "mode": one["scores"]["mode"],
                "n_updates": one["n_updates"],
                "per_seed": one["scores"]["per_seed"],
                "crashed": one["crashed"],
            }
            for arm, one, was in zip(arms, found, reused, strict=True)
        },
        "reference": arms[0].label,
        "judged": judged,
        "method": method(judged),
        "differences": differences,
        "time": {"wall_s": round(seconds, 2)},
    }
    return record | {"file": str(records.write(record))}
