"""Experience as a LightningDataModule: a TorchRL replay buffer that hands out chunks of K updates at once."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import lightning as L
import torch
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, ReplayBuffer

from data.samplers import RowSampler, SeedSampler


class Clock(Protocol):
    """What a loader asks of the module that it feeds: its plan of chunks, and how many updates are done.

    A chunk has `start`, `n_updates`, `batch_size`, `shared`, `keys` and `streams`: lit_modules.common.schedule.Chunk.
    """

    n_updates: int

    plan: Any  # a sequence of chunks


logging.getLogger("torchrl").setLevel(logging.ERROR)


class _Selecting:
    """Rows are read by `index_select`, which copies them four times as fast as indexing (measured, CPU)."""

    def get(self, index: Any) -> Any:
        if not isinstance(index, torch.Tensor):
            return super().get(index)  # type: ignore[misc]
        rows: TensorDict = self._storage  # type: ignore[attr-defined]
        at = index.to(rows.device or "cpu")
        return rows.apply(lambda column: column.index_select(0, at), batch_size=[len(at)])


class InMemory(_Selecting, LazyTensorStorage): ...


class OnDisk(_Selecting, LazyMemmapStorage): ...


STORAGES = {"tensor": InMemory, "memmap": OnDisk}


def _home(transitions: TensorDict, device: torch.device) -> torch.device:
    """`device` where the data fit, else the CPU."""
    if device.type == "cuda" and transitions.bytes() > torch.cuda.mem_get_info(device)[0] / 2:
        return torch.device("cpu")
    return device


class ChunkLoader:
    """Iterates over the module's plan from its clock on, so a resumed run meets exactly the chunks it has not seen.

    A chunk is a TensorDict [K, S, B] with the transitions of K updates for S seeds. Its length is known: Lightning then
    never draws ahead, and the generators' state in a checkpoint is that of the last update done.
    """

    def __init__(self, data: "OfflineDataModule", module: Clock):
        self.data, self.module = data, module

    def __len__(self) -> int:
        return len(self.module.plan)

    def __iter__(self) -> Iterator[TensorDict]:
        for chunk in self.module.plan:
            if chunk.start >= self.module.n_updates:
                if chunk.streams is not None:
                    self.data.sampler.start(chunk.streams)
                yield self.data.sample(chunk.n_updates, chunk.batch_size, 1 if chunk.shared else None, chunk.keys)

    def state_dict(self) -> dict[str, Any]:
        return self.data.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.data.sampler.load_state_dict(state)


class OfflineDataModule(L.LightningDataModule):
    """The dataset of a row in a TorchRL replay buffer (`storage`: "tensor" in memory, "memmap" streamed from disk).

    Only `keys` are stored: what the module's updates read. Of a dataset kept as rows (data.schema) the rows are stored,
    and the agents' observations are derived by the world's `observe` from a chunk when it has arrived on the device.

    In memory means the device's, where the data take less than half of what is free there; chunks from elsewhere reach
    it through pinned memory. Indices are drawn on the CPU whatever the device, by each seed's own generator.
    """

    def __init__(
        self,
        transitions: TensorDict,
        keys: Sequence[Any],
        seeds: Sequence[int],
        storage: str = "tensor",
        observe: Callable[[torch.Tensor], dict[str, torch.Tensor]] | None = None,
        device: torch.device | str = "cpu",
    ):
        super().__init__()
        self.keys, self.seeds, self.observe = list(keys), list(seeds), observe
        self.as_rows = "features" in transitions
        if self.as_rows:
            self.sampler: SeedSampler = RowSampler(seeds, transitions["final"].squeeze(-1))
            if "rewards" in keys and "rewards" not in transitions:  # the team's reward is each agent's
                rewards = transitions["reward"].expand(-1, transitions["action"].shape[-2])
                transitions = transitions.clone(recurse=False).set("rewards", rewards)
            transitions = transitions.select("features", *keys, strict=False)  # whatever else is derived
        else:
            self.sampler = SeedSampler(seeds)
            transitions = transitions.select(*keys)
        device = torch.device(device)
        self.storage_device = _home(transitions, device) if storage == "tensor" else torch.device("cpu")
        self.buffer = ReplayBuffer(
            storage=STORAGES[storage](len(transitions), device=self.storage_device),
            sampler=self.sampler,
            batch_size=None,
            pin_memory=self.storage_device != device,
        )
        self.buffer.extend(transitions)

    def sample(
        self, n_updates: int, batch_size: int, n_seeds: int | None = None, keys: Sequence[Any] = ()
    ) -> TensorDict:
        """A chunk [K, S, B] for the first S = `n_seeds` of the seeds (default all), not yet on the device. `keys`: what
        is needed of it, by default all that the updates of any phase read."""
        n_seeds = n_seeds or len(self.seeds)
        self.sampler.n_updates, self.sampler.n_seeds = n_updates, n_seeds
        shape = (n_updates, n_seeds, batch_size)
        later = not keys or any(isinstance(key, tuple) for key in keys)
        if isinstance(self.sampler, RowSampler):
            self.sampler.with_next = later
        drawn = self.buffer.sample(math.prod(shape))
        if not self.as_rows:
            return (drawn.select(*keys) if keys else drawn).reshape(*shape)
        chunk, *after = drawn.split(math.prod(shape))
        chunk = chunk.select("features", *keys, strict=False) if keys else chunk.clone(recurse=False)
        if later:
            chunk["next_features"] = after[0]["features"]
        return chunk.reshape(*shape)

    def to_schema(self, chunk: TensorDict) -> TensorDict:
        """The chunk as the schema has it: where features are stored, observations now and next are derived."""
        if not self.as_rows:
            return chunk
        with torch.no_grad():
            derived: dict[str, Any] = dict(self.observe(chunk["features"]))  # type: ignore[misc]
            if "next_features" in chunk:
                derived["next"] = self.observe(chunk["next_features"])  # type: ignore[misc]
        return chunk.exclude("features", "next_features").update(derived).select(*self.keys, strict=False)

    def train_dataloader(self) -> ChunkLoader:
        return ChunkLoader(self, self.trainer.lightning_module)  # type: ignore[arg-type]

    def on_after_batch_transfer(self, batch: TensorDict, dataloader_idx: int) -> TensorDict:
        return self.to_schema(batch)
