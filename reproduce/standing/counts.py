"""What holds of a row in one word, and counts over rows: only a row's own settings count."""

from collections.abc import Iterable
from dataclasses import dataclass

from reproduce.standing.standing import Standing

REPRODUCED, VACUOUS = "reproduced", "reproduced, vacuous"
OPTIMUM = "meets the known optimum (published number unknown)"
BELOW, ABOVE, OPEN, UNMATCHED = "below", "above", "inconclusive", "run, no published number to compare with"
UNTRIED, NO_CONFIG = "not run with its own settings", "cannot run yet"
CATEGORIES = (REPRODUCED, VACUOUS, OPTIMUM, BELOW, ABOVE, OPEN, UNMATCHED, UNTRIED, NO_CONFIG)


def category(standing: Standing) -> str:
    """One of CATEGORIES."""
    if not standing.can_run:
        return NO_CONFIG
    if standing.own is None:
        return UNTRIED
    verdict, bound = standing.own.verdict, standing.row.bound
    if bound.mean is None and bound.optimum is None:
        return UNMATCHED
    if verdict.state == "REPRODUCED":
        return VACUOUS if verdict.vacuous else REPRODUCED
    return {"OPTIMUM MET": OPTIMUM, "BELOW": BELOW, "ABOVE": ABOVE}.get(verdict.state, OPEN)


@dataclass(frozen=True)
class Counts:
    """What holds of some rows. `printed` have a published mean, `can_run` of those a config, `runs` of all a config;
    `by` counts all rows by category; `vacuous_optimum` meet an optimum that cloning meets too."""

    printed: int
    can_run: int
    runs: int
    by: dict[str, int]
    vacuous_optimum: int

    @property
    def sentence(self) -> str:
        """The four counts, with how many published numbers there are and how many can run."""
        by = self.by
        return (
            f"{by[REPRODUCED]} published numbers reproduced, {by[VACUOUS]} reproduced but vacuous, {by[OPTIMUM]} known "
            f"optima met (published number unknown), {by[BELOW] + by[ABOVE]} below or above; of {self.printed} "
            f"published numbers {self.can_run} can run."
        )


def count(rows: Iterable[Standing]) -> Counts:
    """Counts over the rows."""
    rows = list(rows)
    kinds = [category(row) for row in rows]
    printed = [row for row in rows if row.row.bound.mean is not None]
    return Counts(
        printed=len(printed),
        can_run=sum(row.can_run for row in printed),
        runs=sum(row.can_run for row in rows),
        by={name: kinds.count(name) for name in CATEGORIES},
        vacuous_optimum=sum(
            kind == OPTIMUM and row.own is not None and bool(row.own.verdict.vacuous)
            for row, kind in zip(rows, kinds, strict=True)
        ),
    )
