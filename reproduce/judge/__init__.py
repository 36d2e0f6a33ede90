"""Verdicts: does a score fall within the bounds of the published one, and has this commit hurt?"""

from reproduce.judge.bound import Bound
from reproduce.judge.power import Power, foresee, seeds_for_verdict, why_never
from reproduce.judge.statistics import MINIMUM_SEEDS, gate, welch_bounds
from reproduce.judge.verdict import DATA_KINDS, EXIT_CODES, Verdict, judge

__all__ = [
    "DATA_KINDS",
    "EXIT_CODES",
    "MINIMUM_SEEDS",
    "Bound",
    "Power",
    "Verdict",
    "foresee",
    "gate",
    "judge",
    "seeds_for_verdict",
    "welch_bounds",
    "why_never",
]
