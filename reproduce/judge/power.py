"""The power of a verdict: how often it would be REPRODUCED, were the true means equal, and which loss it would tell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any, Literal

from reproduce.judge.bound import Bound
from reproduce.judge.statistics import MINIMUM_SEEDS, SEED_SEARCH_LIMIT, Spread, distance_to_margin, spread_of

TOLD = 0.8  # the probability with which a loss counts as told
QUANTILES = 32  # of each sample variance, over which probabilities are averaged


@dataclass(frozen=True)
class Power:
    """`reproduced`: probability of REPRODUCED, were the true means equal. `told`: the smallest true loss, in units of
    the score, of which BELOW is said with probability 0.8."""

    reproduced: float
    told: float


def power_of(spread: Spread, n: int, delta: float, by_optimum: bool = False) -> Power:
    """The power of `n` seeds of ours, were the true spreads over seeds those of `spread`.

    The difference of means is taken as normal with the error of both, each sample variance as chi-squared; the half
    width follows from the two as the verdict's does. By the optimum only losses count.
    """
    from numpy import arange, maximum, meshgrid
    from scipy.special import chdtri, ndtr

    def drawn(s: float, size: int, quantiles: int) -> Any:
        """Sample variances of `size` seeds."""
        return s**2 * chdtri(size - 1, (arange(quantiles) + 0.5) / quantiles) / (size - 1)

    if spread.n_p is None or spread.s_p is None or spread.n_p == 1:
        theirs, error = None if spread.s_p is None else spread.s_p**2, spread.s**2 / n
        error *= 1 if spread.n_p is None else 1 + n  # one seed of theirs, whose spread is taken to be ours
        halves = spread.half_width_of(drawn(spread.s, n, QUANTILES**2), theirs, n)
    else:
        error = spread.s**2 / n + spread.s_p**2 / spread.n_p
        ours, theirs = meshgrid(drawn(spread.s, n, QUANTILES), drawn(spread.s_p, spread.n_p, QUANTILES))
        halves = spread.half_width_of(ours, theirs, n)
    error = math.sqrt(error + spread.rounding**2 / 3)
    if error <= 1e-12 * delta:
        return Power(1.0, delta)
    within = ndtr((delta - halves) / error)
    reproduced = within if by_optimum else maximum(0.0, 2 * within - 1)

    low, high = 0.0, delta + float(halves.max()) + 10 * error
    for _ in range(40):  # halves the range of the loss that is told
        middle = (low + high) / 2
        is_told = float(ndtr((middle - delta - halves) / error).mean()) >= TOLD
        low, high = (low, middle) if is_told else (middle, high)
    return Power(float(reproduced.mean()), high)


def foresee(bound: Bound, n: int, scores: Sequence[float] = (), readings: int = 1) -> Power | None:
    """The power of a verdict from `n` seeds; None where no margin or no spread is known.

    Two or more `scores` give our spread; without them it is taken to be the paper's. `readings`: as for `judge`.
    """
    spread = _expected_spread(bound, scores, readings)
    if spread is None or bound.delta is None or n < 2:
        return None
    return power_of(spread, n, bound.delta, by_optimum=bound.mean is None)


def why_never(bound: Bound, scores: Sequence[float] = (), readings: int = 1) -> str:
    """Why no number of our seeds could give REPRODUCED; empty where one could, or where it is not known.

    A difference that is large enough is told nevertheless. Two or more `scores` give our spread; without them it is
    taken to be the paper's. `readings`: as for `judge`.
    """
    if bound.mean is None and bound.optimum is None:
        return "the paper's number is unknown"
    if bound.delta is None:
        return "the margin (delta) is unknown"
    spread = _expected_spread(bound, scores, readings)
    if spread is None or spread.seeds_for(bound.delta, MINIMUM_SEEDS - 1) != "impossible":
        return ""
    return narrowest(spread, bound, bound.delta)


def narrowest(spread: Spread, bound: Bound, left: float, n: int = MINIMUM_SEEDS - 1) -> str:
    """Which facts of the paper keep the interval wide, however many seeds above `n` we run. `left`: the half width that
    would do."""
    if spread.n_p is None:
        return f"the interval takes more than {SEED_SEARCH_LIMIT:,} seeds to narrow to ±{left:.3g}"
    half, parts = spread.narrowest(n), []
    assumed = " (assumed)" if bound.n is None else ""
    if spread.n_p == 1:
        parts.append("their mean is that of one seed")
    elif spread.s_p:
        parts.append(
            f"the spread of their {spread.n_p}{assumed} seeds, {spread.s_p:.4g}, leaves their mean a standard error of "
            f"{spread.s_p / math.sqrt(spread.n_p):.3g}"
        )
    if spread.rounding > 0.05 * left:
        parts.append(f"their mean is printed with {bound.decimals} decimals and may be {spread.rounding:g} off")
    why = f" ({'; '.join(parts)})" if parts else ""
    above = "" if n < MINIMUM_SEEDS else f" above {n}"
    return f"no number of seeds{above} narrows the interval to ±{left:.3g}, it stays at ±{half:.3g} or more{why}"


def _expected_spread(bound: Bound, scores: Sequence[float], readings: int = 1) -> Spread | None:
    """Both spreads before or after a run; None where neither ours nor the paper's is known."""
    by_optimum = bound.mean is None
    if len(scores) > 1:
        return spread_of(stdev(scores), bound, by_optimum, [], readings)[0]
    if by_optimum or bound.std is None:
        return None
    spread, _ = spread_of(0.0, bound, by_optimum, [], readings)
    return replace(spread, s=spread.s_p or 0.0)


def seeds_for_verdict(
    bound: Bound, scores: Sequence[float] = (), readings: int = 1
) -> tuple[int | Literal["impossible"] | None, str]:
    """(seeds in all that a conclusive verdict takes, what that rests on); None = unknown.

    Two or more `scores` give our spread and mean; without them ours are taken to be the paper's. Where so many scores
    are not conclusive, more are named. `readings`: as for `judge`.
    """
    by_optimum = bound.mean is None
    theirs = bound.optimum if by_optimum else bound.mean
    if theirs is None or bound.delta is None:
        return None, "the paper's number is unknown" if theirs is None else "the margin (delta) is unknown"
    spread = _expected_spread(bound, scores, readings)
    if spread is None:
        return None, "no spread is known: nothing is recorded and the paper prints none"
    if len(scores) > 1:
        difference, basis = fmean(scores) - theirs, f"the spread of {len(scores)} recorded seeds"
    else:
        difference, basis = 0.0, "the paper's spread and mean, were ours the same"
    assumed: list[str] = []
    spread_of(spread.s, bound, by_optimum, assumed)
    left, n = distance_to_margin(difference, bound.delta, by_optimum), len(scores)
    passed = n if n >= MINIMUM_SEEDS and spread.half_width(n) > left else MINIMUM_SEEDS - 1
    needed = spread.seeds_for(left, passed)
    basis += " with the paper's n_p" if needed == "impossible" and spread.n_p is not None else ""
    return needed, "; ".join([basis, *assumed])
