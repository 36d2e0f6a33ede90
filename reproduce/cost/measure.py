"""The time of one update and of one evaluation step here, measured on made-up transitions.

The row's real module, chunk path and worlds run for all its seeds at once; so the dataset need not be there.
"""

import ctypes
import gc
import math
import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tensordict import TensorDict

from data.buffer import OfflineDataModule
from data.common.provenance import peak_memory
from data.worlds import make_world
from lit_modules import algorithm
from lit_modules.common.schedule import Phase, make_plan
from lit_modules.common.seed_module import SeedModule
from reproduce.config import Settings
from reproduce.cost.dataset_size import n_rows
from reproduce.experiment.build import build_module, open_device
from reproduce.experiment.evaluate import Evaluator

EVALUATION_SHARE = 0.25  # of a row's share of the calibration
STEPS = 25  # of an evaluation that is timed, where episodes are longer
REPEATS = 12  # chunks, or evaluations, that are timed at most
MADE_UP_BYTES = 64_000_000  # of synthetic transitions at most: beyond it the caches miss as often as with all of them


@dataclass(frozen=True)
class Timing:
    """Median seconds, and half the interquartile range over it."""

    seconds: float
    spread: float

    @classmethod
    def of(cls, times: Sequence[float]) -> "Timing":
        if len(times) < 2:
            return cls(times[0], math.nan)
        ordered = sorted(times)
        low, high = ordered[len(times) // 4], ordered[-1 - len(times) // 4]
        return cls(median(times), (high - low) / 2 / median(times))


@dataclass(frozen=True)
class Cost:
    """Measured for one setting. `update_s` per phase, `step_s` of the worlds of a whole evaluation, bytes."""

    update_s: dict[str, Timing]
    step_s: Timing
    peak: int | None  # of this process, its made-up transitions subtracted
    chunk: int  # one chunk as it is trained on, the difference to the measured one is added to the peak
    timed_chunk: int
    weights: int
    checkpoint: int
    numbers: int  # logged per chunk
    buffer_row: int  # bytes of one row in the buffer


def measure(settings: Settings, seconds: float) -> Cost:
    """The cost of one setting, from a calibration of about so many seconds. Raises ReproduceError where the row could
    not run."""
    began = time.perf_counter()
    device, _ = open_device(settings)
    peak = _Peak()
    protocol, task = settings.protocol, settings.task
    seeds = protocol.seeds

    def world(n: int, limit: int | None = None) -> Any:
        params = task.params | ({} if limit is None else {"episode_limit": limit})
        return make_world(task.world, n, device, **params)

    one = world(1)
    limit = min(STEPS, one.episode_limit) if "episode_limit" in task.params else None
    modes = algorithm(settings.algo.name)[0].modes
    evaluator = Evaluator(lambda n: world(n, limit), seeds, protocol.eval_episodes, modes)
    module = _prepared(settings, seeds, one, device)
    made_up = _made_up(one, n_rows(settings.data.id, one))
    data = OfflineDataModule(made_up, one.layout, module.keys, seeds, settings.data.storage, device)
    phases, before = [phase for phase in module.phases() if phase.n_updates], deepcopy(module.state_dict())
    left = seconds - (time.perf_counter() - began)  # what building took is part of the calibration
    share = max(0.1, (1 - EVALUATION_SHARE) * left / len(phases))
    update_s, chunk, timed = {}, 0, 0
    for phase in phases:
        timing, bytes_ = _time_updates(settings, module, phase, data, device, share)
        update_s[phase.name] = timing
        chunk, timed = max((chunk, timed), bytes_)
    module.load_state_dict(before)  # seeds that diverged on made-up data would sit out the evaluation
    step_s = _time_steps(evaluator, module, max(0.1, EVALUATION_SHARE * left))
    state = [module.state_dict(), *(o.state_dict()["state"] for o in module.optimizer.values())]
    checkpoint, weights = bytes_of(state), bytes_of(state[0])
    high = peak.read()
    in_buffer = bytes_of(data.buffer[:2].clone()) // 2
    held = bytes_of(made_up) + in_buffer * len(made_up)
    base = None if high is None else max(0, high - held)
    n_logged = len(module.__dict__["logged"]) + 2
    return Cost(update_s, step_s, base, chunk, timed, weights, checkpoint, n_logged, in_buffer)


def _prepared(settings: Settings, seeds: list[int], world: Any, device: torch.device) -> SeedModule:
    """The row's module, ready to be trained without a trainer."""
    module = build_module(settings, world).to(device)
    module.configure_optimizers()
    module.__dict__["logged"] = {}
    module.log_dict = lambda values, **_: module.__dict__["logged"].update(values)  # type: ignore[method-assign]
    module._look_for_divergence = lambda *_: None  # type: ignore[method-assign] # made-up data may diverge: same cost
    return module


def _time_updates(
    settings: Settings,
    module: SeedModule,
    phase: Phase,
    data: OfflineDataModule,
    device: torch.device,
    seconds: float,
) -> tuple[Timing, tuple[int, int]]:
    """(seconds of one update, bytes of a (whole, timed) chunk): sampling, transfer and training of chunks while the
    time lasts, after one that warms up."""
    whole, start = settings.run.chunk_size, 0
    for earlier in module.phases():
        if earlier.name == phase.name:
            break
        start += earlier.n_updates

    def one(n_updates: int) -> tuple[float, int]:
        """Seconds and bytes per update, of a chunk of so many."""
        module.n_updates = start
        chunk = make_plan([replace(phase, n_updates=n_updates)], n_updates)[0]
        module.__dict__["plan"] = [replace(chunk, start=start, streams=None)]
        started = time.perf_counter()
        batch = data.to_schema(data.chunk(chunk).to(device))
        module.training_step(batch, 0)
        _synchronize(device)
        return (time.perf_counter() - started) / n_updates, bytes_of(batch) // n_updates

    began = time.perf_counter()
    one(1)
    per_update, _ = one(1)
    left = seconds - (time.perf_counter() - began)
    n_updates = max(1, min(whole, phase.n_updates, int(left / per_update / (REPEATS + 1))))
    one(n_updates)
    times, size = [], 0
    while len(times) < 2 or (len(times) < REPEATS and time.perf_counter() - began < seconds):
        taken, size = one(n_updates)
        times.append(taken)
    return Timing.of(times), (size * min(whole, phase.n_updates), size * n_updates)


def _time_steps(evaluator: Evaluator, module: SeedModule, seconds: float) -> Timing:
    """Seconds of one step of an evaluation's worlds together, acting included."""
    evaluator.world = world = _Counted(evaluator.world)
    began, times = time.perf_counter(), []
    while len(times) < 3 or (len(times) < REPEATS and time.perf_counter() - began < seconds):
        world.steps, started = 0, time.perf_counter()
        evaluator(module)
        times.append((time.perf_counter() - started) / world.steps)
    return Timing.of(times[1:])


class _Counted:
    """A world that counts its steps: an evaluation stops when all its episodes have ended."""

    def __init__(self, world: Any):
        self.world, self.steps = world, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def step(self, td: TensorDict) -> Any:
        self.steps += 1
        return self.world.step(td)


def _made_up(world: Any, n: int) -> TensorDict:
    """Made-up experience as the row's dataset holds it: n rows, or as many as MADE_UP_BYTES hold."""
    return world.layout.synthetic(max(1000, min(n, MADE_UP_BYTES // world.layout.row_bytes)))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Peak:
    """The most memory that this process held since: Linux only, elsewhere unknown."""

    CLEAR = Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        gc.collect()
        try:
            ctypes.CDLL(None).malloc_trim(0)  # what an earlier calibration freed is not this one's
            self.CLEAR.write_text("5")
            self.known = True
        except (OSError, AttributeError):
            self.known = False

    def read(self) -> int | None:
        """Bytes."""
        return peak_memory() if self.known else None


def bytes_of(values: Any) -> int:
    """Bytes of all tensors in nested dicts, lists and TensorDicts; memory that several share counts once."""
    return sum(_storages(values).values())


def _storages(values: Any) -> dict[int, int]:
    """{address: bytes}"""
    if isinstance(values, torch.Tensor):
        return {values.untyped_storage().data_ptr(): values.untyped_storage().nbytes()}
    items = values.values() if isinstance(values, dict | TensorDict) else values
    return {k: v for x in items for k, v in _storages(x).items()} if isinstance(items, Iterable) else {}
