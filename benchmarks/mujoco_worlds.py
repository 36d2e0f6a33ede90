"""Environment steps per second: many worlds through TorchRL, in threads, beside one gymnasium environment."""

import statistics
import time

import gymnasium
import numpy as np
import torch
from tensordict import TensorDict

from data.worlds import make_world

STEPS, REPEATS = 40, 7
WORLDS = 50  # what an evaluation of five seeds and ten episodes steps at once
TASKS = {"HalfCheetah-v2": ("6x1", "HalfCheetah-v5"), "Hopper-v2": ("3x1", "Hopper-v5"), "Ant-v2": ("2x4", "Ant-v5")}


def one(name: str):
    env = gymnasium.make(name, **({"include_cfrc_ext_in_observation": False} if "Ant" in name else {})).unwrapped
    env.reset(seed=0)
    random = np.random.default_rng(0)

    def run() -> float:
        actions = random.uniform(-0.3, 0.3, (STEPS * 10, env.action_space.shape[0]))
        env.reset()
        started = time.perf_counter()
        for action in actions:
            if env.step(action)[2]:
                env.reset()
        return len(actions) / (time.perf_counter() - started)

    return run


def many(scenario: str, conf: str):
    world = make_world("mamujoco", WORLDS, scenario=scenario, agent_conf=conf)
    g = torch.Generator().manual_seed(0)

    def run() -> float:
        actions = torch.rand(STEPS, WORLDS, world.n_agents, world.action_size, generator=g) * 0.6 - 0.3
        starts = world.draw_starts(WORLDS, g)
        td, stepped = world.reset(TensorDict({"start": starts}, [WORLDS])), 0
        started = time.perf_counter()
        for action in actions:
            td["action"] = action
            td = world.step(td)["next"]
            stepped += WORLDS
            if td["done"].any():
                td = world.reset(td.set("_reset", td["done"].clone()).set("start", starts)).exclude("_reset")
        return stepped / (time.perf_counter() - started)

    return run


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"environment steps per second (medians): one gymnasium environment, {WORLDS} worlds through TorchRL, ratio")
    for scenario, (conf, name) in TASKS.items():
        runs = {"one": one(name), "many": many(scenario, conf)}
        speeds = {key: [] for key in runs}
        for _ in range(REPEATS):
            for key, run in runs.items():
                speeds[key].append(run())
        base, batched = (statistics.median(speeds[key]) for key in ("one", "many"))
        print(f"  {scenario:16} {base:9.0f} {batched:9.0f}   {batched / base:.2f}", flush=True)
