"""Step all episodes of a dataset at once and keep what was lived."""

from collections.abc import Callable

import torch
from tensordict import TensorDict
from torch import Tensor

from data.worlds.discrete import DiscreteWorld

Progress = Callable[[int, int], None]  # (steps done, steps in all)
SEEN = ("obs", "state", "legal_actions")


def collect(
    world: DiscreteWorld, act: Callable[[DiscreteWorld], Tensor], progress: Progress | None = None
) -> TensorDict:
    """One episode per world, from a reset to its end, as transitions in the schema, episode after episode.

    `act` is called once per step for all worlds, finished ones too, and returns [n_worlds, N] int64: its random draws
    therefore do not depend on who has finished.
    """
    td = world.reset()
    steps: list[dict[str, Tensor]] = []
    for t in range(world.episode_limit):
        if (done := td["done"]).all():
            break
        td["action"] = act(world)
        after = world.step(td)["next"]
        steps.append(
            {
                **{key: td[key] for key in (*SEEN, "action")},
                **{key: after[key] for key in ("reward", "terminated", "truncated")},
                **{f"next.{key}": after[key] for key in SEEN},
                "episode": torch.arange(len(done)),
                "step": torch.full((len(done),), t),
                "lived": ~done.squeeze(-1),
            }
        )
        td = after.exclude("reward")
        if progress:
            progress(t + 1, world.episode_limit)
    if progress and len(steps) < world.episode_limit:
        progress(world.episode_limit, world.episode_limit)
    columns = {key: torch.stack([step[key] for step in steps], 1) for key in steps[0]}  # [n_worlds, T, ...]
    lived = columns.pop("lived")
    kept = {key: value[lived] for key, value in columns.items()}
    return TensorDict(kept, batch_size=[int(lived.sum())]).unflatten_keys(".")


def join(first: TensorDict, second: TensorDict) -> TensorDict:
    """Both, the second's episodes numbered after the first's."""
    second = second.clone()
    second["episode"] += int(first["episode"].max()) + 1
    return torch.cat([first, second])  # type: ignore


def pick(choices: Tensor, generator: torch.Generator) -> Tensor:
    """One True index per row of [n, K] bool, uniformly: [n] int64.

    One float64 draw per row and no transcendental function, so that a seed gives the same bits on every machine
    (torch.multinomial goes through exponential draws, whose last bits depend on the CPU).
    """
    counts = choices.sum(1)  # [n]
    rank = (torch.rand(len(choices), dtype=torch.float64, generator=generator) * counts).long()
    return (choices.cumsum(1) > rank.unsqueeze(1)).long().argmax(1)
