"""What a stacked seed costs beside a plainly written one-seed run of the same InSPO round. Ratios within one run."""

import statistics
import time
from dataclasses import replace

import torch
from plain_inspo import PlainInSPO

from lit_modules.base import Chunk, Dims
from lit_modules.inspo import InSPO
from reproduce.config import compose
from reproduce.losses import transitions

ROUNDS, REPEATS = 20, 7
ROWS = {"inspo/m_ne/balanced": (2, 4, 3), "inspo/xor/ab_ba": (2, 4, 2), "inspo/bridge/mix": (2, 8, 5)}


def stacked(config, dims: Dims, n_seeds: int):
    module = InSPO(config, list(range(n_seeds)), dims)
    module.configure_optimizers()
    noise = {k: v.unbind(0) for k, v in module.draw(Chunk("round", 0, ROUNDS, config.n_candidates)).items()}
    data = transitions(config.n_candidates, dims, torch.float32)
    batch = torch.stack([data] * n_seeds)

    def run() -> None:
        for k in range(ROUNDS):
            module.update_round(batch, {name: values[k] for name, values in noise.items()})

    return run


def plain(config, dims: Dims):
    model = PlainInSPO(config, dims.n_agents, dims.obs_size, dims.n_actions)
    d = transitions(config.n_candidates, dims, torch.float32)
    candidates = {
        "obs": d["obs"],
        "next_obs": d["next", "obs"],
        "legal": d["legal_actions"],
        "next_legal": d["next", "legal_actions"],
        "action": d["action"],
        "reward": d["reward"][:, 0],
        "terminated": d["terminated"][:, 0].float(),
    }
    uniform = torch.rand(dims.n_agents, config.batch_size)

    def run() -> None:
        for k in range(ROUNDS):
            model.round(candidates, [k % 2, 1 - k % 2], uniform, 0.1)

    return run


def seconds(run) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) / ROUNDS


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("one InSPO round, 1 thread, ms (median of repeats taken in turn) and cost per seed relative to plain")
    for row, (n, o, a) in ROWS.items():
        config = replace(compose(row).algo, n_updates=ROUNDS, n_behavior_updates=0)
        dims = Dims(n, o, a, (0.0,) * o, (1.0,) * o)
        runs = {"plain, 1 seed": plain(config, dims)} | {
            f"stacked, S={s}": stacked(config, dims, s) for s in (1, 5, 10)
        }
        for run in runs.values():
            run()
        times = {name: [] for name in runs}
        for _ in range(REPEATS):
            for name, run in runs.items():
                times[name].append(seconds(run))
        base = statistics.median(times["plain, 1 seed"])
        for name, measured in times.items():
            seeds = int(name.split("=")[1]) if "=" in name else 1
            median = statistics.median(measured)
            print(f"  {row:22} {name:14} {median * 1e3:8.2f} ms   per seed {median / seeds / base:.2f}")
