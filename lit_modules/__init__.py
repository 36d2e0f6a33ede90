"""One paper, one file. Importing this package imports no torch."""

from lit_modules.common.registry import algo_config, algorithm, algorithms, deviations

__all__ = ["algo_config", "algorithm", "algorithms", "deviations"]
