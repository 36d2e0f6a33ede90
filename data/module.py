"""Experience as a LightningDataModule: a TorchRL replay buffer that hands out chunks of K updates at once."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, ReplayBuffer

from data.sampling import SeedSampler

if TYPE_CHECKING:
    from lit_modules.base import SeedModule


class ChunkLoader:
    """Iterates over the module's plan from its clock on, so a resumed run meets exactly the chunks it has not seen.

    A chunk is a TensorDict [K, S, B] with the transitions of K updates for S seeds. Its length is known: Lightning then
    never draws ahead, and the generators' state in a checkpoint is that of the last update done.
    """

    def __init__(self, buffer: ReplayBuffer, sampler: SeedSampler, module: "SeedModule"):
        self.buffer, self.sampler, self.module = buffer, sampler, module

    def __len__(self) -> int:
        return len(self.module.plan)

    def __iter__(self) -> Iterator[TensorDict]:
        n_seeds = len(self.sampler.generators)
        for chunk in self.module.plan:
            if chunk.start >= self.module.n_updates:
                self.sampler.n_updates = chunk.n_updates
                sample = self.buffer.sample(chunk.n_updates * n_seeds * chunk.batch_size)
                yield sample.reshape(chunk.n_updates, n_seeds, chunk.batch_size)

    def state_dict(self) -> dict[str, Any]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampler.load_state_dict(state)


class OfflineData(L.LightningDataModule):
    """The dataset of a row in a TorchRL replay buffer (`storage`: "tensor" in memory, "memmap" streamed from disk).

    Only `keys` are stored: what the module's updates read.
    """

    def __init__(self, transitions: TensorDict, keys: Sequence[Any], seeds: Sequence[int], storage: str = "tensor"):
        super().__init__()
        kind = {"tensor": LazyTensorStorage, "memmap": LazyMemmapStorage}[storage]
        self.sampler = SeedSampler(seeds)
        self.buffer = ReplayBuffer(storage=kind(len(transitions)), sampler=self.sampler, batch_size=None)
        self.buffer.extend(transitions.select(*keys))

    def train_dataloader(self) -> ChunkLoader:
        return ChunkLoader(self.buffer, self.sampler, self.trainer.lightning_module)  # type: ignore[arg-type]
