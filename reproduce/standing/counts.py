"""What holds of a row in one word, and counts over rows: only a row's own settings count."""

from collections.abc import Iterable
from dataclasses import dataclass

from reproduce.published import PaperRow
from reproduce.standing.standing import Standing

REPRODUCED, VACUOUS = "reproduced", "reproduced, vacuous"
UNCHECKED = "reproduced, no cloning run beside it"
OPTIMUM = "meets the known optimum (published number unknown)"
MISSED = "misses the known optimum (published number unknown)"
BELOW, ABOVE, OPEN, UNMATCHED = "below", "above", "inconclusive", "run, no published number to compare with"
UNTRIED, NO_CONFIG = "not run with its own settings", "cannot run yet"
CATEGORIES = (REPRODUCED, VACUOUS, UNCHECKED, OPTIMUM, MISSED, BELOW, ABOVE, OPEN, UNMATCHED, UNTRIED, NO_CONFIG)


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
        return {True: VACUOUS, False: REPRODUCED, None: UNCHECKED}[verdict.vacuous]
    if bound.mean is None:
        return {"OPTIMUM MET": OPTIMUM, "BELOW": MISSED, "ABOVE": MISSED}.get(verdict.state, OPEN)
    return {"BELOW": BELOW, "ABOVE": ABOVE}.get(verdict.state, OPEN)


@dataclass(frozen=True)
class Counts:
    """What holds of some rows. `printed` have a published mean, of which `reprinted` stand in another table too (the
    same algorithm, task, dataset and number); `can_run` of the printed have a config, and `untried` of those no run;
    `runs` of all have a config; `by` counts all rows by category; `vacuous_optimum` meet an optimum that cloning meets
    too; `undecidable` are inconclusive and no number of our seeds would decide them."""

    printed: int
    reprinted: int
    can_run: int
    untried: int
    runs: int
    by: dict[str, int]
    vacuous_optimum: int
    undecidable: int

    @property
    def sentence(self) -> str:
        """The counts, with how many published numbers there are and how many can run."""
        by = self.by
        unchecked = f"{by[UNCHECKED]} reproduced with no cloning beside them, " if by[UNCHECKED] else ""
        missed = f"{by[MISSED]} known optima missed, " if by[MISSED] else ""
        undecidable = f" ({self.undecidable} of them beyond any number of our seeds)" if self.undecidable else ""
        return (
            f"{by[REPRODUCED]} published numbers reproduced, {by[VACUOUS]} reproduced but vacuous, {unchecked}"
            f"{by[OPTIMUM]} known optima met (published number unknown), {missed}{by[BELOW] + by[ABOVE]} below or "
            f"above, {by[OPEN]} inconclusive{undecidable}; of {self.printed} published numbers "
            f"({self.reprinted} of them reprints) {self.can_run} can run."
        )


def count(rows: Iterable[Standing]) -> Counts:
    """Counts over the rows."""
    rows = list(rows)
    kinds = [category(row) for row in rows]
    printed = [row for row in rows if row.row.bound.mean is not None]
    return Counts(
        printed=len(printed),
        reprinted=len(printed) - len({_number(row.row) for row in printed}),
        can_run=sum(row.can_run for row in printed),
        untried=sum(category(row) == UNTRIED for row in printed),
        runs=sum(row.can_run for row in rows),
        by={name: kinds.count(name) for name in CATEGORIES},
        vacuous_optimum=sum(
            kind == OPTIMUM and row.own is not None and bool(row.own.verdict.vacuous)
            for row, kind in zip(rows, kinds, strict=True)
        ),
        undecidable=sum(
            kind == OPEN and row.own is not None and row.own.verdict.seeds_needed == "impossible"
            for row, kind in zip(rows, kinds, strict=True)
        ),
    )


def _number(row: PaperRow) -> tuple[str, str, str, float | None]:
    """What two tables that print one number agree in."""
    return row.algorithm, row.task, row.dataset, row.bound.mean
