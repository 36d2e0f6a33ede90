"""Bridge data by rule: what AlberDICE's `optimal` and `mix` buffers were measured to be.

`optimal` is not the optimum of the reward. Its 500 episodes are the paths of least summed arrival time (4 + 8 steps),
the joint action uniform over the optimal ones in each joint state; `mix` puts 500 episodes of uniform actions, cut at
50 steps, before them.
"""

from functools import lru_cache

import torch
from tensordict import TensorDict
from torch import Tensor

from data.generate.collect import Progress, collect, join, pick
from data.statistics import episode_returns
from data.worlds import make_world
from data.worlds.bridge import GOALS, JOINT_STATES, intended, table
from data.worlds.discrete import DiscreteWorld


@lru_cache(maxsize=1)
def optimal_joint_actions() -> Tensor:
    """[J, 25] bool: the joint actions (5 a_0 + a_1) on a path of least summed arrival time from that joint state.

    A step costs 1 per agent that is not on its goal. To the planner a goal is a cell that can be left: an agent on its
    goal takes only the actions that keep it there (edge moves included), though the world would freeze it in any case.
    """
    game = table()
    away = torch.tensor([float((p != GOALS[0]) + (q != GOALS[1])) for p, q in JOINT_STATES], dtype=torch.float64)
    leaves = torch.tensor(
        [
            [
                (p == GOALS[0] and intended(p, a0) != p) or (q == GOALS[1] and intended(q, a1) != q)
                for a0 in range(5)
                for a1 in range(5)
            ]
            for p, q in JOINT_STATES
        ]
    )
    cost = torch.zeros_like(away)
    while True:  # value iteration from below; costs are whole numbers, so it ends at equality
        q = (away.unsqueeze(1) + cost[game.next].flatten(1)).masked_fill(leaves, torch.inf)  # [J, 25]
        if torch.equal(best := q.min(1).values, cost):
            return q == best.unsqueeze(1)
        cost = best


def _split(joint: Tensor) -> Tensor:
    return torch.stack([joint // 5, joint % 5], -1)  # [n, 2]


def _optimal(world: dict, generator: torch.Generator, episodes: int, progress: Progress | None) -> TensorDict:
    choices = optimal_joint_actions()

    def act(worlds: DiscreteWorld) -> Tensor:
        return _split(pick(choices[worlds.joint_state], generator))  # type: ignore

    return collect(make_world(n_worlds=episodes, **world), act, progress)


def optimal(world: dict, seed: int, episodes: int, progress: Progress | None = None) -> TensorDict:
    """`episodes` episodes of the planner."""
    return _optimal(world, torch.Generator().manual_seed(seed), episodes, progress)


def mix(world: dict, seed: int, episodes: int, progress: Progress | None = None) -> TensorDict:
    """`episodes` uniform ones, then the planned ones: bitwise `optimal` of the same seed, as in the release."""
    generator = torch.Generator().manual_seed(seed)
    planned = _optimal(world, generator, episodes, None)
    everything = torch.ones(episodes, 25, dtype=torch.bool)
    uniform = collect(make_world(n_worlds=episodes, **world), lambda _: _split(pick(everything, generator)), progress)
    return join(uniform, planned)


def paths(transitions: TensorDict) -> list[tuple]:
    """Each episode's states after its steps, as ((r0, c0), (r1, c1)) tuples."""
    found: dict[int, list] = {}
    cells = transitions["next", "state"][:, [0, 1, 4, 5]].long().tolist()
    for episode, (r0, c0, r1, c1) in zip(transitions["episode"].tolist(), cells, strict=True):
        found.setdefault(episode, []).append(((r0, c0), (r1, c1)))
    return [tuple(path) for path in found.values()]


def optimal_measures(transitions: TensorDict) -> dict[str, float]:
    """Measures of planned episodes; `left_first` counts those whose first step takes both agents left."""
    routes = paths(transitions)
    return {
        "return_mean": episode_returns(transitions).mean().item(),
        "length_min": min(map(len, routes)),
        "length_max": max(map(len, routes)),
        "distinct_paths": len(set(routes)),
        "left_first": sum(route[0] == ((1, 1), (1, 2)) for route in routes),
    }


def mix_measures(transitions: TensorDict) -> dict[str, float]:
    """Measures of the uniform half (`random_*`) and of the planned half (`optimal_*`)."""
    half = (int(transitions["episode"].max()) + 1) // 2
    uniform = transitions[transitions["episode"] < half]
    planned = optimal_measures(transitions[transitions["episode"] >= half])
    return {
        "random_return_mean": episode_returns(uniform).mean().item(),
        "random_early_finishes": int(uniform["terminated"].sum()),  # type: ignore
        **{f"optimal_{name}": value for name, value in planned.items()},
    }
