"""Seconds per evaluated Bridge episode: 100 worlds stepped at once against one world at a time, random policy.

    python benchmarks/bridge_worlds.py [repeats]

Prints both medians and their ratio, measured alternately in one run. The target is a ratio of 50 or more. The second
reference steps the same table without TorchRL, one episode after another, in plain Python: what a minimal unbatched
environment would cost.
"""

import os
import random
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from data.worlds import make_world
from data.worlds.bridge import GOALS, STARTS, move, reward_of

EPISODES, LIMIT = 100, 20


def play(world, episodes: int) -> float:
    """Seconds per episode; `episodes` at a time per world until all are done."""
    generator = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    for _ in range(episodes // len(world.joint_state)):
        td, total = world.reset(), 0.0
        for _ in range(LIMIT):
            td["action"] = torch.randint(0, 5, (*world.batch_size, 2), generator=generator)
            td = world.step(td)["next"]
            total = total + td["reward"]
            if td["done"].all():
                break
    return (time.perf_counter() - start) / episodes


def play_plain(episodes: int) -> float:
    """Seconds per episode of the rules in plain Python, without tensors."""
    draw, start = random.Random(0), time.perf_counter()
    for _ in range(episodes):
        cells, total = STARTS[True], 0.0
        for _ in range(LIMIT):
            cells = move(*cells, draw.randrange(5), draw.randrange(5))
            total += reward_of(*cells)
            if cells == GOALS:
                break
    return (time.perf_counter() - start) / episodes


def main(repeats: int) -> None:
    batched, single = make_world("bridge", EPISODES), make_world("bridge", 1)
    play(batched, EPISODES), play(single, 2)  # warm up
    times: dict[str, list[float]] = {"batched": [], "single": [], "plain": []}
    for _ in range(repeats):
        times["batched"].append(play(batched, EPISODES))
        times["single"].append(play(single, EPISODES))
        times["plain"].append(play_plain(EPISODES))
    batch, one, plain = (statistics.median(times[name]) for name in ("batched", "single", "plain"))
    print(f"{EPISODES} worlds at once   {batch * 1e6:9.1f} us per episode (median of {repeats})")
    print(f"1 world at a time   {one * 1e6:9.1f} us per episode, ratio {one / batch:.1f} (target 50 or more)")
    print(f"plain Python rules  {plain * 1e6:9.1f} us per episode, ratio {plain / batch:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
