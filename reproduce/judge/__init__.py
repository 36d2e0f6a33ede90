"""Verdicts."""

from reproduce.judge.verdict import (
    ASSUMED_PAPER_SEEDS,
    DATA_KINDS,
    EXIT_CODES,
    MINIMUM_SEEDS,
    OPTIMUM_SLACK,
    SEED_SEARCH_LIMIT,
    Bound,
    Verdict,
    gate,
    judge,
    seeds_for_verdict,
)

__all__ = [
    "ASSUMED_PAPER_SEEDS",
    "DATA_KINDS",
    "EXIT_CODES",
    "MINIMUM_SEEDS",
    "OPTIMUM_SLACK",
    "SEED_SEARCH_LIMIT",
    "Bound",
    "Verdict",
    "gate",
    "judge",
    "seeds_for_verdict",
]
