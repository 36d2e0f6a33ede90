"""The clock of a run: phases of updates, cut into chunks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.common.minibatches import INDEPENDENT, Minibatches


@dataclass(frozen=True)
class Phase:
    """`n_updates` calls of the module's `update_<name>`, each on a minibatch of `batch_size` transitions per seed,
    or of so many sequences of `sequence_length` transitions within episodes (data.schema). `minibatches` says how its
    rows are drawn.

    A phase with `result`, the networks that it trains, can be kept and used again by a run that agrees in `decided_by`,
    data and seeds. A module that has such a phase starts every phase with random streams of the phase's own, so that
    what a phase draws does not depend on whether those before it ran.
    """

    name: str
    n_updates: int
    batch_size: int
    shared: bool = False  # trained once, by the first seed's streams, for all seeds
    keys: tuple[Any, ...] = ()  # what its updates read, where that is not all of the module's keys
    result: tuple[str, ...] = ()
    decided_by: dict[str, Any] = field(default_factory=dict)  # settings by name
    sequence_length: int = 1
    minibatches: Minibatches = INDEPENDENT


@dataclass(frozen=True)
class Chunk:
    """The updates [start, start + n_updates) of the clock, all of one phase."""

    phase: str
    start: int
    n_updates: int
    batch_size: int
    shared: bool = False
    keys: tuple[Any, ...] = ()
    streams: int | None = None  # the phase's number, where its streams start here
    sequence_length: int = 1
    minibatches: Minibatches = INDEPENDENT


def make_plan(phases: Sequence[Phase], chunk_size: int, reused_phases: Iterable[str] = ()) -> list[Chunk]:
    """Cut the phases into chunks of at most `chunk_size` updates that end at phase ends.

    Evaluations cut nothing: a chunk draws its minibatches and noise at once, so its length decides what is drawn. The
    clock passes over `reused_phases`, whose result was trained before.
    """
    plan, clock, apart = [], 0, any(phase.result for phase in phases)
    for number, phase in enumerate(phases):
        done = 0
        while done < phase.n_updates and phase.name not in reused_phases:
            n = min(chunk_size, phase.n_updates - done)
            streams = number if apart and not done else None
            chunk = Chunk(
                phase.name, clock + done, n, phase.batch_size, phase.shared, phase.keys, streams, phase.sequence_length,
                phase.minibatches,
            )  # fmt: skip
            plan.append(chunk)
            done += n
        clock += phase.n_updates
    return plan
