"""Time, memory, disk and seeds for a verdict of rows on this machine, from a calibration of seconds.

Rows of the same cost share one measurement. Everything else is derived, and says from what.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from data.worlds import make_world
from reproduce import published, records
from reproduce.config import Settings, compose, number_of_readings
from reproduce.core import console
from reproduce.cost.dataset_size import dataset_files, n_rows
from reproduce.cost.measure import Cost, measure
from reproduce.experiment.build import build_module
from reproduce.experiment.callback import evaluation_points
from reproduce.judge import foresee, seeds_for_verdict, why_never

CALIBRATION_S = 30.0
DRY_CALIBRATION_S = 10.0
LOG_BYTES_PER_NUMBER = 20  # of a CSV file


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
    never_reproduced: str  # why no number of seeds could give REPRODUCED; empty where one could, or it is not known
    power: float | None  # of the row's seeds: probability of REPRODUCED, were the true means equal
    told: float | None  # the smallest true loss that would be told in 80 % of runs
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
            costs[key] = measure(settings, seconds / len(distinct))
            bar.update(len(costs))
    return [_estimate(settings, costs[key]) for settings, key in zip(rows, keys, strict=True)]


def _cost_key(settings: Settings) -> str:
    """Equal for rows whose updates and evaluations take the same time; the dataset is not part of it."""
    protocol, run = settings.values["protocol"], settings.values["run"]
    how = {key: value for key, value in run.items() if key not in ("logger", "checkpoint_every_s")}
    played = [protocol["n_seeds"], protocol["eval_episodes"], settings.values["data"]["storage"]]
    return json.dumps([settings.values["algo"], settings.values["task"], how, played], sort_keys=True)


def _estimate(settings: Settings, cost: Cost) -> Estimate:
    protocol, task, data = settings.protocol, settings.task, settings.data
    world = make_world(task.world, 1, **task.params)
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
    threads = settings.run.threads or torch.get_num_threads()
    notes = ["start, loading of data and Lightning's own share are not in the time"]
    if settings.run.accelerate != "none":
        notes.append("compiling and capturing are not in the time")
    if settings.run.device == "cuda":
        notes.append("memory is the host's; the device's is unknown")
    if world.start_size:  # starts at random: lengths vary
        notes.append("evaluation is that of episodes that reach their limit")
    files, built = dataset_files(data.id)
    if not built and data.kind == "regenerated":
        notes.append("the dataset is not built: that comes first and takes unknown time; its size is at most")
    in_memory = n_rows(data.id, world) * (world.layout.row_bytes + (cost.buffer_row if data.storage == "tensor" else 0))
    readings = number_of_readings(settings.row, settings.overrides)
    needed, basis, scores = _verdict_seeds(settings, readings)
    bound = published.row(settings.row).bound
    power = foresee(bound, protocol.n_seeds, scores, readings)
    if never := why_never(bound, scores, readings):
        notes.append(f"can never be REPRODUCED: {never}")
    if settings.differs:
        notes.append("these settings are not the row's: NOT COMPARABLE, with any number of seeds")
    return Estimate(
        row=settings.row,
        seeds=protocol.n_seeds,
        n_updates=n_updates,
        train_s=total - evaluate_s,
        evaluate_s=evaluate_s,
        evaluations=evaluations,
        spread=spread,
        memory_bytes=None if cost.peak is None else cost.peak + in_memory + cost.chunk - cost.timed_chunk,
        dataset_bytes=files if data.kind == "regenerated" else {},
        dataset_built=built,
        run_bytes=2 * cost.checkpoint + cost.weights + len(module.plan) * cost.numbers * LOG_BYTES_PER_NUMBER,
        seeds_for_verdict=needed,
        seeds_basis=basis,
        never_reproduced=never,
        power=power and power.reproduced,
        told=power and power.told,
        threads=threads,
        notes=notes,
    )


def _verdict_seeds(settings: Settings, readings: int) -> tuple[int | str | None, str, Sequence[float]]:
    """(seeds that a conclusive verdict takes, what that rests on, recorded scores): of the last record of these
    settings in the row's metric, else of the paper's spread."""
    row = published.row(settings.row)
    found = [r for r in records.read_sound(settings.row, "row") if r["config_fingerprint"] == settings.fingerprint]
    scores = next((r["scores"]["per_seed"] for r in reversed(found) if r["scores"]["metric"] == row.metric), ())
    scores = records.healthy(scores)
    return *seeds_for_verdict(row.bound, scores, readings), scores


def totals(found: Sequence[Estimate]) -> dict[str, Any]:
    """Totals of rows that run one after another: seconds in all, the most memory (None: unknown), disk.

    A dataset that several rows read counts once.
    """
    sets = {name: n for e in found for name, n in e.dataset_bytes.items()}
    memory = [e.memory_bytes for e in found if e.memory_bytes is not None]
    return {
        "total_s": sum(e.total_s for e in found),
        "memory_bytes": max(memory) if len(memory) == len(found) else None,
        "disk_bytes": sum(sets.values()) + sum(e.run_bytes for e in found),
    }


def dry_run(names: Sequence[str], overrides: list[str], at_a_time: int = 1) -> tuple[list[Estimate], dict[str, Any]]:
    """(the estimates of rows, {at_least_s, jobs} of `--dry-run --json`) where so many jobs run at a time.

    Nothing is built, launched or written. Raises ReproduceError where a row could not run.
    """
    rows = [compose(name, overrides) for name in names if not name.startswith("claims/")]
    found = estimates(rows, DRY_CALIBRATION_S)
    jobs = [e.to_json() for e in found] + [{"row": name} for name in names if name.startswith("claims/")]
    # No schedule is shorter than either.
    least = max([sum(e.total_s for e in found) / at_a_time, *(e.total_s for e in found)], default=0.0)
    return found, {"at_least_s": least, "jobs": jobs}
