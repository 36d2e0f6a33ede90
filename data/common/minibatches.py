"""How the rows of updates are drawn."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Minibatches:
    """How an update's rows are drawn, where that is not independently, with replacement and anew for each update.

    The rows are `parts` minibatches of one size, one after another, each drawn by itself. `replacement` is within a
    minibatch. With `repeat_after` p the seed has p draws in all, and update t of the clock sees draw t modulo p. Where
    sequences are drawn, `whole` says that they are episodes from their first step to their last.
    """

    parts: int = 1
    replacement: bool = True
    repeat_after: int | None = None
    whole: bool = False


INDEPENDENT = Minibatches()
