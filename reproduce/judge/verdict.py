"""Does a score fall within the bounds of the published one? Rule R4.

    d  = mean(ours) - mu_p
    s2 = ((n-1) s^2 + (n_p-1) s_p^2) / (n + n_p - 2)          pooled; s_p as a sample standard deviation
    SE = sqrt( s2 (1/n + 1/n_p) + r^2/3 )                     r = half a unit of the last printed digit
    h  = t_{0.95, n+n_p-2} SE;  [low, high] = [d - h, d + h]
    REPRODUCED  -delta <= low and high <= delta;  BELOW  high < -delta;  ABOVE  low > delta;  INCONCLUSIVE  otherwise

This is equivalence testing by two one-sided t tests (Schuirmann 1987), 5 % each. Without a published spread
SE = s sqrt(1/n) with n-1 degrees of freedom; without a published mean but with a known optimum the bounds are
[optimum - delta, optimum]. Whether the comparison is allowed at all is decided before any statistics.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean, stdev
from typing import Any, Literal

from data.common.errors import ReproduceError

MINIMUM_SEEDS = 5
ASSUMED_PAPER_SEEDS = 3
OPTIMUM_SLACK = 1e-4  # absolute; float32 rewards summed over an episode are good to about 1e-6
SEED_SEARCH_LIMIT = 10_000
DATA_KINDS = ("official", "regenerated")
EXIT_CODES = {"REPRODUCED": 0, "BELOW": 1, "ABOVE": 1, "INCONCLUSIVE": 2, "NOT COMPARABLE": 3}


@dataclass(frozen=True)
class Bound:
    """What a paper says about one score; None = unknown. `decimals` counts the printed digits after the point."""

    mean: float | None = None
    std: float | None = None
    n: int | None = None
    std_kind: Literal["population", "sample", "unknown"] = "unknown"
    decimals: int | None = None
    optimum: float | None = None
    delta: float | None = None
    minimum_score: float | None = None

    def __post_init__(self) -> None:
        """Raises ReproduceError for a value no paper can print."""
        if self.std_kind not in ("population", "sample", "unknown"):
            raise ReproduceError(f"std_kind is {self.std_kind!r}: write population, sample or unknown.")
        if (self.std is not None and self.std < 0) or (self.n is not None and self.n < 1):
            raise ReproduceError(f"std {self.std} and n {self.n}: std must be at least 0 and n at least 1.")
        if self.delta is not None and not self.delta > 0:
            raise ReproduceError(f"delta is {self.delta}: a margin must be above 0 (or unknown).")


@dataclass(frozen=True)
class Verdict:
    """The outcome as data; console line, JSON and report are built from it.

    `difference`, `low`, `high` are ours minus `theirs`; `std` is our sample standard deviation over seeds;
    `seeds_needed` is the total number of seeds that would decide, were our spread to stay as it is.
    """

    state: str
    reasons: list[str]
    n: int
    mean: float | None = None
    std: float | None = None
    theirs: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    delta: float | None = None
    seeds_needed: int | Literal["impossible"] | None = None
    within_reported_std: bool | None = None
    vacuous: bool | None = None
    data_kind: str = "regenerated"
    n_p_assumed: bool = False

    @property
    def exit_code(self) -> int:
        """0 REPRODUCED, 1 BELOW or ABOVE, 2 INCONCLUSIVE, 3 NOT COMPARABLE (4 is the command's own, for errors)."""
        return EXIT_CODES[self.state]

    @property
    def headline(self) -> str:
        """The state, and which data it rests on unless they are the authors' own."""
        if self.data_kind == "official" or self.state == "NOT COMPARABLE":
            return self.state
        return f"{self.state} ({self.data_kind} data)"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON document; `exit_code` and `headline` are written for readers and recomputed on reading."""
        return asdict(self) | {"exit_code": self.exit_code, "headline": self.headline}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Verdict":
        """Inverse of to_json. Raises ReproduceError for missing keys or an unknown state."""
        names = [field.name for field in fields(cls)]
        if not isinstance(document, dict) or (missing := [name for name in names if name not in document]):
            what = "not a mapping" if not isinstance(document, dict) else f"without {', '.join(missing)}"
            raise ReproduceError(f"a verdict {what}: it was not written by this version; re-run the row.")
        if document["state"] not in EXIT_CODES:
            raise ReproduceError(f"unknown verdict {document['state']!r}; known: {', '.join(EXIT_CODES)}.")
        return cls(**{name: document[name] for name in names})


@dataclass(frozen=True)
class _Spread:
    """Everything that decides the half width of the interval, for any number of our seeds."""

    s: float
    s_p: float | None
    n_p: int | None
    rounding: float

    def half_width(self, n: int) -> float:
        """t_{0.95} times the standard error; n_p None means that only our own spread counts."""
        from scipy.special import stdtrit

        if self.n_p is None or self.s_p is None:
            return float(stdtrit(n - 1, 0.95)) * self.s / math.sqrt(n)
        freedom = n + self.n_p - 2
        pooled = ((n - 1) * self.s**2 + (self.n_p - 1) * self.s_p**2) / freedom
        error = math.sqrt(pooled * (1 / n + 1 / self.n_p) + self.rounding**2 / 3)
        return float(stdtrit(freedom, 0.95)) * error

    def seeds_for(self, half_width: float, n: int) -> int | Literal["impossible"]:
        """Smallest number of seeds above n whose half width is at most the one asked for.

        "impossible" where the paper's few seeds (s^2/n_p stays as 1/n vanishes) or its rounding alone are wider.
        """
        for m in range(n + 1, SEED_SEARCH_LIMIT + 1):
            if self.half_width(m) <= half_width:
                return m
        return "impossible"


def _checked(scores: Sequence[float], what: str) -> list[float]:
    values = [float(score) for score in scores]
    bad = [k for k, value in enumerate(values) if not math.isfinite(value)]
    if bad:
        raise ReproduceError(f"{what}: seed(s) {bad} scored NaN or infinity. A crashed seed counts as minimum_score.")
    return values


def judge(
    scores: Sequence[float],
    bound: Bound,
    not_comparable: Sequence[str] = (),
    data_kind: str = "regenerated",
    behavior_cloning: Sequence[float] | None = None,
) -> Verdict:
    """Verdict on per-seed scores (crashed seeds already replaced by the minimum score).

    `not_comparable` lists why the run is another experiment than the row; `behavior_cloning` holds scores of plain
    cloning in the same evaluation mode: when their mean lies inside the bounds, the row is vacuous.
    Raises ReproduceError for NaN or infinite scores and for an unknown kind of data.
    """
    ours = _checked(scores, "scores")
    if data_kind not in DATA_KINDS:
        raise ReproduceError(f"kind of data {data_kind!r} is unknown; known: {', '.join(DATA_KINDS)}.")
    n = len(ours)
    mean, std = fmean(ours) if n else math.nan, stdev(ours) if n > 1 else math.nan
    facts: dict[str, Any] = {"n": n, "data_kind": data_kind, "delta": bound.delta}
    facts |= {"mean": mean if n else None, "std": std if n > 1 else None}
    reasons = list(not_comparable)
    if n < MINIMUM_SEEDS:
        reasons.append(f"a verdict needs {MINIMUM_SEEDS} seeds, got {n}")
    if reasons:
        return Verdict("NOT COMPARABLE", reasons, **facts)
    by_optimum = bound.mean is None
    theirs = bound.optimum if by_optimum else bound.mean
    if theirs is None:
        return Verdict("INCONCLUSIVE", ["the paper's number is unknown"], **facts)

    spread, facts["n_p_assumed"] = _spread(std, bound, by_optimum, reasons)
    difference = mean - theirs
    half = spread.half_width(n)
    facts |= {"theirs": theirs, "difference": difference, "low": difference - half, "high": difference + half}
    if bound.mean is not None and bound.std is not None:
        facts["within_reported_std"] = abs(difference) <= bound.std
    if behavior_cloning and bound.delta is not None:
        gap = fmean(_checked(behavior_cloning, "behavior cloning")) - theirs
        facts["vacuous"] = gap >= -bound.delta and (by_optimum or gap <= bound.delta)
        if facts["vacuous"]:
            reasons.append("vacuous: behavior cloning alone falls within these bounds")
    if bound.optimum is not None and max(ours) > bound.optimum + OPTIMUM_SLACK:
        reasons.insert(0, "above the known optimum: look for a leak or another environment")
        return Verdict("ABOVE", reasons, **facts)
    if bound.delta is None:
        reasons.insert(0, "delta is unknown: the margin must be fixed in paper_results before a verdict")
        return Verdict("INCONCLUSIVE", reasons, **facts)
    state = _decide(difference - half, difference + half, bound.delta, by_optimum, scale=abs(theirs) + abs(mean))
    if state == "INCONCLUSIVE":
        needed = facts["seeds_needed"] = spread.seeds_for(_distance(difference, bound.delta, by_optimum), n)
        with_theirs = "impossible" if spread.n_p is None else "impossible with the paper's n_p"
        more = with_theirs if needed == "impossible" else f"{needed} seeds in all, at this spread"
        reasons.insert(0, f"the interval reaches across the margin; seeds needed: {more}")
    if state == "ABOVE":
        reasons.insert(0, "above the paper: look for a leak, another environment or another metric")
    return Verdict(state, reasons, **facts)


def _distance(difference: float, delta: float, by_optimum: bool) -> float:
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
    spread, _ = _spread(s or 0.0, bound, by_optimum, assumed)
    spread = replace(spread, s=spread.s_p or 0.0) if s is None else spread
    needed = spread.seeds_for(_distance(difference, bound.delta, by_optimum), MINIMUM_SEEDS - 1)
    basis += " with the paper's n_p" if needed == "impossible" and spread.n_p is not None else ""
    return needed, "; ".join([basis, *assumed])


def _spread(s: float, bound: Bound, by_optimum: bool, reasons: list[str]) -> tuple[_Spread, bool]:
    """Both spreads as sample standard deviations, what was assumed about the paper's added to `reasons`."""
    if by_optimum:
        return _Spread(s, None, None, 0.0), False
    if bound.std is None:
        reasons.append("the paper prints no spread: the interval holds our seeds' spread only")
        return _Spread(s, None, None, 0.0), False
    assumed = bound.n is None
    n_p = ASSUMED_PAPER_SEEDS if bound.n is None else bound.n
    if assumed:
        reasons.append(f"the paper's number of seeds is unknown: {ASSUMED_PAPER_SEEDS} assumed")
    s_p = bound.std
    if n_p > 1 and bound.std_kind != "sample":
        s_p *= math.sqrt(n_p / (n_p - 1))
        if bound.std_kind == "unknown":
            reasons.append("the paper's kind of standard deviation is unknown: taken as population (the wider reading)")
    return _Spread(s, s_p, n_p, 0.0 if bound.decimals is None else 0.5 * 10.0**-bound.decimals), assumed


def _decide(low: float, high: float, delta: float, by_optimum: bool, scale: float) -> str:
    # A deterministic score exactly on the margin must not be decided by the last bit of a subtraction.
    slack = 1e-12 * (scale + delta)
    if low >= -delta - slack and (by_optimum or high <= delta + slack):
        return "REPRODUCED"
    if high < -delta - slack:
        return "BELOW"
    return "ABOVE" if not by_optimum and low > delta + slack else "INCONCLUSIVE"


def gate(reference: Sequence[float], new: Sequence[float], tolerance: float = 1e-6) -> tuple[bool, float]:
    """Did this commit hurt? One-sided pooled t test at 0.5 % that `new` is not worse: (True = fine, p value).

    A loss of at most `tolerance` in the mean is always fine, so that deterministic tasks (no spread on either side)
    are judged by the tolerance alone. Raises ReproduceError for fewer than 2 scores a side, NaN or infinity.
    """
    old, fresh = _checked(reference, "reference"), _checked(new, "new scores")
    if min(len(old), len(fresh)) < 2:
        raise ReproduceError(f"the gate needs at least 2 scores a side, got {len(old)} and {len(fresh)}.")
    from scipy.special import stdtr

    gain = fmean(fresh) - fmean(old)
    freedom = len(old) + len(fresh) - 2
    pooled = ((len(old) - 1) * stdev(old) ** 2 + (len(fresh) - 1) * stdev(fresh) ** 2) / freedom
    if pooled == 0:
        return gain >= -tolerance, float(gain >= -tolerance)
    p = float(stdtr(freedom, gain / math.sqrt(pooled * (1 / len(old) + 1 / len(fresh)))))
    return gain >= -tolerance or p >= 0.005, p
