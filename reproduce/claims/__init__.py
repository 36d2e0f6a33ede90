"""Claims."""

from reproduce.claims.run import decide, run_claim, welch_bounds

__all__ = ["decide", "run_claim", "welch_bounds"]
