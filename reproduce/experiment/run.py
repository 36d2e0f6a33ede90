"""One row from settings to record: build, train, evaluate, score, compare, judge, record."""

import time
from typing import Any

from data.common.errors import ReproduceError
from reproduce import records
from reproduce.config import Settings, number_of_readings
from reproduce.core import console, ending
from reproduce.experiment import checkpoint
from reproduce.experiment.before import before_training
from reproduce.experiment.build import Experiment, build
from reproduce.experiment.comparability import why_not_comparable
from reproduce.experiment.record import as_record
from reproduce.experiment.scoring import score
from reproduce.experiment.train import train
from reproduce.judge import judge


def run_row(settings: Settings, write: bool = True) -> dict[str, Any]:
    """Train, evaluate and judge one row; its record, written under records/ when `write`.

    Raises ReproduceError for bad settings or data, and when every seed diverged (after the record was written).
    """
    started = time.perf_counter()
    experiment = build(settings)
    with experiment.lock():
        if write and (known := _recorded(experiment)):
            return known
        for reason in before_training(experiment, write):
            console.note(f"{settings.row}: {reason}")
        training = train(experiment)
        played = experiment.evaluator.play(experiment.module)
        scores = score(experiment, training, played)
        ours = records.healthy(scores.per_seed)
        verdict = judge(
            ours,
            experiment.row.bound,
            not_comparable=[
                *why_not_comparable(settings, experiment.world_fingerprint, experiment.manifest),
                *records.why_no_verdict(settings.protocol.seeds, scores.per_seed),
            ],
            data_kind=settings.data.kind,
            behavior_cloning=ours if settings.algo.name in records.CLONING else scores.behavior_cloning,
            readings=number_of_readings(settings.row, settings.overrides),
        )
        seconds = training.earlier_seconds + time.perf_counter() - started
        record = as_record(experiment, training, played, scores, verdict, seconds)
        if write:
            record["file"] = str(records.write(record))
        experiment.discard_checkpoint()  # only now is nothing lost by it
        ending.keeps(f"{settings.row} is recorded" if write else "")
    _tell_of_crashes(experiment, record)
    return record


def _recorded(experiment: Experiment) -> dict[str, Any] | None:
    """The record of the run whose checkpoint is still there, None without one: a kill may fall between the two."""
    if not experiment.checkpoint.exists():
        return None
    run = checkpoint.read(experiment.checkpoint, experiment.identity)[checkpoint.RUN]
    row = experiment.settings.row
    for record in reversed(records.read_sound(row, "row")):
        if record.get("run", {}).get("id") == run["id"]:
            console.note(f"{row}: this run is recorded already, in {record['file']}")
            experiment.discard_checkpoint()
            return record
    return None


def _tell_of_crashes(experiment: Experiment, record: dict[str, Any]) -> None:
    """Notes for people. Raises ReproduceError when no seed is left."""
    crashed, minimum = record["crashed"], experiment.row.bound.minimum_score
    counts = "the row gets no verdict" if minimum is None else f"it counts as the minimum score {minimum}"
    for crash in crashed:
        console.note(
            f"seed {crash['seed']} diverged: {crash['quantity']} was not finite at update {crash['n_updates']}; "
            f"{counts}"
        )
    if len(crashed) == len(record["seeds"]):
        raise ReproduceError(
            f"row {record['row']} diverged in every seed, first {crashed[0]['quantity']} at update "
            f"{crashed[0]['n_updates']}; the record is {record.get('file', 'not written')}. "
            "Lower algo.lr or look at the data."
        )
