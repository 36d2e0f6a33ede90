"""Around the updates: Lightning, sampling, logging, checkpoints; loading data; memory; the time to start."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from timing import Line, medians

from data.buffer import OfflineDataModule
from data.catalog import store
from data.common.errors import ReproduceError
from data.common.paths import ROOT
from data.worlds import make_world
from lit_modules import algorithm
from reproduce.config import compose
from reproduce.experiment.build import build
from reproduce.experiment.train import train

ROWS = ("inspo/m_ne/balanced", "inspo/xor/ab_ba", "inspo/bridge/mix")
LARGE = "omiga/mujoco/halfcheetah_medium"  # a million transitions


def overhead(repeats: int) -> Iterator[Line]:
    """A whole fit at defaults but for its length, evaluations apart, beside the time inside its updates."""
    for row in ROWS:
        short = ["algo.n_behavior_updates=200", "algo.n_updates=300", "protocol.eval_episodes=1", "threads=1"]
        whole, inside = [], []
        for _ in range(max(1, repeats // 2)):
            with tempfile.TemporaryDirectory() as folder:
                experiment = build(compose(row, short), Path(folder))
                started = time.perf_counter()
                training = train(experiment)
                whole.append(time.perf_counter() - started - training.evaluate_seconds)
            inside.append(training.seconds)
        ratio = median(w / i for w, i in zip(whole, inside, strict=True))
        yield Line("whole loop", row, "fit without evaluations", median(whole), "s", ratio, "inside updates", "1.05")


def loading(repeats: int) -> Iterator[Line]:
    """Chunks of 100 updates of five seeds from a million transitions in memory and on disk."""
    settings = compose(LARGE)
    transitions, task = store.get(settings.data.id).transitions, settings.task
    layout = make_world(task.world, 1, **task.params).layout
    keys, batch = algorithm("omiga")[0].keys, settings.algo.batch_size
    made = {
        storage: OfflineDataModule(transitions, layout, keys, range(5), storage) for storage in ("tensor", "memmap")
    }
    times = medians({name: lambda d=data: d.sample(100, batch) for name, data in made.items()}, repeats)
    chunk = made["tensor"].sample(100, batch)
    times["views of all agents"] = medians({"expand": lambda: made["tensor"].to_schema(chunk)}, repeats)["expand"]
    for name, t in times.items():
        yield Line(
            "loading", LARGE, name, 100 * 5 * batch / t / 1e6, "M transitions/s", t / times["tensor"], "tensor, time"
        )


def memory(repeats: int) -> Iterator[Line]:
    """Peak resident memory of a whole run on a million transitions, as its record says."""
    size = store.get(compose(LARGE).data.id).transitions.bytes()
    short = ["budget=short", "algo.n_updates=200", "protocol.eval_every=200", "protocol.eval_episodes=1"]
    allowed = 1.3 * size + 2**30
    _, found = _process(["reproduce", LARGE, *short])
    peak = found[0]["memory"]["peak_bytes"]
    yield Line("memory", LARGE, "dataset", size / 2**20, "MiB")
    yield Line("memory", LARGE, "run, peak", peak / 2**20, "MiB", peak / allowed, "1.3 x dataset + 1 GiB", "1.00")


def start(repeats: int) -> Iterator[Line]:
    """Whole commands, with Python's own start; the project's own records are there."""
    once = ["algo.n_behavior_updates=1", "algo.n_updates=1", "protocol.eval_episodes=1"]
    commands = {"reproduce list": (["reproduce", "list"], 1), "one round of m_ne": (["reproduce", ROWS[0], *once], 15)}
    for name, (command, limit) in commands.items():
        t = median(_process(command)[0] for _ in range(max(1, repeats // 2)))
        yield Line("start", name, "whole command", t, "s", t / limit, f"{limit} s", "1.00")


def _process(arguments: list[str]) -> tuple[float, list[dict[str, Any]]]:
    """(wall seconds, new records) of `python -m ..` beside the project's records; the new ones are thrown away. Raises
    ReproduceError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        there = shutil.copytree(ROOT / "records", Path(folder) / "records")
        before, started = set(there.rglob("*.json")), time.perf_counter()
        env = os.environ | {"REPRODUCE_RECORDS": str(there)}
        run = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=env, capture_output=True, text=True)
        took = time.perf_counter() - started
        if run.returncode not in range(ReproduceError.exit_code):  # those of verdicts
            raise ReproduceError(f"{' '.join(arguments)} ended with {run.returncode}: {run.stderr[-500:]}")
        return took, [json.loads(path.read_text()) for path in set(there.rglob("*.json")) - before]
