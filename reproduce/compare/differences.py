"""Differences between arms, with intervals.

Arms are not paired by seed: two algorithms with one seed share no draw that would make their scores vary together. So
each difference has Welch's interval, and where several arms are held against the first, Bonferroni's correction keeps
the error of all of them together at the level of one.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from data.common.errors import ReproduceError
from reproduce.judge import welch_bounds

LEVEL = 0.95  # one-sided, hence intervals of 90 %
METHOD = (
    "Welch's 90 % intervals over seeds, not paired: two arms with one seed share no draws. An arm is better or worse "
    "than the first where its interval, widened by Bonferroni for the {judged} differences to the first, excludes 0."
)
ONE = (
    "Welch's 90 % interval over seeds, not paired: two arms with one seed share no draws. An arm is better or worse "
    "than the first where the interval excludes 0."
)


def method(judged: int) -> str:
    """The statistics in words."""
    return ONE if judged == 1 else METHOD.format(judged=judged)


def compared(scores: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Every pair's difference, later minus earlier arm; those to the first arm are judged.

    `scores` are per seed by arm, the first being what the others are held against.
    """
    first, *others = scores
    found = []
    for arm in others:
        left, right = _both(scores, arm, first)
        low, high = welch_bounds(left, right)
        widened = welch_bounds(left, right, 1 - (1 - LEVEL) / len(others))
        found.append(_pair(arm, first, left, right, (low, high), widened))
    for earlier, later in combinations(others, 2):
        left, right = _both(scores, later, earlier)
        found.append(_pair(later, earlier, left, right, welch_bounds(left, right), None))
    return found


def _both(scores: Mapping[str, Sequence[float]], arm: str, other: str) -> tuple[Sequence[float], Sequence[float]]:
    if thin := next((name for name in (arm, other) if len(scores[name]) < 2), None):
        raise ReproduceError(f"arm {thin!r} has {len(scores[thin])} scores; an interval needs 2 seeds or more.")
    return scores[arm], scores[other]


def _pair(
    arm: str,
    against: str,
    left: Sequence[float],
    right: Sequence[float],
    plain: tuple[float, float],
    widened: tuple[float, float] | None,
) -> dict[str, Any]:
    # Equal scores must not be decided by the last bit of a mean.
    slack = 1e-12 * (max(map(abs, left)) + max(map(abs, right)))
    found = None
    if widened is not None:
        found = "better" if widened[0] > slack else "worse" if widened[1] < -slack else "undecided"
    return {
        "arm": arm,
        "against": against,
        "difference": fmean(left) - fmean(right),
        "low": plain[0],
        "high": plain[1],
        "widened_low": widened[0] if widened else None,
        "widened_high": widened[1] if widened else None,
        "found": found,
    }
