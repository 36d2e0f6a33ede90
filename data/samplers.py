"""Which transitions an update sees: uniform transitions, or uniform sequences within episodes, per seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchrl.data.replay_buffers import Sampler

from data.common.errors import ReproduceError
from data.common.minibatches import INDEPENDENT
from data.common.rng import Stream, generator


@dataclass(frozen=True)
class Episodes:
    """Where episodes lie in stored experience: the row of each one's first transition, and its transitions; [E] each.

    The transitions of an episode lie in rows one after another.
    """

    first: Tensor
    length: Tensor

    @classmethod
    def of_final(cls, final: Tensor) -> "Episodes":
        """final [R] bool, the rows in which no transition starts; the last row is one."""
        last = final.nonzero().squeeze(-1)
        first = torch.cat([last.new_zeros(1), last[:-1] + 1])
        return cls(first, last - first)

    @classmethod
    def of_steps(cls, episode: Tensor, step: Tensor) -> "Episodes":
        """Of flat transitions: ids and steps, [n] int64. An episode begins where the id changes or the step is 0."""
        begins = step == 0
        begins[0] = True
        begins[1:] |= episode[1:] != episode[:-1]
        first = begins.nonzero().squeeze(-1)
        return cls(first, torch.cat([first[1:], first.new_tensor([len(step)])]) - first)

    def windows(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """All sequences of `size` steps within an episode: first row, number of steps, index of the first step; [W].

        An episode of fewer steps is one sequence, whole. With a size that no episode exceeds, the sequences are the
        episodes.
        """
        n = (self.length - size + 1).clamp(min=1) * (self.length > 0)
        episode = torch.arange(len(n)).repeat_interleave(n)
        offset = torch.arange(len(episode)) - (n.cumsum(0) - n)[episode]
        return self.first[episode] + offset, self.length[episode].clamp(max=size), offset


def distinct(n: int, size: int, g: torch.Generator) -> Tensor:
    """`size` different indices below n in a random order: the first ones of independent draws. Raises ReproduceError
    where there are not so many."""
    if size > n:
        raise ReproduceError(
            f"a minibatch of {size} different transitions from data that hold {n}: algo.batch_size is at most {n} here."
        )
    if 2 * size > n:
        return torch.randperm(n, generator=g)[:size]
    drawn = torch.empty(0, dtype=torch.int64)
    while len(drawn) < size:
        drawn = torch.cat([drawn, torch.randint(n, (size - len(drawn),), generator=g)])
        values, place = drawn.sort(stable=True)
        later = torch.zeros(len(drawn), dtype=torch.bool)
        later[place[1:][values[1:] == values[:-1]]] = True  # it was drawn before
        drawn = drawn[~later]
    return drawn


class SeedSampler(Sampler):
    """Uniform sampling with replacement; every seed draws its own indices from its own generator.

    A request for K * S * B samples is answered in the order [K, S, B] with K = `n_updates` and the first S = `n_seeds`
    of the seeds (all set by the loader). With a `sequence_length` T above 1 it is answered in the order [K, S, B, T]:
    sequences within episodes, drawn uniformly (see `Episodes.windows`); `mask` and `is_init`, [K * S * B * T] bool,
    then tell the steps that are the episode's and those that are its first. Steps beyond the end repeat the last one.
    `minibatches` says how, for the updates from `first_update` of the clock on.
    """

    def __init__(self, seeds: Sequence[int], episodes: Episodes | None = None):
        super().__init__()
        self.seeds, self.episodes = list(seeds), episodes
        self.n_updates, self.n_seeds, self.sequence_length = 1, len(self.seeds), 1
        self.minibatches, self.first_update = INDEPENDENT, 0
        self.with_next = False  # a request for n rows answers with the n rows after them too
        self.mask = self.is_init = torch.ones(0, dtype=torch.bool)
        self._windows: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.start(0)

    def start(self, clock: int) -> None:
        """Begin every seed's stream of minibatches at `clock`."""
        self.clock = clock
        self.rngs = [generator(seed, Stream.MINIBATCHES, clock) for seed in self.seeds]

    def sample(self, storage: Any, batch_size: int) -> tuple[Tensor, dict]:
        if self.sequence_length == 1:
            return self._transitions(len(storage), batch_size), {}
        return self._sequences(batch_size), {}

    def _draw(self, n: int, batch_size: int) -> Tensor:
        """[K * S * B] uniform indices below n."""
        size, period = batch_size // (self.n_updates * self.n_seeds), self.minibatches.repeat_after
        if period is None:
            drawn = [self._updates(n, self.n_updates, size, g) for g in self.rngs[: self.n_seeds]]
        else:  # what repeats follows from the seed alone, wherever a run goes on
            turns = (self.first_update + torch.arange(self.n_updates)) % period
            again = (generator(seed, Stream.MINIBATCHES, self.clock) for seed in self.seeds[: self.n_seeds])
            drawn = [self._updates(n, period, size, g)[turns] for g in again]
        return torch.stack(drawn, dim=1).flatten()

    def _updates(self, n: int, n_updates: int, size: int, g: torch.Generator) -> Tensor:
        """[n_updates, size] indices below n."""
        if self.minibatches.replacement:
            return torch.randint(n, (n_updates, size), generator=g)
        parts = self.minibatches.parts
        rows = [distinct(n, size // parts, g) for _ in range(n_updates * parts)]
        return torch.stack(rows).view(n_updates, size)

    def _transitions(self, n_rows: int, batch_size: int) -> Tensor:
        return self._draw(n_rows, batch_size)

    def _sequences(self, batch_size: int) -> Tensor:
        size = self.sequence_length
        if self.episodes is None:
            raise ReproduceError("sequences need experience whose episodes are known: the keys episode and step.")
        if size not in self._windows:
            self._windows[size] = self.episodes.windows(size)
        first, length, offset = self._windows[size]
        drawn = self._draw(len(first), batch_size)
        steps = torch.arange(size)
        self.mask = (steps < length[drawn].unsqueeze(-1)).flatten()
        self.is_init = ((steps == 0) & (offset[drawn] == 0).unsqueeze(-1)).flatten()
        within = torch.minimum(steps, length[drawn].unsqueeze(-1) - 1)
        return (first[drawn].unsqueeze(-1) + within).flatten()

    def state_dict(self) -> dict[str, Any]:
        return {"generators": [g.get_state() for g in self.rngs], "clock": self.clock}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.clock = state_dict.get("clock", 0)
        for rng, state in zip(self.rngs, state_dict["generators"], strict=True):
            rng.set_state(state)

    def _empty(self) -> None:
        pass

    def dumps(self, path: Any) -> None:
        torch.save(self.state_dict(), path)

    def loads(self, path: Any) -> None:
        self.load_state_dict(torch.load(path, weights_only=True))


class TrajectorySampler(SeedSampler):
    """SeedSampler over the rows in which a transition starts. A request for n answers with n rows, then, where
    `with_next` is on, the rows after them.

    final: [R] bool, the rows in which none starts.
    """

    def __init__(self, seeds: Sequence[int], final: Tensor):
        super().__init__(seeds, Episodes.of_final(final))
        self.starts = (~final).nonzero().squeeze(-1)

    def _transitions(self, n_rows: int, batch_size: int) -> Tensor:
        return self.starts[self._draw(len(self.starts), batch_size)]

    def sample(self, storage: Any, batch_size: int) -> tuple[Tensor, dict]:
        rows, info = super().sample(storage, batch_size)
        return torch.cat([rows, rows + 1]) if self.with_next else rows, info
