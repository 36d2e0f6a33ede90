"""What rows will cost on this machine, from a calibration of seconds: time, memory, disk, and seeds for a verdict.

Measured: updates and steps of the row's real module, chunk path and worlds, for all its seeds at once, on made-up
transitions; so the dataset need not be there. Rows of the same cost share one measurement. Everything else is derived,
and says from what.
"""

import ctypes
import gc
import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tensordict import TensorDict

from data.buffer import OfflineData
from data.catalog import store
from data.catalog.registry import dataset
from data.common.provenance import peak_memory
from data.schema import layout, rows_layout
from data.worlds import make_world
from lit_modules import algorithm
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.seed_module import SeedModule
from reproduce import published, records
from reproduce.config import Settings, compose
from reproduce.core import console
from reproduce.experiment.build import build_module, open_device
from reproduce.experiment.evaluate import Evaluator
from reproduce.experiment.train import evaluation_points
from reproduce.jobs.sweep import Launcher, job_threads, with_threads
from reproduce.judge import seeds_for_verdict
from reproduce.regression import fingerprints

CALIBRATION_S = 30.0
DRY_CALIBRATION_S = 10.0
EVALUATION_SHARE = 0.25  # of a row's share of the calibration
STEPS = 25  # of an evaluation that is timed, where episodes are longer
REPEATS = 12  # chunks, or evaluations, that are timed at most
MADE_UP_BYTES = 64_000_000  # of synthetic transitions at most: beyond it the caches miss as often as with all of them
UNSTEADY = 0.1  # half the range of the middle of the times over their median, above which a time is printed with ±
LOG_BYTES_PER_NUMBER = 20  # of a CSV file


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


@dataclass
class Estimate:
    """One row. None = unknown."""

    row: str
    seeds: int
    n_updates: int
    train_s: float
    evaluate_s: float
    evaluations: int
    spread: float  # of the total, relative
    memory_bytes: int | None
    dataset_bytes: dict[str, int]  # on disk
    dataset_built: bool
    run_bytes: int  # checkpoint, weights and logs
    seeds_for_verdict: int | str | None
    seeds_basis: str
    threads: int
    notes: list[str] = field(default_factory=list)

    @property
    def total_s(self) -> float:
        return self.train_s + self.evaluate_s

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"total_s": self.total_s, "spread": None if math.isnan(self.spread) else self.spread}


def estimates(rows: Sequence[Settings], seconds: float | None = None) -> list[Estimate]:
    """One Estimate per row, `seconds` (CALIBRATION_S) of calibration in all. Raises ReproduceError where a row could
    not run."""
    seconds = CALIBRATION_S if seconds is None else seconds
    keys = [_cost_key(settings) for settings in rows]
    distinct = dict(zip(keys, rows, strict=True))
    costs: dict[str, Cost] = {}
    with console.bar("calibrating", len(distinct), "settings") as bar:
        for key, settings in distinct.items():
            costs[key] = _measure(settings, seconds / len(distinct))
            bar.update(len(costs))
    return [_estimate(settings, costs[key]) for settings, key in zip(rows, keys, strict=True)]


def _cost_key(settings: Settings) -> str:
    """Equal for rows whose updates and evaluations take the same time; the dataset is not part of it."""
    protocol, run = settings.values["protocol"], settings.values["run"]
    how = {key: value for key, value in run.items() if key not in ("logger", "checkpoint_every_s")}
    played = [protocol["n_seeds"], protocol["eval_episodes"], settings.values["data"]["storage"]]
    return json.dumps([settings.values["algo"], settings.values["task"], how, played], sort_keys=True)


# ---- measuring


def _measure(settings: Settings, seconds: float) -> Cost:
    began = time.perf_counter()
    device, _ = open_device(settings)
    peak = _Peak()
    protocol, task = settings.values["protocol"], settings.values["task"]
    seeds = list(range(protocol["first_seed"], protocol["first_seed"] + protocol["n_seeds"]))

    def world(n: int, limit: int | None = None) -> Any:
        params = task["params"] | ({} if limit is None else {"episode_limit": limit})
        return make_world(task["world"], n, device, **params)

    one = world(1)
    limit = min(STEPS, one.episode_limit) if "episode_limit" in task["params"] else None
    modes = algorithm(settings.values["algo"]["name"])[0].modes
    evaluator = Evaluator(lambda n: world(n, limit), seeds, protocol["eval_episodes"], modes)
    module = _prepared(settings, seeds, one, device)
    made_up = _transitions(module, one, _n_rows(settings.values["data"]["id"], one))
    data = OfflineData(made_up, module.keys, seeds, settings.values["data"]["storage"], one.views, device)
    phases = [phase for phase in module.phases() if phase.n_updates]
    left = seconds - (time.perf_counter() - began)  # what building took is part of the calibration
    share = max(0.1, (1 - EVALUATION_SHARE) * left / len(phases))
    update_s, chunk, timed = {}, 0, 0
    for phase in phases:
        timing, bytes_ = _time_updates(settings, module, phase, data, device, share)
        update_s[phase.name] = timing
        chunk, timed = max((chunk, timed), bytes_)
    step_s = _time_steps(evaluator, module, max(0.1, EVALUATION_SHARE * left))
    state = [module.state_dict(), *(o.state_dict()["state"] for o in module.optimizer.values())]
    checkpoint, weights = _bytes(state), _bytes(state[0])
    high = peak.read()
    in_buffer = _bytes(data.buffer[:2].clone()) // 2
    held = _bytes(made_up) + in_buffer * len(made_up)
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
    data: OfflineData,
    device: torch.device,
    seconds: float,
) -> tuple[Timing, tuple[int, int]]:
    """(seconds of one update, bytes of a (whole, timed) chunk): sampling, transfer and training of chunks while the
    time lasts, after one that warms up."""
    whole, start = settings.values["run"]["chunk_size"], 0
    for earlier in module.phases():
        if earlier.name == phase.name:
            break
        start += earlier.n_updates

    def one(n_updates: int) -> tuple[float, int]:
        """Seconds and bytes per update, of a chunk of so many."""
        module.n_updates = start
        module.__dict__["plan"] = [Chunk(phase.name, start, n_updates, phase.batch_size, phase.shared, phase.keys)]
        started = time.perf_counter()
        drawn = data.sample(n_updates, phase.batch_size, 1 if phase.shared else None, phase.keys)
        batch = data.expand(drawn.to(device))
        module.training_step(batch, 0)
        _synchronize(device)
        return (time.perf_counter() - started) / n_updates, _bytes(batch) // n_updates

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


def _transitions(module: SeedModule, world: Any, n: int) -> TensorDict:
    """Made-up experience as the row's dataset holds it: n rows, or as many as MADE_UP_BYTES hold."""
    n = max(1000, min(n, MADE_UP_BYTES // _row_bytes(world)))
    if world.discrete:
        return fingerprints.transitions(n, module.dims, torch.float32)
    final = torch.zeros(n, 1, dtype=torch.bool)
    final[world.episode_limit :: world.episode_limit + 1] = True
    final[-1] = True
    none = torch.zeros(n, 1, dtype=torch.bool)
    return TensorDict(
        {
            "features": torch.randn(n, world.n_features),
            "action": torch.rand(n, world.n_agents, world.action_size) * 2 - 1,
            "reward": torch.randn(n, 1),
            **({"rewards": torch.randn(n, world.n_agents)} if world.individual_rewards else {}),
            **{"terminated": none, "truncated": none.clone(), "final": final},
        },
        [n],
    )


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


# ---- deriving


def _estimate(settings: Settings, cost: Cost) -> Estimate:
    protocol, task, data = (settings.values[group] for group in ("protocol", "task", "data"))
    world = make_world(task["world"], 1, **task["params"])
    module = build_module(settings, world)
    phases = [phase for phase in module.phases() if phase.n_updates]
    timings = {phase.name: cost.update_s[phase.name] for phase in phases}
    parts = {p.name: (p.n_updates * timings[p.name].seconds, timings[p.name].spread) for p in phases}
    n_updates = sum(phase.n_updates for phase in phases)
    evaluations = len(evaluation_points(module)) + 1  # the final weights are played once more
    evaluate_s = evaluations * world.episode_limit * cost.step_s.seconds
    parts["evaluation"] = (evaluate_s, cost.step_s.spread)
    total = sum(s for s, _ in parts.values())
    spread = sum(s * r for s, r in parts.values()) / total if total else 0.0
    threads = settings.values["run"]["threads"] or torch.get_num_threads()
    notes = ["start, loading of data and Lightning's own share are not in the time"]
    if settings.values["run"]["accelerate"] != "none":
        notes.append("compiling and capturing are not in the time")
    if settings.values["run"]["device"] == "cuda":
        notes.append("memory is the host's; the device's is unknown")
    if not world.discrete:
        notes.append("evaluation is that of episodes that reach their limit")
    files, built = dataset_files(data["id"])
    if not built and data["kind"] == "regenerated":
        notes.append("the dataset is not built: that comes first and takes unknown time; its size is at most")
    n_rows = _n_rows(data["id"], world)
    in_memory = n_rows * (_row_bytes(world) + (cost.buffer_row if data["storage"] == "tensor" else 0))
    needed, basis = _verdict_seeds(settings)
    if settings.differs:
        notes.append("these settings are not the row's: NOT COMPARABLE, with any number of seeds")
    return Estimate(
        row=settings.row,
        seeds=protocol["n_seeds"],
        n_updates=n_updates,
        train_s=total - evaluate_s,
        evaluate_s=evaluate_s,
        evaluations=evaluations,
        spread=spread,
        memory_bytes=None if cost.peak is None else cost.peak + in_memory + cost.chunk - cost.timed_chunk,
        dataset_bytes=files if data["kind"] == "regenerated" else {},
        dataset_built=built,
        run_bytes=2 * cost.checkpoint + cost.weights + len(module.plan) * cost.numbers * LOG_BYTES_PER_NUMBER,
        seeds_for_verdict=needed,
        seeds_basis=basis,
        threads=threads,
        notes=notes,
    )


def dataset_files(dataset_id: str) -> tuple[dict[str, int], bool]:
    """({dataset: bytes on disk}, whether it is built): measured, or at most, with the parts that must be built too."""
    file = store.folder_of(dataset_id) / store.TRANSITIONS
    if file.exists():
        return {dataset_id: file.stat().st_size}, True
    recipe = dataset(dataset_id)["generator"]
    files = {dataset_id: store._size(dataset_id)}
    for part in recipe["params"]["parts"] if recipe["name"] == "concatenation" else []:
        files |= dataset_files(part)[0]
    return files, False


def _n_rows(dataset_id: str, world: Any) -> int:
    """Rows of the file: the manifest's, or at most."""
    manifest = store.folder_of(dataset_id) / store.MANIFEST
    if manifest.exists():
        statistics = json.loads(manifest.read_text(encoding="utf-8"))["statistics"]
        return statistics.get("n_rows", statistics["n_transitions"])
    return store._size(dataset_id) // _row_bytes(world)


def _row_bytes(world: Any) -> int:
    """Of one row of the schema, as loaded."""
    if world.discrete:
        keys = layout(world.n_agents, world.obs_size, world.state_size, world.n_actions)
    else:
        keys = rows_layout(world.n_features, world.n_agents, world.action_size, world.individual_rewards)
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in keys.values())


def _verdict_seeds(settings: Settings) -> tuple[int | str | None, str]:
    """Seeds that a conclusive verdict takes, and what that rests on: the last record of these settings, else any."""
    own = [r for r in records.read(settings.row, "row") if records.of_own_algorithm(r)]
    same = [r for r in own if r["config_fingerprint"] == settings.fingerprint]
    record = (same or own or [None])[-1]
    scores = record["scores"]["per_seed"] if record else ()
    needed, basis = seeds_for_verdict(published.row(settings.row).bound, scores)
    if record and not same and needed is not None:
        basis += (
            f", of a run with other settings ({', '.join(d['key'] for d in record['differs']) or 'fewer overrides'})"
        )
    return needed, basis


def _bytes(values: Any) -> int:
    """Of all tensors in nested dicts, lists and TensorDicts; memory that several share counts once."""
    return sum(_storages(values).values())


def _storages(values: Any) -> dict[int, int]:
    """{address: bytes}"""
    if isinstance(values, torch.Tensor):
        return {values.untyped_storage().data_ptr(): values.untyped_storage().nbytes()}
    items = values.values() if isinstance(values, dict | TensorDict) else values
    return {k: v for x in items for k, v in _storages(x).items()} if isinstance(items, Iterable) else {}


# ---- printing


def plan(rows: Sequence[Settings], as_json: bool) -> int:
    """`reproduce plan`: the estimates as a table or as one JSON document."""
    found = estimates(rows)
    sets = {name: n for e in found for name, n in e.dataset_bytes.items()}
    memory = [e.memory_bytes for e in found if e.memory_bytes is not None]
    total = {
        "total_s": sum(e.total_s for e in found),
        "memory_bytes": max(memory) if len(memory) == len(found) else None,
        "disk_bytes": sum(sets.values()) + sum(e.run_bytes for e in found),
    }
    if as_json:
        print(json.dumps({"rows": [e.to_json() for e in found], "total": total}, indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("row", "seeds", "updates", "training", "evaluation", "memory", "disk", "seeds for a verdict")
    for e in found:
        table.add_row(
            e.row,
            str(e.seeds),
            f"{e.n_updates:,}",
            duration(e.train_s) + plus_minus(e.spread),
            f"{duration(e.evaluate_s)}, {e.evaluations} times",
            size(e.memory_bytes),
            f"{'' if e.dataset_built else '≤ '}{size(sum(e.dataset_bytes.values()) + e.run_bytes)}",
            "unknown" if e.seeds_for_verdict is None else str(e.seeds_for_verdict),
        )
    Console(width=None if os.isatty(1) else 140).print(table)
    print(
        f"one after another {duration(total['total_s'])} on {found[0].threads} thread(s), memory at most "
        f"{size(total['memory_bytes'])}, disk {size(total['disk_bytes'])} (each dataset counted once)"
    )
    said: dict[str, list[str]] = {}
    for e in found:
        for text in (*e.notes, f"seeds for a verdict: from {e.seeds_basis}"):
            said.setdefault(text, []).append(e.row)
    for text, about in said.items():
        more = f" and {len(about) - 2} more" if len(about) > 2 else ""
        print(f"- {text}" + ("" if len(about) == len(found) else f" ({', '.join(about[:2])}{more})"))
    return 0


def dry_run(names: Sequence[str], overrides: list[str], launcher: Launcher | None, as_json: bool) -> int:
    """What the command would do: a line per job, and what the launcher would. Nothing is built, launched or written.

    Raises ReproduceError where a row could not run.
    """
    if launcher is not None:
        overrides = with_threads(overrides, job_threads(overrides, launcher))
    rows = [compose(name, overrides) for name in names if not name.startswith("claims/")]
    found = estimates(rows, DRY_CALIBRATION_S)
    jobs = [e.to_json() for e in found] + [{"row": name} for name in names if name.startswith("claims/")]
    does = "in this process, one row after another" if launcher is None else launcher.describe()
    at_a_time = 1 if launcher is None else launcher.n_jobs
    # No schedule is shorter than either.
    least = max([sum(e.total_s for e in found) / at_a_time, *(e.total_s for e in found)], default=0.0)
    if as_json:
        stated = None if launcher is None else asdict(launcher)
        print(json.dumps({"launcher": stated, "does": does, "at_least_s": least, "jobs": jobs}, indent=1))
        return 0
    for e in found:
        took = f"{e.total_s / 3600:.3g} h{plus_minus(e.spread)}"
        print(f"{e.row}  {e.seeds} seeds  {e.n_updates:,} updates  {took}  {size(e.memory_bytes)}")
    for job in jobs[len(found) :]:
        print(f"{job['row']}  a claim: seeds, time and memory unknown before it runs")
    print(f"{does}; at least {least / 3600:.3g} h as one job takes it alone on this machine. Nothing was launched.")
    return 0


def duration(seconds: float) -> str:
    """Two digits that matter: 0.12 s, 34 s, 5.6 min, 7.8 h, 12 days."""
    for unit, length, longest in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 72), ("days", 86400, math.inf)):
        if seconds < length * longest:
            value = seconds / length
            return f"{value:.2g} {unit}" if value < 10 else f"{value:.0f} {unit}"
    raise AssertionError(seconds)


def plus_minus(spread: float) -> str:
    """Empty where the times were steady."""
    if math.isnan(spread):
        return " ± unknown"
    return f" ± {100 * spread:.0f} %" if spread > UNSTEADY else ""


def size(n_bytes: int | None) -> str:
    """In MB or GB."""
    if n_bytes is None:
        return "unknown"
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
