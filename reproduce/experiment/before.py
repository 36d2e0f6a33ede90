"""Facts that are known before the first update, said before it."""

import tempfile
from pathlib import Path

from data.common.errors import ReproduceError
from data.common.paths import records_dir
from reproduce import judge, records
from reproduce.config import number_of_readings
from reproduce.experiment.build import Experiment
from reproduce.experiment.comparability import why_not_comparable


def before_training(experiment: Experiment, write: bool = True) -> list[str]:
    """Why the run that starts now may end without a verdict, one sentence each. `write`: it will be recorded.

    Raises ReproduceError where its record could not be written.
    """
    settings, bound = experiment.settings, experiment.row.bound
    if write:
        must_be_writable(records_dir() / settings.row)
        records.read_sound(settings.row)  # broken records are named now, not when the run has ended
    said = why_not_comparable(settings, experiment.world_fingerprint, experiment.manifest)
    if settings.protocol.n_seeds < judge.MINIMUM_SEEDS:
        said.append(f"a verdict needs {judge.MINIMUM_SEEDS} seeds, this run has {settings.protocol.n_seeds}")
    if said:
        return [f"it will be NOT COMPARABLE: {reason}" for reason in said]
    if never := judge.why_never(bound, readings=number_of_readings(settings.row, settings.overrides)):
        missing = f": {experiment.row.missing}" if bound.delta is None and experiment.row.missing else ""
        said.append(f"it can never be REPRODUCED: {never}{missing}")
    if bound.minimum_score is None:
        said.append("if a seed diverges there is no verdict: paper_results has no minimum_score for it")
    return said


def must_be_writable(folder: Path) -> None:
    """Raises ReproduceError where no file can be made in the folder, or in the parent that is to hold it."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ReproduceError(
            f"records cannot be written to {folder}: {error.strerror or error} ({there}). Make the folder writable, or "
            "name another by REPRODUCE_RECORDS. Nothing was trained."
        ) from error
