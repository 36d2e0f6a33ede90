"""Seeds that diverged: they count as the row's minimum score, and as None where no minimum is known."""

from collections.abc import Iterable, Sequence
from typing import Any


def healthy(values: Iterable[Any]) -> list[Any]:
    """The values of seeds that have one."""
    return [value for value in values if value is not None]


def why_no_verdict(seeds: Sequence[int], per_seed: Sequence[float | None]) -> list[str]:
    """Why no verdict is given over the seeds that are left; none where every seed has a score."""
    lost = [str(seed) for seed, score in zip(seeds, per_seed, strict=True) if score is None]
    if not lost:
        return []
    which = f"seed {lost[0]}" if len(lost) == 1 else f"seeds {', '.join(lost)}"
    return [f"{which} diverged, and the row has no minimum_score that would count for it"]
