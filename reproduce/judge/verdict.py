"""Does a score fall within the bounds of the published one? Rule R4.

    d  = mean(ours) - mu_p
    s2 = ((n-1) s^2 + (n_p-1) s_p^2) / (n + n_p - 2)          pooled; s_p as a sample standard deviation
    SE = sqrt( s2 (1/n + 1/n_p) + r^2/3 )                     r = half a unit of the last printed digit
    h  = t_{0.95, n+n_p-2} SE;  [low, high] = [d - h, d + h]
         with n > max(n_p, 5):  SE^2 = s^2/n + s_p^2/n_p + r^2/3 and Welch's degrees of freedom
    REPRODUCED  -delta <= low and high <= delta;  BELOW  high < -delta;  ABOVE  low > delta;  INCONCLUSIVE  otherwise

This is equivalence testing by two one-sided t tests (Schuirmann 1987), 5 % each. Without a published spread
SE = s sqrt(1/n) with n-1 degrees of freedom. Without a published mean but with a known optimum the bounds are
[optimum - delta, optimum], and a score within them is OPTIMUM MET: nothing published is reproduced. Where a row has
several readings, each further one is judged at 5 % divided by their number (Bonferroni). Whether the comparison is
allowed at all is decided before any statistics.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean, stdev
from typing import Any, Literal

from data.common.errors import ReproduceError
from reproduce.judge.bound import Bound
from reproduce.judge.power import narrowest, power_of
from reproduce.judge.statistics import MINIMUM_SEEDS, distance_to_margin, finite, spread_of

OPTIMUM_SLACK = 1e-4  # absolute; float32 rewards summed over an episode are good to about 1e-6
NEWER = ("optimum", "readings", "power", "told")  # keys that older records lack
DATA_KINDS = ("official", "regenerated")
EXIT_CODES = {"REPRODUCED": 0, "OPTIMUM MET": 0, "BELOW": 1, "ABOVE": 1, "INCONCLUSIVE": 2, "NOT COMPARABLE": 3}


@dataclass(frozen=True)
class Verdict:
    """The outcome as data; console line, JSON and report are built from it.

    `difference`, `low`, `high` are ours minus `theirs`, the published mean, or minus the `optimum` where that mean is
    unknown; `std` is our sample standard deviation over seeds. `seeds_needed` is the total number of seeds that would
    decide, were our spread to stay as it is. `readings` is the number by which the interval is widened. `power` is the
    probability of REPRODUCED, were the true means equal; `told` is the smallest true loss that would be told.
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
    optimum: float | None = None
    readings: int = 1
    power: float | None = None
    told: float | None = None

    @property
    def exit_code(self) -> int:
        """0 REPRODUCED or OPTIMUM MET, 1 BELOW or ABOVE, 2 INCONCLUSIVE, 3 NOT COMPARABLE."""
        return EXIT_CODES[self.state]

    @property
    def headline(self) -> str:
        """The state, and which data it rests on unless they are the authors' own."""
        if self.data_kind == "official" or self.state == "NOT COMPARABLE":
            return self.state
        return f"{self.state} ({self.data_kind} data)"

    @property
    def found(self) -> str:
        """The state, with `vacuous` where cloning alone falls within the bounds too."""
        return f"{self.state}, vacuous" if self.vacuous and self.exit_code == 0 else self.state

    @property
    def word(self) -> str:
        """The headline, with `vacuous` likewise."""
        return self.headline.replace(self.state, self.found, 1)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON document; `exit_code` and `headline` are written for readers and recomputed on reading."""
        return asdict(self) | {"exit_code": self.exit_code, "headline": self.headline}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Verdict":
        """Inverse of to_json. Raises ReproduceError for missing keys or an unknown state."""
        if not isinstance(document, dict):
            raise ReproduceError("a verdict that is no mapping: it was not written by this version; re-run the row.")
        names = [field.name for field in fields(cls) if field.name not in NEWER or field.name in document]
        if missing := ", ".join(name for name in names if name not in document):
            raise ReproduceError(f"a verdict without {missing}: it was not written by this version; re-run the row.")
        if document["state"] not in EXIT_CODES:
            raise ReproduceError(f"unknown verdict {document['state']!r}; known: {', '.join(EXIT_CODES)}.")
        return cls(**{name: document[name] for name in names})


def judge(
    scores: Sequence[float],
    bound: Bound,
    not_comparable: Sequence[str] = (),
    data_kind: str = "regenerated",
    behavior_cloning: Sequence[float] | None = None,
    readings: int = 1,
) -> Verdict:
    """Verdict on per-seed scores (crashed seeds already replaced by the minimum score).

    `not_comparable` lists why the run is another experiment than the row; `behavior_cloning` holds scores of plain
    cloning in the same evaluation mode: when their mean lies inside the bounds, the row is vacuous. `readings` counts
    the settings that are judged beside the row's own, of which this run is one; 1 for the row's own.
    Raises ReproduceError for NaN or infinite scores and for an unknown kind of data.
    """
    ours = finite(scores, "scores")
    if data_kind not in DATA_KINDS:
        raise ReproduceError(f"kind of data {data_kind!r} is unknown; known: {', '.join(DATA_KINDS)}.")
    n = len(ours)
    mean, std = fmean(ours) if n else math.nan, stdev(ours) if n > 1 else math.nan
    facts: dict[str, Any] = {"n": n, "data_kind": data_kind, "delta": bound.delta, "readings": readings}
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

    spread, facts["n_p_assumed"] = spread_of(std, bound, by_optimum, reasons, readings)
    difference = mean - theirs
    half = float(spread.half_width(n))
    facts |= {"optimum" if by_optimum else "theirs": theirs}
    facts |= {"difference": difference, "low": difference - half, "high": difference + half}
    if bound.delta is not None:
        power = power_of(spread, n, bound.delta, by_optimum)
        facts |= {"power": power.reproduced, "told": power.told}
    if readings > 1:
        reasons.append(f"one of {readings} readings: the interval is widened by their number")
    if bound.mean is not None and bound.std is not None:
        facts["within_reported_std"] = abs(difference) <= bound.std
    if behavior_cloning and bound.delta is not None:
        gap = fmean(finite(behavior_cloning, "behavior cloning")) - theirs
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
        left = distance_to_margin(difference, bound.delta, by_optimum)
        needed = facts["seeds_needed"] = spread.seeds_for(left, n)
        with_theirs = "impossible" if spread.n_p is None else "impossible with the paper's n_p"
        more = with_theirs if needed == "impossible" else f"{needed} seeds in all, at this spread"
        reasons.insert(0, f"the interval reaches across the margin; seeds needed: {more}")
        if needed == "impossible":
            reasons.insert(1, narrowest(spread, bound, left, n))
    if state == "ABOVE":
        reasons.insert(0, "above the paper: look for a leak, another environment or another metric")
    return Verdict(state, reasons, **facts)


def _decide(low: float, high: float, delta: float, by_optimum: bool, scale: float) -> str:
    # A deterministic score exactly on the margin must not be decided by the last bit of a subtraction.
    slack = 1e-12 * (scale + delta)
    if low >= -delta - slack and (by_optimum or high <= delta + slack):
        return "OPTIMUM MET" if by_optimum else "REPRODUCED"
    if high < -delta - slack:
        return "BELOW"
    return "ABOVE" if not by_optimum and low > delta + slack else "INCONCLUSIVE"
