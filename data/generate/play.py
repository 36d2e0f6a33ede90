"""Episodes of any world as trajectories (data.schema), played by any policy, many at once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.schema import trajectories_of
from data.worlds import make_world

Act = Callable[[Tensor, torch.Generator], Tensor]  # (obs [n, N, O], the noise's generator) -> action [n, N, A]
EARNED = ("reward", "rewards", "terminated", "truncated")  # of a step; `rewards` only where agents have their own


def play(world: dict, act: Act, n_episodes: int, generator: torch.Generator) -> TensorDict:
    """Trajectories of n_episodes episodes of a continuous world, one after another; all are stepped at once."""
    worlds = make_world(n_worlds=n_episodes, **world)
    starts = worlds.draw_starts(n_episodes, generator)
    return episodes(worlds, lambda td: act(td["obs"], generator), starts, ("features",))


@torch.no_grad()
def episodes(worlds: Any, act: Callable[[TensorDict], Tensor], starts: Tensor, stored: Sequence[str]) -> TensorDict:
    """One episode of each world from `starts`, with the keys `stored` of every state; act(what a step gave) -> actions
    of all worlds, of those that are over too."""
    n_episodes = worlds.batch_size[0]
    td = worlds.reset(TensorDict({"start": starts}, [n_episodes]))
    steps: list[dict[str, Tensor]] = []
    live = torch.ones(n_episodes, 1, dtype=torch.bool)
    while live.any():
        td["action"] = act(td)
        after = worlds.step(td)["next"]
        now = {key: _stored(td[key]) for key in stored} | {"action": td["action"], "live": live}
        steps.append(now | {key: after[key] for key in EARNED if key in after})
        live, td = live & ~after["done"], after.exclude("reward")
    columns = {key: torch.stack([step[key] for step in steps], 1) for key in steps[0]}  # [E, T, ..]
    lengths = columns.pop("live").sum(1).squeeze(-1)  # [E]
    # One row more per episode: the state it ended in.
    states = {key: torch.cat([columns.pop(key), _stored(td[key]).unsqueeze(1)], 1) for key in stored}
    at = torch.arange(len(steps) + 1)
    lived, final = at < lengths.unsqueeze(1), at == lengths.unsqueeze(1)
    # A finished world keeps its state, so the row after the last lived one is that state wherever it stands.
    rows = {"final": final.unsqueeze(-1)}
    for key, column in columns.items():
        padded = torch.cat([column, torch.zeros_like(column[:, :1])], 1)
        rows[key] = padded.masked_fill(~lived.view(*lived.shape, *(1,) * (padded.ndim - 2)), 0)
    keep = lived | final
    return trajectories_of({key: value[keep] for key, value in (rows | states).items()})


def _stored(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
