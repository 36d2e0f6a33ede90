"""Limits of time in tests: they end what hangs, and no test fails because a machine is slow or busy."""

import time

PATIENCE = 1800.0  # seconds to wait for what must come
ORDINARY = 0.15  # CPU seconds of `_work` on the machine whose CPU seconds the limits are stated in


def _work() -> None:
    found = {}
    for k in range(1_000_000):
        found[str(k % 1000)] = k


def cpu_second() -> float:
    """A CPU second of that machine, in CPU seconds of this one, as busy as it is now; 1 at least."""
    started = time.process_time()
    _work()
    return max(1.0, (time.process_time() - started) / ORDINARY)
