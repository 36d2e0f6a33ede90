"""The parts of a comparison's record."""

from typing import Any, Literal

from data.common.errors import ReproduceError
from data.common.validation import Count, Model
from reproduce.records.parts import Json, Part


class Arm(Part):
    """One arm: what it set beside the common overrides, its record's file below records/, and its scores."""

    overrides: list[str]
    record: str
    reused: bool
    config_fingerprint: str
    algo: str
    mode: Literal["greedy", "sampled"]
    n_updates: Count
    per_seed: list[float]
    crashed: list[Json]


class ArmDifference(Model):
    """The mean of `arm` minus that of `against`. [low, high] is the plain 90 % interval, [widened_low, widened_high]
    the one that `found` rests on; found is null where the pair is not judged."""

    arm: str
    against: str
    difference: float
    low: float
    high: float
    widened_low: float | None
    widened_high: float | None
    found: Literal["better", "worse", "undecided"] | None


def check_arms(record: dict[str, Any], what: str) -> None:
    """Each arm has one score per seed, and differences are between arms."""
    arms = record["arms"]
    if record["row"] != f"comparisons/{record['of']}" or record["reference"] not in arms:
        raise ReproduceError(f"{what}: `of` must be the row of {record['row']}, and `reference` one of its arms.")
    for name, arm in arms.items():
        if len(arm["per_seed"]) != len(record["seeds"]):
            raise ReproduceError(f"{what}: arms.{name}.per_seed must hold one score for each of {record['seeds']}.")
    for pair in record["differences"]:
        if strange := {pair["arm"], pair["against"]} - set(arms):
            raise ReproduceError(f"{what}: a difference names {min(strange)}, which is no arm of it.")
        if (pair["found"] is None) != (pair["widened_low"] is None) or (pair["low"] > pair["high"]):
            raise ReproduceError(f"{what}: the interval of {pair['arm']} against {pair['against']} does not fit it.")
