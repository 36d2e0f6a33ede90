"""Matrix-game data: one step per episode, drawn from listed joint actions or from independent agents.

AlberDICE's XOR files hold 100 episodes of 50 such steps, joint actions drawn per step; the games have no state, so 5000
one-step episodes hold the same transitions. M-NE: InSPO's two datasets; neither data nor payoff are published.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.generate.collect import Progress, collect, pick
from data.worlds import make_world
from data.worlds.discrete import DiscreteWorld


def joint_actions(
    world: dict, seed: int, episodes: int, actions: list[list[int]], progress: Progress | None = None
) -> TensorDict:
    """Each step's joint action uniform over the listed ones ([[0, 1], [1, 0]] is the XOR dataset {AB, BA})."""
    generator = torch.Generator().manual_seed(seed)
    listed = torch.tensor(actions)  # [K, N]

    def act(_: DiscreteWorld) -> Tensor:
        return listed[pick(torch.ones(episodes, len(listed), dtype=torch.bool), generator)]

    return collect(make_world(n_worlds=episodes, **world), act, progress)


def independent(
    world: dict, seed: int, episodes: int, probabilities: list[float], progress: Progress | None = None
) -> TensorDict:
    """Every agent draws from `probabilities` [A] on its own. Raises ReproduceError when they do not sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    cumulative = torch.tensor(probabilities, dtype=torch.float64).cumsum(0)
    if abs(cumulative[-1].item() - 1) > 1e-9:
        raise ReproduceError(f"action probabilities {probabilities} sum to {cumulative[-1].item()}, expected 1.")
    worlds = make_world(n_worlds=episodes, **world)

    def act(_: DiscreteWorld) -> Tensor:
        draws = torch.rand(episodes, worlds.n_agents, dtype=torch.float64, generator=generator)
        return torch.searchsorted(cumulative[:-1], draws, right=True)

    return collect(worlds, act, progress)


def measures(transitions: TensorDict) -> dict[str, float]:
    """What the acceptance intervals of a matrix dataset are about: mean reward and `joint_<actions>` counts."""
    joint, counts = transitions["action"].unique(dim=0, return_counts=True)
    names = ["joint_" + "".join(map(str, row)) for row in joint.tolist()]
    return {
        "return_mean": transitions["reward"].double().mean().item(),
        **dict(zip(names, counts.tolist(), strict=True)),
    }
