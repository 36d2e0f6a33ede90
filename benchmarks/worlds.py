"""Worlds stepped at once, in a batch or in threads, beside one world at a time."""

import random
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tensordict import TensorDict
from timing import Line, medians

from data.common.environment import cores
from data.worlds import make_world
from data.worlds.bridge import GOALS, STARTS, move, reward_of
from data.worlds.mpe import Physics
from data.worlds.smax import MOVES, needed
from reproduce.config import compose
from reproduce.experiment.build import build_evaluator, build_module

EPISODES, LIMIT = 100, 20
WORLDS, STEPS = 50, 40  # what an evaluation of five seeds and ten episodes steps at once
PARTICLES, EPISODE = (1, 100, 1000), 25  # worlds at once; steps
FIGHTS, ROUNDS, FIGHT = 256, 50, "5m_vs_6m"  # worlds at once; steps
MUJOCO = {"HalfCheetah-v2": ("6x1", "HalfCheetah-v5"), "Hopper-v2": ("3x1", "Hopper-v5"), "Ant-v2": ("2x4", "Ant-v5")}


def evaluation(repeats: int) -> Iterator[Line]:
    yield from _bridge(repeats)
    yield from _particles(repeats)
    if find_spec("mujoco") and find_spec("gymnasium"):
        yield from _mujoco(repeats)
    if find_spec("jaxmarl"):
        yield from _fights(repeats)


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


def _particles(repeats: int) -> Iterator[Line]:
    """World steps per second, on one thread, of whole episodes of 25 steps with random actions."""
    with tempfile.TemporaryDirectory() as folder:
        prey = {"prey": str(random_prey("simple_tag", Path(folder)))}  # how fast it acts does not depend on its weights
        for scenario, params in (("simple_spread", {}), ("simple_tag", prey)):
            times = medians({str(n): episode(n, scenario, **params) for n in PARTICLES}, repeats)
            rates = {n: n * EPISODE / times[str(n)] for n in PARTICLES}
            for n, rate in rates.items():
                target = "at least 100000 steps/s" if n == 1000 else ""
                what = f"{n} world{'s' if n > 1 else ''}, one thread"
                yield Line("evaluation", scenario, what, rate, "steps/s", rate / rates[1], "1 world, steps/s", target)


def random_prey(scenario: str, folder: Path) -> Path:
    """A prey's checkpoint with random weights."""
    physics, g = Physics(scenario), torch.Generator().manual_seed(0)
    bodies = torch.zeros(1, physics.n_bodies, 2, dtype=torch.float64)
    size = physics.views(bodies, bodies, bodies.new_zeros(1, physics.n_landmarks, 2))[-1].shape[-1]
    layers = {"fc1": (64, size), "fc2": (64, 64), "fc3": (2, 64)}
    state = {f"{name}.weight": torch.randn(shape, generator=g) / shape[1] ** 0.5 for name, shape in layers.items()}
    state |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in layers.items()}
    save_file(state, folder / "prey.safetensors")
    return folder / "prey.safetensors"


def episode(n_worlds: int, scenario: str, **params: Any) -> Callable[[], TensorDict]:
    """A call that plays one episode in each of n_worlds and returns its last step."""
    world = make_world("mpe", n_worlds, scenario=scenario, episode_limit=EPISODE, **params)
    g = torch.Generator().manual_seed(0)
    actions = torch.rand(EPISODE, n_worlds, world.n_agents, world.action_size, generator=g) * 2 - 1
    starts = TensorDict({"start": world.draw_starts(n_worlds, g)}, [n_worlds])

    def run() -> TensorDict:
        td = world.reset(starts)
        for action in actions:
            td["action"] = action
            td = world.step(td)["next"]
        return td

    return run


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
    g, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    torch.set_num_threads(cores())  # a world takes as many threads for its steps as torch has when it is made
    world = make_world("mamujoco", WORLDS, scenario=scenario, agent_conf=conf)
    torch.set_num_threads(before)
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


def _fights(repeats: int) -> Iterator[Line]:
    """Steps per second of SMAX through TorchRL beside JaxMARL's own jitted step, and a whole evaluation of a row."""
    case = f"smax {FIGHT}"
    times = medians({"jax": _bare_fights(), "torchrl": _fights_through_torchrl()}, repeats)
    bare, ours = (FIGHTS * ROUNDS / times[name] for name in ("jax", "torchrl"))
    yield Line("evaluation", case, f"{FIGHTS} fights, JaxMARL's own step", bare, "steps/s")
    told = ("JaxMARL's own, steps/s", "at least 0.9")
    yield Line("evaluation", case, f"{FIGHTS} fights through TorchRL", ours, "steps/s", ours / bare, *told)
    settings = compose(f"omiga/smac/{FIGHT}_good", ["task=smax"])
    evaluator = build_evaluator(settings, torch.device("cpu"), {})
    module, n = build_module(settings, evaluator.world), settings.protocol.n_seeds * settings.protocol.eval_episodes
    times = medians({"evaluation": lambda: evaluator(module)}, 3)
    what = f"an evaluation, {n} fights, compiled before"
    yield Line("evaluation", case, what, times["evaluation"], "s", target="at most 60 on 2 cores")


def _bare_fights() -> Callable[[], Any]:
    """JaxMARL's step with its enemies, its automatic resets included."""
    has = needed()
    jax, jnp = has.jax, has.jnp
    scenario = import_module("jaxmarl.environments.smax").map_name_to_scenario(FIGHT)
    env = has.SMAX(scenario=scenario)
    keys = jax.random.split(jax.random.PRNGKey(0), FIGHTS)
    reset, step = jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))
    moves = [{agent: jnp.full(FIGHTS, t % MOVES) for agent in env.agents} for t in range(ROUNDS)]

    def run() -> Any:
        _, state = reset(keys)
        for actions in moves:
            _, state, reward, *_ = step(keys, state, actions)
        return jax.block_until_ready(reward)

    return run


def _fights_through_torchrl() -> Callable[[], Any]:
    world = make_world("smax", FIGHTS, map_name=FIGHT)
    starts = TensorDict({"start": world.draw_starts(FIGHTS, torch.Generator().manual_seed(0))}, [FIGHTS])

    def run() -> Any:
        td = world.reset(starts)
        for t in range(ROUNDS):
            td["action"] = torch.full((FIGHTS, world.spec.n_agents), t % MOVES)
            td = world.step(td)["next"]
        return td

    return run
