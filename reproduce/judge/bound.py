"""The published number that a run is judged by."""

from dataclasses import dataclass
from typing import Literal, get_args

from data.common.errors import ReproduceError

SpreadKind = Literal["population", "sample", "standard_error", "unknown"]


@dataclass(frozen=True)
class Bound:
    """A paper's statement about one score; None = unknown. `decimals` counts the printed digits after the point.

    `std_kind`: the deviation of its seeds, over n or n - 1, or the standard error of their mean.
    """

    mean: float | None = None
    std: float | None = None
    n: int | None = None
    std_kind: SpreadKind = "unknown"
    decimals: int | None = None
    optimum: float | None = None
    delta: float | None = None
    minimum_score: float | None = None

    def __post_init__(self) -> None:
        """Raises ReproduceError for a value no paper can print."""
        if self.std_kind not in get_args(SpreadKind):
            raise ReproduceError(f"std_kind is {self.std_kind!r}: write one of {', '.join(get_args(SpreadKind))}.")
        if (self.std is not None and self.std < 0) or (self.n is not None and self.n < 1):
            raise ReproduceError(f"std {self.std} and n {self.n}: std must be at least 0 and n at least 1.")
        if self.delta is not None and not self.delta > 0:
            raise ReproduceError(f"delta is {self.delta}: a margin must be above 0 (or unknown).")
