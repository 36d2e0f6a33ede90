"""How each published row stands: what its own settings gave, other readings beside it, and counts over rows."""

from reproduce.standing.claims import changed_since
from reproduce.standing.counts import (
    ABOVE,
    BELOW,
    CATEGORIES,
    MISSED,
    NO_CONFIG,
    OPEN,
    OPTIMUM,
    REPRODUCED,
    UNCHECKED,
    UNMATCHED,
    UNTRIED,
    VACUOUS,
    Counts,
    category,
    count,
)
from reproduce.standing.labels import label
from reproduce.standing.standing import Result, Standing, standings

__all__ = [
    "ABOVE",
    "BELOW",
    "CATEGORIES",
    "MISSED",
    "NO_CONFIG",
    "OPEN",
    "OPTIMUM",
    "REPRODUCED",
    "UNCHECKED",
    "UNMATCHED",
    "UNTRIED",
    "VACUOUS",
    "Counts",
    "Result",
    "Standing",
    "category",
    "changed_since",
    "count",
    "label",
    "standings",
]
