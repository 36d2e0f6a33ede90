"""Which transitions an update sees: uniform chunks per seed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchrl.data.replay_buffers import Sampler

from data.common.rng import Stream, generator


class SeedSampler(Sampler):
    """Uniform sampling with replacement; every seed draws its own indices from its own generator.

    A request for K * S * B indices is answered in the order [K, S, B] with K = `n_updates` and the first S = `n_seeds`
    of the seeds (both set by the loader).
    """

    def __init__(self, seeds: Sequence[int]):
        super().__init__()
        self.seeds = list(seeds)
        self.n_updates, self.n_seeds = 1, len(self.seeds)
        self.start(0)

    def start(self, clock: int) -> None:
        """Begin every seed's stream of minibatches at `clock`."""
        self.rngs = [generator(seed, Stream.MINIBATCHES, clock) for seed in self.seeds]

    def sample(self, storage: Any, batch_size: int) -> tuple[Tensor, dict]:
        shape = (self.n_updates, batch_size // (self.n_updates * self.n_seeds))
        drawn = [torch.randint(len(storage), shape, generator=g) for g in self.rngs[: self.n_seeds]]
        return torch.stack(drawn, dim=1).flatten(), {}

    def state_dict(self) -> dict[str, Any]:
        return {"generators": [g.get_state() for g in self.rngs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for rng, state in zip(self.rngs, state_dict["generators"], strict=True):
            rng.set_state(state)

    def _empty(self) -> None:
        pass

    def dumps(self, path: Any) -> None:
        torch.save(self.state_dict(), path)

    def loads(self, path: Any) -> None:
        self.load_state_dict(torch.load(path, weights_only=True))


class RowSampler(SeedSampler):
    """SeedSampler over the rows in which a transition starts. A request for n answers with n rows, then, unless
    `with_next` is off, the rows after.

    final: [R] bool, the rows in which none starts.
    """

    def __init__(self, seeds: Sequence[int], final: Tensor):
        super().__init__(seeds)
        self.starts = (~final).nonzero().squeeze(-1)
        self.with_next = True

    def sample(self, storage: Any, batch_size: int) -> tuple[Tensor, dict]:
        drawn, info = super().sample(self.starts, batch_size)
        rows = self.starts[drawn]
        return torch.cat([rows, rows + 1]) if self.with_next else rows, info
