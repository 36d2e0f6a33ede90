"""Experience as a LightningDataModule: a TorchRL replay buffer that hands out chunks of K updates at once."""

import atexit
import logging
import math
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from filelock import FileLock, Timeout
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, ReplayBuffer

from data.common.minibatches import INDEPENDENT, Minibatches
from data.common.paths import outputs_dir
from data.layout import Layout


class Clock(Protocol):
    """A module as its loader sees it: a plan of chunks (lit_modules.common.schedule.Chunk), and how many updates are
    done."""

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


class OnDisk(_Selecting, LazyMemmapStorage):
    """Files below the outputs folder, which end with this storage; what a killed process left goes with the next."""

    def __init__(self, max_size: int, device: torch.device):
        place, self.close = scratch_folder("memmap")
        super().__init__(max_size, scratch_dir=place, device=device, auto_cleanup=False)


STORAGES = {"tensor": InMemory, "memmap": OnDisk}


def scratch_folder(kind: str) -> tuple[Path, Callable[[], object]]:
    """(a new folder outputs/scratch/<kind>-<hex>, what removes it); it goes as this process ends, however it does.

    A killed process cannot remove its own: a folder whose lock nobody holds is removed here.
    """
    root = outputs_dir() / "scratch"
    root.mkdir(parents=True, exist_ok=True)
    for old in root.glob("*.lock"):
        lock = FileLock(old, timeout=0)
        with suppress(Timeout, OSError), lock:
            shutil.rmtree(old.with_suffix(""), ignore_errors=True)
            old.unlink(missing_ok=True)
    place = root / f"{kind}-{uuid.uuid4().hex[:12]}"
    held = FileLock(f"{place}.lock")
    held.acquire()
    place.mkdir()

    def remove() -> None:
        shutil.rmtree(place, ignore_errors=True)
        Path(held.lock_file).unlink(missing_ok=True)
        held.release()

    atexit.register(remove)
    return place, remove


def _home(stored: TensorDict, device: torch.device) -> torch.device:
    """`device` where the data fit, else the CPU."""
    if device.type == "cuda" and stored.bytes() > torch.cuda.mem_get_info(device)[0] / 2:
        return torch.device("cpu")
    return device


class ChunkLoader:
    """Iterates over the module's plan from its clock on, so a resumed run meets exactly the chunks it has not seen.

    A chunk is a TensorDict [K, S, B] of transitions, or [K, S, B, T] of sequences: K updates for S seeds. Its length is
    known: Lightning then never draws ahead, and the generators' state in a checkpoint is that of the last update done.
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
                yield self.data.chunk(chunk)

    def state_dict(self) -> dict[str, Any]:
        return self.data.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.data.sampler.load_state_dict(state)


class OfflineDataModule(L.LightningDataModule):
    """The dataset of a row in a TorchRL replay buffer (`storage`: "tensor" in memory, "memmap" streamed from disk).

    Only the columns that `keys` of the schema are made from are stored: `layout` knows them, and derives the rest from
    a chunk when it has arrived on the device.

    In memory means the device's, where the data take less than half of its free memory; chunks from elsewhere reach it
    through pinned memory. Indices are drawn on the CPU whatever the device, by each seed's own generator.
    """

    def __init__(
        self,
        experience: TensorDict,
        layout: Layout,
        keys: Sequence[Any],
        seeds: Sequence[int],
        storage: str = "tensor",
        device: torch.device | str = "cpu",
    ):
        super().__init__()
        self.layout, self.keys, self.seeds = layout, list(keys), list(seeds)
        self.sampler = layout.sampler(seeds, experience)
        stored = layout.select(experience, keys)
        device = torch.device(device)
        self.storage_device = _home(stored, device) if storage == "tensor" else torch.device("cpu")
        self.buffer = ReplayBuffer(
            storage=STORAGES[storage](len(stored), device=self.storage_device),
            sampler=self.sampler,
            batch_size=None,
            pin_memory=self.storage_device != device,
        )
        self.buffer.extend(stored)

    def sample(
        self,
        n_updates: int,
        batch_size: int,
        n_seeds: int | None = None,
        keys: Sequence[Any] = (),
        sequence_length: int = 1,
        minibatches: Minibatches = INDEPENDENT,
        first_update: int = 0,
    ) -> TensorDict:
        """A chunk [K, S, B], or [K, S, B, T] of sequences, for the first S = `n_seeds` of the seeds (default all), not
        yet on the device. `keys`: the part of the schema that is needed, by default all that updates of any phase read.
        """
        n_seeds = n_seeds or len(self.seeds)
        sampler, shape = self.sampler, (n_updates, n_seeds, batch_size)
        sampler.n_updates, sampler.n_seeds, sampler.sequence_length = n_updates, n_seeds, sequence_length
        sampler.minibatches, sampler.first_update = minibatches, first_update
        keys = keys or self.keys
        sampler.with_next = any(isinstance(key, tuple) for key in keys)
        drawn = self.buffer.sample(math.prod(shape))
        if sequence_length == 1:
            return self.layout.cut(drawn, shape, keys)
        shape = (*shape, sequence_length)
        chunk = self.layout.cut(drawn, shape, keys)
        flags = {"mask": sampler.mask, "is_init": sampler.is_init}
        return chunk.update({key: flag.view(*shape, 1).to(self.storage_device) for key, flag in flags.items()})

    def chunk(self, planned: Any) -> TensorDict:
        """What a chunk of a plan (lit_modules.common.schedule.Chunk) asks for."""
        return self.sample(
            planned.n_updates, planned.batch_size, 1 if planned.shared else None, planned.keys,
            planned.sequence_length, planned.minibatches, planned.start,
        )  # fmt: skip

    def to_schema(self, chunk: TensorDict) -> TensorDict:
        """The chunk as the schema has it: where features are stored, observations now and next are derived."""
        return self.layout.to_schema(chunk, self.keys)

    def train_dataloader(self) -> ChunkLoader:
        return ChunkLoader(self, self.trainer.lightning_module)  # type: ignore[arg-type]

    def on_after_batch_transfer(self, batch: TensorDict, dataloader_idx: int) -> TensorDict:
        return self.to_schema(batch)
