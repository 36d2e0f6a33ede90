"""The cost of rows on this machine, before they run."""

from reproduce.cost.estimate import Estimate, dry_run, estimates, totals
from reproduce.cost.measure import Cost, Timing

__all__ = ["Cost", "Estimate", "Timing", "dry_run", "estimates", "totals"]
