"""Scripted policies for SMAX, made of what an agent sees.

A script shoots whom it prefers among the enemies in range, else walks to the nearest in sight, else to their start.
With an epsilon each agent takes a random legal action with that probability.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from data.common.errors import ReproduceError, nearest
from data.worlds.battle import first_legal
from data.worlds.smax import MOVES, OTHER

HEALTH, X, Y = 0, 1, 2  # of another unit's features: share of its points, place relative to oneself
FAR = 1e3
DIRECTIONS = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))  # of the four moves
ENEMY_START, MAP = (24.0, 16.0), 32.0

# script -> a number per enemy, the lowest is shot at: (health [.., M], distance [.., M])
PREFERENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nearest": lambda health, distance: distance,
    "focus": lambda health, distance: health + 1e-3 * distance,
}
SCRIPTS = ("random", *PREFERENCES)


def check_script(script: str) -> None:
    """Raises ReproduceError for an unknown name."""
    if script not in SCRIPTS:
        raise ReproduceError(
            f"unknown script {script!r}; known: {', '.join(SCRIPTS)}.{nearest(str(script), list(SCRIPTS))}"
        )


def act(script: str, epsilon: float, obs: Tensor, legal: Tensor, generator: torch.Generator) -> Tensor:
    """obs [n, N, O] of either view, legal [n, N, A] -> action [n, N]."""
    draws = torch.rand(*legal.shape[:2], 2, dtype=torch.float64, generator=generator)
    random = first_legal(legal, (draws[..., 0] * legal.sum(-1)).long())
    if script == "random":
        return random
    return torch.where(draws[..., 1] < epsilon, random, scripted(script, obs, legal))


def scripted(script: str, obs: Tensor, legal: Tensor) -> Tensor:
    """The script without chance."""
    n_agents, n_enemies = legal.shape[-2], legal.shape[-1] - MOVES
    others = OTHER * (n_agents - 1 + n_enemies)
    enemies = obs[..., :others].unflatten(-1, (-1, OTHER))[..., n_agents - 1 :, :]  # (n, N, M, OTHER)
    distance = enemies[..., [X, Y]].square().sum(-1).sqrt()
    seen, in_range = enemies[..., HEALTH] > 0, legal[..., MOVES:]
    wanted = PREFERENCES[script](enemies[..., HEALTH], distance).masked_fill(~in_range, FAR).argmin(-1)
    closest = distance.masked_fill(~seen, FAR).argmin(-1)
    place = enemies[..., [X, Y]].gather(-2, closest[..., None, None].expand(*closest.shape, 1, 2)).squeeze(-2)
    start = torch.tensor(ENEMY_START) / MAP - obs[..., others + 1 : others + 3]  # own features: health, x, y
    way = torch.where(seen.any(-1, keepdim=True), place, start)  # (n, N, 2)
    move = (way @ torch.tensor(DIRECTIONS).mT).argmax(-1)
    chosen = torch.where(in_range.any(-1), MOVES + wanted, move)
    alive = legal[..., 0]  # the dead may not move
    return torch.where(alive, chosen, MOVES - 1)
