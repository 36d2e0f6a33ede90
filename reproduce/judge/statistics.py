"""The statistics of verdicts: spreads, half widths of intervals, numbers of seeds, and t tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev, variance
from typing import Any, Literal

from data.common.errors import ReproduceError
from reproduce.judge.bound import Bound

MINIMUM_SEEDS = 5
ASSUMED_PAPER_SEEDS = 3
SEED_SEARCH_LIMIT = 10_000


@dataclass(frozen=True)
class Spread:
    """Everything that decides the half width of the interval, for any number of our seeds."""

    s: float
    s_p: float | None
    n_p: int | None
    rounding: float

    def half_width(self, n: int) -> float:
        """t_{0.95} times the standard error; n_p None means that only our own spread counts."""
        return float(self._half_widths(n))

    def _half_widths(self, n: Any) -> Any:
        """Half widths for one number of seeds, or for an array of them."""
        from numpy import sqrt
        from scipy.special import stdtrit

        if self.n_p is None or self.s_p is None:
            return stdtrit(n - 1, 0.95) * self.s / sqrt(n)
        freedom = n + self.n_p - 2
        pooled = ((n - 1) * self.s**2 + (self.n_p - 1) * self.s_p**2) / freedom
        error = sqrt(pooled * (1 / n + 1 / self.n_p) + self.rounding**2 / 3)
        return stdtrit(freedom, 0.95) * error

    def seeds_for(self, half_width: float, n: int) -> int | Literal["impossible"]:
        """Smallest number of seeds above n whose half width is at most the one asked for.

        "impossible" where the paper's few seeds (s^2/n_p stays as 1/n vanishes) or its rounding alone are wider.
        """
        from numpy import arange

        numbers = arange(n + 1, SEED_SEARCH_LIMIT + 1)
        enough = numbers[self._half_widths(numbers) <= half_width]
        return int(enough[0]) if len(enough) else "impossible"


def finite(scores: Sequence[float], what: str) -> list[float]:
    values = [float(score) for score in scores]
    bad = [k for k, value in enumerate(values) if not math.isfinite(value)]
    if bad:
        raise ReproduceError(f"{what}: seed(s) {bad} scored NaN or infinity. A crashed seed counts as minimum_score.")
    return values


def spread_of(s: float, bound: Bound, by_optimum: bool, reasons: list[str]) -> tuple[Spread, bool]:
    """Both spreads as sample standard deviations, what was assumed about the paper's added to `reasons`."""
    if by_optimum:
        return Spread(s, None, None, 0.0), False
    if bound.std is None:
        reasons.append("the paper prints no spread: the interval holds our seeds' spread only")
        return Spread(s, None, None, 0.0), False
    assumed = bound.n is None
    n_p = ASSUMED_PAPER_SEEDS if bound.n is None else bound.n
    if assumed:
        reasons.append(f"the paper's number of seeds is unknown: {ASSUMED_PAPER_SEEDS} assumed")
    s_p = bound.std
    if n_p > 1 and bound.std_kind != "sample":
        s_p *= math.sqrt(n_p / (n_p - 1))
        if bound.std_kind == "unknown":
            reasons.append("the paper's kind of standard deviation is unknown: taken as population (the wider reading)")
    return Spread(s, s_p, n_p, 0.0 if bound.decimals is None else 0.5 * 10.0**-bound.decimals), assumed


def distance_to_margin(difference: float, delta: float, by_optimum: bool) -> float:
    """From our mean to the margin: an interval that is not wider on either side is conclusive."""
    return abs(delta + difference if by_optimum else delta - abs(difference))


def seeds_for_verdict(bound: Bound, scores: Sequence[float] = ()) -> tuple[int | Literal["impossible"] | None, str]:
    """(seeds in all that a conclusive verdict takes, what that rests on); None = unknown.

    Two or more `scores` give our spread and mean; without them ours are taken to be the paper's.
    """
    by_optimum = bound.mean is None
    theirs = bound.optimum if by_optimum else bound.mean
    if theirs is None or bound.delta is None:
        return None, "the paper's number is unknown" if theirs is None else "the margin (delta) is unknown"
    if len(scores) > 1:
        s, difference, basis = stdev(scores), fmean(scores) - theirs, f"the spread of {len(scores)} recorded seeds"
    elif bound.std is not None and not by_optimum:
        s, difference, basis = None, 0.0, "the paper's spread and mean, were ours the same"
    else:
        return None, "no spread is known: nothing is recorded and the paper prints none"
    assumed: list[str] = []
    spread, _ = spread_of(s or 0.0, bound, by_optimum, assumed)
    spread = replace(spread, s=spread.s_p or 0.0) if s is None else spread
    needed = spread.seeds_for(distance_to_margin(difference, bound.delta, by_optimum), MINIMUM_SEEDS - 1)
    basis += " with the paper's n_p" if needed == "impossible" and spread.n_p is not None else ""
    return needed, "; ".join([basis, *assumed])


def gate(reference: Sequence[float], new: Sequence[float], tolerance: float = 1e-6) -> tuple[bool, float]:
    """Did this commit hurt? One-sided pooled t test at 0.5 % that `new` is not worse: (True = fine, p value).

    A loss of at most `tolerance` in the mean is always fine, so that deterministic tasks (no spread on either side)
    are judged by the tolerance alone. Raises ReproduceError for fewer than 2 scores a side, NaN or infinity.
    """
    old, fresh = finite(reference, "reference"), finite(new, "new scores")
    if min(len(old), len(fresh)) < 2:
        raise ReproduceError(f"the gate needs at least 2 scores a side, got {len(old)} and {len(fresh)}.")
    gain = fmean(fresh) - fmean(old)
    if stdev(old) == stdev(fresh) == 0:
        return gain >= -tolerance, float(gain >= -tolerance)
    from scipy.stats import ttest_ind_from_stats

    sides = (fmean(fresh), stdev(fresh), len(fresh), fmean(old), stdev(old), len(old))
    p = float(ttest_ind_from_stats(*sides, alternative="less").pvalue)  # type: ignore[attr-defined]
    return gain >= -tolerance or p >= 0.005, p


def welch_bounds(left: Sequence[float], right: Sequence[float]) -> tuple[float, float]:
    """One-sided 95 % bounds of mean(left) - mean(right); a single right value is a constant.

    scipy's own interval computes the moments in floating point, warns of scores without spread, and is off by 1e-7
    where the spread is a billionth of the scores. Raises ReproduceError for fewer than 2 left or no right scores.
    """
    if len(left) < 2 or not right:
        raise ReproduceError(
            f"bounds of a difference need at least 2 scores on the left and 1 on the right, got {len(left)} and "
            f"{len(right)}."
        )
    from scipy.special import stdtrit

    difference = fmean(left) - fmean(right)
    errors = [(variance(side) / len(side), len(side) - 1) for side in (left, right) if len(side) > 1]
    squared = sum(error for error, _ in errors)
    if squared == 0:
        return difference, difference
    freedom = squared**2 / sum(error**2 / degrees for error, degrees in errors)
    half = float(stdtrit(freedom, 0.95)) * math.sqrt(squared)
    return difference - half, difference + half
