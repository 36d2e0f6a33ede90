"""One OMIGA update beside a plainly written one-seed version: ms, and cost per seed as a ratio within one run."""

import statistics
import sys
import time

import torch
from plain_omiga import PlainOMIGA
from tensordict import TensorDict

from lit_modules.base import Dims
from lit_modules.omiga import OMIGA
from reproduce.config import compose

UPDATES, REPEATS = 5, 9
SIZES = {"halfcheetah": (6, 23, 1), "hopper": (3, 14, 1), "ant": (2, 113, 4)}


def batch(lead: tuple[int, ...], n: int, o: int, a: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    view = (*lead, n, o)
    b = {key: torch.randn(view, generator=g) for key in ("obs", "next_obs")}
    b |= {"state": b["obs"], "next_state": b["next_obs"], "action": torch.rand(*lead, n, a, generator=g) * 2 - 1}
    return b | {"reward": torch.randn(*lead, 1, generator=g), "mask": torch.ones(*lead, 1)}


def stacked(config, n: int, o: int, a: int, n_seeds: int, compiled: bool):
    module = OMIGA(config, list(range(n_seeds)), Dims(n, o, action_size=a, state_size=o))
    module.configure_optimizers()
    b = batch((n_seeds, config.batch_size), n, o, a)
    now = {key: b[key] for key in ("obs", "state", "action", "reward")} | {"terminated": b["mask"] == 0}
    data = TensorDict({**now, "next": {"obs": b["next_obs"], "state": b["next_state"]}}, [n_seeds, config.batch_size])
    update = torch.compile(module.update_train) if compiled else module.update_train
    return lambda: update(data, {})


def plain(config, n: int, o: int, a: int):
    model, b = PlainOMIGA(config, n, o, a), batch((config.batch_size,), n, o, a)
    return lambda: model.update(b)


def seconds(run) -> float:
    started = time.perf_counter()
    for _ in range(UPDATES):
        run()
    return (time.perf_counter() - started) / UPDATES


if __name__ == "__main__":
    config = compose("omiga/mujoco/halfcheetah_medium").algo
    compile_too = "--compile" in sys.argv
    for threads in (1, 2):
        torch.set_num_threads(threads)
        print(
            f"one OMIGA update, batch {config.batch_size}, {threads} threads: median ms, and per seed relative to plain"
        )
        for task, (n, o, a) in SIZES.items():
            runs = {("plain", 1): plain(config, n, o, a)}
            runs |= {("stacked", s): stacked(config, n, o, a, s, False) for s in (1, 5)}
            if compile_too:
                runs |= {("compiled", s): stacked(config, n, o, a, s, True) for s in (1, 5)}
            for run in runs.values():
                run()
            times = {key: [] for key in runs}
            for _ in range(REPEATS):
                for key, run in runs.items():
                    times[key].append(seconds(run))
            base = statistics.median(times["plain", 1])
            for (kind, s), measured in times.items():
                median = statistics.median(measured)
                print(
                    f"  {task:12} {kind:9} S={s}  {median * 1e3:8.2f} ms   per seed {median / s / base:.2f}", flush=True
                )
