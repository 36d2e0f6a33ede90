"""The statistics of verdicts: spreads, half widths of intervals, numbers of seeds, and t tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev, variance
from typing import Any, Literal

from data.common.errors import ReproduceError
from reproduce.judge.bound import Bound

MINIMUM_SEEDS = 5
ASSUMED_PAPER_SEEDS = 3
SEED_SEARCH_LIMIT = 10_000


@dataclass(frozen=True)
class Spread:
    """Everything that decides the half width of the interval, for any number of our seeds.

    `readings`: how many readings of a row are judged; the tail of each side is 5 % divided by it (Bonferroni).
    """

    s: float
    s_p: float | None
    n_p: int | None
    rounding: float
    readings: int = 1

    def half_width(self, n: Any) -> Any:
        """t_{1 - 0.05 / readings} times the standard error; n_p None means that only our own spread counts."""
        return self.half_width_of(self.s**2, None if self.s_p is None else self.s_p**2, n)

    def half_width_of(self, ours: Any, theirs: Any, n: Any) -> Any:
        """The half width that n seeds with these sample variances would have, in place of the spread's own."""
        from numpy import sqrt
        from scipy.special import stdtrit

        squared, freedom = self._squared_error(ours, theirs, n)
        return stdtrit(freedom, 1 - 0.05 / self.readings) * sqrt(squared + self.rounding**2 / 3)

    def _squared_error(self, ours: Any, theirs: Any, n: Any) -> tuple[Any, Any]:
        """(squared standard error of the difference of means but for rounding, its degrees of freedom) at n seeds, from
        both sample variances.

        Both sides share a pooled variance up to the paper's number of seeds, or up to five. Were it pooled beyond, our
        many seeds would vouch for the spread of the paper's few; there each mean has the error of its own spread
        (Welch 1947).
        """
        from numpy import where

        if self.n_p is None or theirs is None:
            return ours / n, n - 1
        squares, freedom = (n - 1) * ours + (self.n_p - 1) * theirs, n + self.n_p - 2
        pooled = squares / freedom * (1 / n + 1 / self.n_p)
        if self.n_p == 1 or self.s == self.s_p == 0:
            return pooled, freedom
        a, b = ours / n, theirs / self.n_p
        apart = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (self.n_p - 1))
        more = n > max(self.n_p, MINIMUM_SEEDS)
        return where(more, a + b, pooled), where(more, apart, freedom)

    def seeds_for(self, half_width: float, n: int) -> int | Literal["impossible"]:
        """Smallest number of seeds above n whose half width is at most the one asked for.

        "impossible" where the paper's few seeds (s_p^2/n_p stays as 1/n vanishes) or its rounding alone are wider, and
        where SEED_SEARCH_LIMIT seeds are too few.
        """
        from numpy import arange

        numbers, halves = _half_widths(self)
        first = int(((halves <= half_width) & (numbers > n)).argmax())
        if halves[first] > half_width or numbers[first] <= n:
            return "impossible"
        between = arange(max(n, numbers[first - 1] if first else 0) + 1, numbers[first] + 1)
        return int(between[self.half_width(between) <= half_width][0])

    def narrowest(self, above: int = MINIMUM_SEEDS - 1) -> float:
        """The half width that no number of our seeds `above` that goes below; of the next one beyond the search."""
        numbers, halves = _half_widths(self)
        return float(halves[numbers > above].min(initial=self.half_width(max(numbers[-1], above + 1))))


@lru_cache(maxsize=256)
def _half_widths(spread: Spread) -> tuple[Any, Any]:
    """(numbers of seeds, the half width of each): all to a hundred and around the narrowest, then every fiftieth part
    more. They fall to the narrowest and rise little from there, as the freedom falls to the paper's."""
    from numpy import arange, geomspace, union1d

    numbers = union1d(arange(MINIMUM_SEEDS, 101), geomspace(100, SEED_SEARCH_LIMIT, 234).astype(int))
    at = int(spread.half_width(numbers).argmin())
    near = arange(numbers[max(at - 1, 0)], numbers[min(at + 1, len(numbers) - 1)] + 1)
    numbers = union1d(numbers, near)
    return numbers, spread.half_width(numbers)


def finite(scores: Sequence[float], what: str) -> list[float]:
    values = [float(score) for score in scores]
    bad = [k for k, value in enumerate(values) if not math.isfinite(value)]
    if bad:
        raise ReproduceError(f"{what}: seed(s) {bad} scored NaN or infinity. A crashed seed counts as minimum_score.")
    return values


def spread_of(s: float, bound: Bound, by_optimum: bool, reasons: list[str], readings: int = 1) -> tuple[Spread, bool]:
    """Both spreads as sample standard deviations, what was assumed about the paper's added to `reasons`."""
    if by_optimum:
        return Spread(s, None, None, 0.0, readings), False
    if bound.std is None:
        reasons.append("the paper prints no spread: the interval holds our seeds' spread only")
        return Spread(s, None, None, 0.0, readings), False
    assumed = bound.n is None
    n_p = ASSUMED_PAPER_SEEDS if bound.n is None else bound.n
    if assumed:
        reasons.append(f"the paper's number of seeds is unknown: {ASSUMED_PAPER_SEEDS} assumed")
    s_p = bound.std
    if bound.std_kind == "standard_error":
        s_p *= math.sqrt(n_p)
    elif n_p > 1 and bound.std_kind != "sample":
        s_p *= math.sqrt(n_p / (n_p - 1))
        if bound.std_kind == "unknown":
            reasons.append(
                "the paper's kind of standard deviation is unknown: taken as population (wider than sample; a standard "
                "error would be wider still)"
            )
    rounding = 0.0 if bound.decimals is None else 0.5 * 10.0**-bound.decimals
    return Spread(s, s_p, n_p, rounding, readings), assumed


def distance_to_margin(difference: float, delta: float, by_optimum: bool) -> float:
    """From our mean to the margin: an interval that is not wider on either side is conclusive."""
    return abs(delta + difference if by_optimum else delta - abs(difference))


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


def welch_bounds(left: Sequence[float], right: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """One-sided bounds at `level` of mean(left) - mean(right); a single right value is a constant.

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
    half = float(stdtrit(freedom, level)) * math.sqrt(squared)
    return difference - half, difference + half
