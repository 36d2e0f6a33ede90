"""Times that can be compared: alternatives run in turn within one process, and medians are quoted."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Line:
    """One line of the table: `value` in `unit`, and its `ratio` to `reference` where one was run beside it."""

    section: str
    case: str
    what: str
    value: float
    unit: str
    ratio: float | None = None
    reference: str = ""
    target: str = ""

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}


def medians(runs: Mapping[str, Callable[[], Any]], repeats: int, at_least: float = 0.1) -> dict[str, float]:
    """Median seconds of one call of each run: `repeats` rounds in turn, each of at least `at_least` seconds."""
    calls: dict[str, int] = {}
    for name, run in runs.items():
        run()  # warm up
        calls[name] = max(1, math.ceil(at_least / max(seconds(run), 1e-9)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run, calls[name]))
    return {name: statistics.median(measured) for name, measured in times.items()}


def seconds(run: Callable[[], Any], calls: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - started) / calls
