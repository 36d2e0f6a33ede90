"""The checks of a claim: two arms, or an arm and a number, compared by the 95 % bounds of the difference (Welch)."""

from typing import Any

from reproduce.claims.schema import Check
from reproduce.judge import welch_bounds


def decide(check: Check, arms: dict[str, Any]) -> dict[str, Any]:
    """The check as stated with what was measured and `passed`. `arms`: {arm: {"scores": {mode: [S]}}}.

    every_above: all seeds are above it. share_above with between [low, high]: that share of the seeds is. Else
    mean(left) - mean(right) is at least `at_least`, or `within` in absolute value, by one-sided Welch bounds.
    """
    stated, left = check.model_dump(exclude_unset=True), arms[check.left]["scores"][check.mode]
    if check.every_above is not None:
        return {**stated, "lowest": min(left), "passed": min(left) > check.every_above}
    if check.share_above is not None and check.between:
        share = sum(score > check.share_above for score in left) / len(left)
        return {**stated, "share": share, "passed": check.between[0] <= share <= check.between[1]}
    right = arms[check.right]["scores"][check.mode] if isinstance(check.right, str) else [float(check.right or 0.0)]
    low, high = welch_bounds(left, right)
    if check.at_least is not None:
        passed = low >= check.at_least
    else:
        passed = check.within is not None and -check.within <= low and high <= check.within
    return {**stated, "difference_low": low, "difference_high": high, "passed": bool(passed)}
