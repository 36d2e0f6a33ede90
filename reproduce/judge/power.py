"""The power of a verdict: how often it would be REPRODUCED, were the true means equal, and which loss it would tell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from reproduce.judge.bound import Bound
from reproduce.judge.statistics import MINIMUM_SEEDS, SEED_SEARCH_LIMIT, Spread, distance_to_margin, spread_of

TOLD = 0.8  # the probability with which a loss counts as told
QUANTILES = 400  # of the sample variance, over which probabilities are averaged


@dataclass(frozen=True)
class Power:
    """`reproduced`: probability of REPRODUCED, were the true means equal. `told`: the smallest true loss, in units of
    the score, of which BELOW is said with probability 0.8."""

    reproduced: float
    told: float


def power_of(spread: Spread, n: int, delta: float, by_optimum: bool = False) -> Power:
    """The power of `n` seeds of ours, were the true spreads over seeds those of `spread`.

    The difference of means is taken as normal, its squared error as chi-squared. By the optimum only losses count.
    """
    from numpy import arange, maximum, sqrt
    from scipy.special import chdtri, ndtr, stdtrit

    (squared, freedom), rounding = spread.squared_error(n), spread.rounding**2 / 3
    error = math.sqrt(squared + rounding)
    if error <= 1e-12 * delta:
        return Power(1.0, delta)
    drawn = squared * chdtri(freedom, (arange(QUANTILES) + 0.5) / QUANTILES) / freedom
    halves = stdtrit(freedom, 1 - 0.05 / spread.readings) * sqrt(drawn + rounding)
    within = ndtr((delta - halves) / error)
    reproduced = within if by_optimum else maximum(0.0, 2 * within - 1)

    low, high = 0.0, delta + float(halves.max()) + 10 * error
    for _ in range(40):  # halves the range of the loss that is told
        middle = (low + high) / 2
        is_told = float(ndtr((middle - delta - halves) / error).mean()) >= TOLD
        low, high = (low, middle) if is_told else (middle, high)
    return Power(float(reproduced.mean()), high)


def foresee(bound: Bound, n: int, scores: Sequence[float] = ()) -> Power | None:
    """The power of a verdict from `n` seeds; None where no margin or no spread is known.

    Two or more `scores` give our spread; without them it is taken to be the paper's.
    """
    spread = _expected_spread(bound, scores)
    if spread is None or bound.delta is None or n < 2:
        return None
    return power_of(spread, n, bound.delta, by_optimum=bound.mean is None)


def why_never(bound: Bound, scores: Sequence[float] = ()) -> str:
    """Why no number of our seeds could give REPRODUCED; empty where one could, or where it is not known.

    A difference that is large enough is told nevertheless. Two or more `scores` give our spread; without them it is
    taken to be the paper's.
    """
    if bound.mean is None and bound.optimum is None:
        return "the paper's number is unknown"
    if bound.delta is None:
        return "the margin (delta) is unknown"
    spread = _expected_spread(bound, scores)
    if spread is None or spread.seeds_for(bound.delta, MINIMUM_SEEDS - 1) != "impossible":
        return ""
    return narrowest(spread, bound, bound.delta)


def narrowest(spread: Spread, bound: Bound, left: float) -> str:
    """Which facts of the paper keep the interval wide, however many seeds we run. `left`: half width that would do."""
    if spread.n_p is None:
        return f"the interval takes more than {SEED_SEARCH_LIMIT:,} seeds to narrow to ±{left:.3g}"
    half, parts = spread.narrowest(), []
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
    return f"no number of seeds narrows the interval to ±{left:.3g}, it stays at ±{half:.3g} or more{why}"


def _expected_spread(bound: Bound, scores: Sequence[float]) -> Spread | None:
    """Both spreads before or after a run; None where neither ours nor the paper's is known."""
    by_optimum = bound.mean is None
    if len(scores) > 1:
        return spread_of(stdev(scores), bound, by_optimum, [])[0]
    if by_optimum or bound.std is None:
        return None
    spread, _ = spread_of(0.0, bound, by_optimum, [])
    return replace(spread, s=spread.s_p or 0.0)


def seeds_for_verdict(bound: Bound, scores: Sequence[float] = ()) -> tuple[int | Literal["impossible"] | None, str]:
    """(seeds in all that a conclusive verdict takes, what that rests on); None = unknown.

    Two or more `scores` give our spread and mean; without them ours are taken to be the paper's.
    """
    by_optimum = bound.mean is None
    theirs = bound.optimum if by_optimum else bound.mean
    if theirs is None or bound.delta is None:
        return None, "the paper's number is unknown" if theirs is None else "the margin (delta) is unknown"
    spread = _expected_spread(bound, scores)
    if spread is None:
        return None, "no spread is known: nothing is recorded and the paper prints none"
    if len(scores) > 1:
        difference, basis = fmean(scores) - theirs, f"the spread of {len(scores)} recorded seeds"
    else:
        difference, basis = 0.0, "the paper's spread and mean, were ours the same"
    assumed: list[str] = []
    spread_of(spread.s, bound, by_optimum, assumed)
    needed = spread.seeds_for(distance_to_margin(difference, bound.delta, by_optimum), MINIMUM_SEEDS - 1)
    basis += " with the paper's n_p" if needed == "impossible" and spread.n_p is not None else ""
    return needed, "; ".join([basis, *assumed])
