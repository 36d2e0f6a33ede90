"""Claims: statements of a paper that need no official data."""

from reproduce.claims.checks import decide
from reproduce.claims.run import run_claim
from reproduce.claims.schema import changed_since, load_claim
from reproduce.judge import welch_bounds

__all__ = ["changed_since", "decide", "load_claim", "run_claim", "welch_bounds"]
