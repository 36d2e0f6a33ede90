"""Claims: statements of a paper that need no official data."""

from reproduce.claims.checks import decide
from reproduce.claims.run import run_claim
from reproduce.claims.schema import load_claim
from reproduce.judge import welch_bounds

__all__ = ["decide", "load_claim", "run_claim", "welch_bounds"]
