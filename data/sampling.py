"""Which transitions an update sees: uniform chunks per seed, and importance resampling within a minibatch."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchrl.data.replay_buffers import Sampler


def stream(seed: int, purpose: int, clock: int = 0) -> torch.Generator:
    """The generator of one seed for one purpose (0 weights, 1 minibatches, 2 update noise, 3 evaluation at `clock`).

    Hashed, since neighboring seeds must not share bits; torch's CPU engine uses 32 of them.
    """
    digest = hashlib.sha256(f"{seed} {purpose} {clock}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


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
        """Begin every seed's stream of that number."""
        self.generators = [stream(seed, 1, clock) for seed in self.seeds]

    def sample(self, storage: Any, batch_size: int) -> tuple[Tensor, dict]:
        shape = (self.n_updates, batch_size // (self.n_updates * self.n_seeds))
        drawn = [torch.randint(len(storage), shape, generator=g) for g in self.generators[: self.n_seeds]]
        return torch.stack(drawn, dim=1).flatten(), {}

    def state_dict(self) -> dict[str, Any]:
        return {"generators": [g.get_state() for g in self.generators]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for generator, state in zip(self.generators, state_dict["generators"], strict=True):
            generator.set_state(state)

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


def importance_resample(log_rho: Tensor, uniform: Tensor) -> Tensor:
    """Draw B of M candidates with probability proportional to rho (Schlegel et al. 2019, importance resampling).

    log_rho [S, M], uniform [S, B] in [0, 1) -> index [S, B] int64 by inverse CDF.
    """
    cdf = log_rho.softmax(-1).cumsum(-1)  # (S, M)
    return torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True).clamp_(max=log_rho.shape[-1] - 1)


def effective_sample_size(log_rho: Tensor) -> Tensor:
    """(sum rho)^2 / sum rho^2 over the last axis, between 1 and M."""
    return (2 * log_rho.logsumexp(-1) - (2 * log_rho).logsumexp(-1)).exp()
