"""Worlds stepped at once, in a batch or in threads, beside one world at a time."""

import random
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from timing import Line, medians

from data.worlds import make_world
from data.worlds.bridge import GOALS, STARTS, move, reward_of

EPISODES, LIMIT = 100, 20
WORLDS, STEPS = 50, 40  # what an evaluation of five seeds and ten episodes steps at once
MUJOCO = {"HalfCheetah-v2": ("6x1", "HalfCheetah-v5"), "Hopper-v2": ("3x1", "Hopper-v5"), "Ant-v2": ("2x4", "Ant-v5")}


def evaluation(repeats: int) -> Iterator[Line]:
    yield from _bridge(repeats)
    if find_spec("mujoco") and find_spec("gymnasium"):
        yield from _mujoco(repeats)


def _bridge(repeats: int) -> Iterator[Line]:
    """A hundred episodes of a random policy."""
    times = medians(
        {
            "100 worlds": _played(EPISODES, EPISODES),
            "1 world": _played(1, 4),
            "rules in plain Python, 1 world": lambda: _play_plain(EPISODES),
        },
        repeats,
    )
    each = {"100 worlds": EPISODES, "1 world": 4, "rules in plain Python, 1 world": EPISODES}
    base = times["100 worlds"] / EPISODES
    for name, t in times.items():
        target = "at least 50" if name == "1 world" else ""
        yield Line(
            "evaluation",
            "bridge",
            name,
            t / each[name] * 1e6,
            "us per episode",
            t / each[name] / base,
            "100 worlds",
            target,
        )


def _played(n_worlds: int, episodes: int) -> Callable[[], Any]:
    world, generator = make_world("bridge", n_worlds), torch.Generator().manual_seed(0)

    def run() -> None:
        for _ in range(episodes // n_worlds):
            td = world.reset()
            for _ in range(LIMIT):
                td["action"] = torch.randint(0, 5, (*world.batch_size, 2), generator=generator)
                td = world.step(td)["next"]
                if td["done"].all():
                    break

    return run


def _play_plain(episodes: int) -> None:
    draw = random.Random(0)
    for _ in range(episodes):
        cells, total = STARTS[True], 0.0
        for _ in range(LIMIT):
            cells = move(*cells, draw.randrange(5), draw.randrange(5))
            total += reward_of(*cells)
            if cells == GOALS:
                break


def _mujoco(repeats: int) -> Iterator[Line]:
    """Steps per second of 50 worlds through TorchRL, all cores, beside one gymnasium environment."""
    for scenario, (conf, name) in MUJOCO.items():
        times = medians({"one": _one(name), "many": _many(scenario, conf)}, repeats)
        one, many = STEPS * 10 / times["one"], STEPS * WORLDS / times["many"]
        yield Line("evaluation", scenario, "one gymnasium environment", one, "steps/s")
        yield Line(
            "evaluation", scenario, f"{WORLDS} worlds, all cores", many, "steps/s", many / one, "gymnasium, steps/s"
        )


def _one(name: str) -> Callable[[], Any]:
    import gymnasium

    env = gymnasium.make(name, **({"include_cfrc_ext_in_observation": False} if "Ant" in name else {})).unwrapped
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (STEPS * 10, env.action_space.shape[0]))  # type: ignore[index]

    def run() -> None:
        env.reset()
        for action in actions:
            if env.step(action)[2]:
                env.reset()

    return run


def _many(scenario: str, conf: str) -> Callable[[], Any]:
    world, g = make_world("mamujoco", WORLDS, scenario=scenario, agent_conf=conf), torch.Generator().manual_seed(0)
    actions = torch.rand(STEPS, WORLDS, world.n_agents, world.action_size, generator=g) * 0.6 - 0.3
    starts = world.draw_starts(WORLDS, g)

    def run() -> None:
        td = world.reset(TensorDict({"start": starts}, [WORLDS]))
        for action in actions:
            td["action"] = action
            td = world.step(td)["next"]
            if td["done"].any():
                td = world.reset(td.set("_reset", td["done"].clone()).set("start", starts)).exclude("_reset")

    return run
