"""Scripted policies for SMAX, made of what an agent sees. `kite` reads a clock too, `ambush` that and its team's views.

A script shoots whom it prefers among the enemies in range, else walks to the nearest in sight, else to their start.
`nearest` and `focus` do no more. `kite` and `ambush` win where those cannot: they use that SMAX's enemies walk to whom
they see, by chance one or another of them, stand still in a step that begins with somebody in range, and go to a fixed
place when they see nobody. With an epsilon each agent takes a random legal action with that probability.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from data.common.errors import ReproduceError, nearest
from data.worlds.battle import first_legal
from data.worlds.smax import MOVES, OTHER, OWN

HEALTH, X, Y, KIND = 0, 1, 2, 7  # of another unit's features: share of its points, place relative to oneself, its kind
FAR = 1e3
DIRECTIONS = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))  # of the four moves
UP, RIGHT, DOWN, LEFT, STOP = range(MOVES)
ENEMY_START, MAP = (24.0, 16.0), 32.0
# JaxMARL 0.2.0's units, in the order of data.worlds.smax.UNITS.
SIGHT = (9.0, 10.0, 10.0, 9.0, 8.0, 9.0)
STRIDE = (1.575, 1.125, 2.065, 1.575, 2.065, 1.575)  # of one step
RELOAD = (0.61, 1.07, 1.87, 0.86, 0.5, 0.59)  # seconds; a step is half a second
# kite: shoots when the weapon is ready within LOADED seconds, else keeps melee enemies, who reach 2, at KEEP.
LOADED, KEEP = 0.3, 4.0
# ambush, on the map: the enemies' place when they see nobody is around HOME, and they arrive there after ARRIVAL steps.
HOME, HIDE, STAND, ARRIVAL = (8.0, 16.0), (8.0, 26.0), (8.0, 30.0), 12
NEAR = (1.6, 0.8)  # a place is reached when its x and y are

# script -> a number per enemy, the lowest is shot at: (health [.., M], distance [.., M])
PREFERENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nearest": lambda health, distance: distance,
    "focus": lambda health, distance: health + 1e-3 * distance,
}


@dataclass(frozen=True)
class Seen:
    """What every agent sees.

    Enemies: health [n, N, M], 0 unseen; place [n, N, M, 2] and distance [n, N, M] from the agent, as a share of its
    sight; kind and in_range [n, N, M]. own [n, N, OWN]: health, x and y as a share of the map, weapon, kind.
    """

    health: Tensor
    place: Tensor
    distance: Tensor
    kind: Tensor
    in_range: Tensor
    own: Tensor

    @classmethod
    def of(cls, obs: Tensor, legal: Tensor) -> "Seen":
        n_agents, n_enemies = legal.shape[-2], legal.shape[-1] - MOVES
        others = OTHER * (n_agents - 1 + n_enemies)
        enemies = obs[..., :others].unflatten(-1, (-1, OTHER))[..., n_agents - 1 :, :]  # (n, N, M, OTHER)
        place = enemies[..., [X, Y]]
        distance, kind = place.square().sum(-1).sqrt(), enemies[..., KIND:].argmax(-1)
        own = obs[..., others : others + OWN]
        return cls(enemies[..., HEALTH], place, distance, kind, legal[..., MOVES:], own)

    def of_own_kind(self, table: tuple[float, ...]) -> Tensor:
        return torch.tensor(table)[self.own[..., 4:].argmax(-1)]  # (n, N)


def nearest_or_focus(script: str, seen: Seen) -> Tensor:
    """Shoot whom the script prefers, else walk."""
    return torch.where(seen.in_range.any(-1), _shot(script, seen), _walk(seen))


def kite(seen: Seen, step: int) -> Tensor:
    """Ranged units against melee: shoot the weakest when loaded, else step away while an enemy is near."""
    sight, in_range = seen.of_own_kind(SIGHT), seen.in_range.any(-1)
    loaded = seen.own[..., 3] * seen.of_own_kind(RELOAD) <= LOADED
    apart = (seen.distance * sight.unsqueeze(-1)).masked_fill(seen.health <= 0, FAR).amin(-1)
    stepped = torch.tensor(DIRECTIONS) * seen.of_own_kind(STRIDE)[..., None, None]  # (n, N, 4, 2)
    enemies = (seen.place * sight[..., None, None]).unsqueeze(2) - stepped.unsqueeze(3)  # (n, N, 4, M, 2)
    danger = (1 / (enemies.square().sum(-1) + 0.1)).masked_fill((seen.health <= 0).unsqueeze(2), 0).sum(-1)
    after = seen.own[..., None, 1:3] * MAP + stepped
    border = torch.minimum(after, MAP - after).amin(-1).clamp(min=1e-3)  # its touch is death
    away = (danger + 1 / border.square()).argmin(-1)
    shot = _shot("focus", seen)
    walk = _walk(seen, ENEMY_START if step < ARRIVAL else HOME)
    otherwise = torch.where(apart < KEEP, away, torch.where(in_range, shot, walk))
    return torch.where(in_range & loaded, shot, otherwise)


def ambush(seen: Seen, step: int) -> Tensor:
    """Hide until the enemies have arrived and see nobody, go near, lead the first who see one of the team away from
    the rest, shoot the weakest of those; again."""
    distance = seen.distance * seen.of_own_kind(SIGHT).unsqueeze(-1)
    chased = ((seen.health > 0) & (distance < torch.tensor(SIGHT)[seen.kind])).any(-1).any(-1, keepdim=True)
    in_range = seen.in_range.any(-1)
    goal = torch.where(chased.unsqueeze(-1), torch.tensor(STAND), torch.tensor(HIDE if step < ARRIVAL else HOME))
    dx, dy = (goal - seen.own[..., 1:3] * MAP).unbind(-1)
    across = torch.where(dx.abs() > NEAR[0], torch.where(dx > 0, RIGHT, LEFT), STOP)
    move = torch.where(dy.abs() > NEAR[1], torch.where(dy > 0, UP, DOWN), across)
    helps = in_range.any(-1, keepdim=True) & (seen.health > 0).any(-1)
    return torch.where(in_range, _shot("focus", seen), torch.where(helps, _walk(seen), move))


def _shot(preference: str, seen: Seen) -> Tensor:
    wanted = PREFERENCES[preference](seen.health, seen.distance)
    return MOVES + wanted.masked_fill(~seen.in_range, FAR).argmin(-1)


def _walk(seen: Seen, unseen: tuple[float, float] = ENEMY_START) -> Tensor:
    """To the nearest enemy in sight, else to where they are thought to be."""
    visible = seen.health > 0
    closest = seen.distance.masked_fill(~visible, FAR).argmin(-1)
    place = seen.place.gather(-2, closest[..., None, None].expand(*closest.shape, 1, 2)).squeeze(-2)
    start = torch.tensor(unseen) / MAP - seen.own[..., 1:3]
    way = torch.where(visible.any(-1, keepdim=True), place, start)  # (n, N, 2)
    return (way @ torch.tensor(DIRECTIONS).mT).argmax(-1)


SCRIPTS: dict[str, Callable[[Seen, int], Tensor]] = {
    **{name: lambda seen, step, name=name: nearest_or_focus(name, seen) for name in PREFERENCES},
    "kite": kite,
    "ambush": ambush,
}
NAMES = ("random", *SCRIPTS)


def check_script(script: str) -> None:
    """Raises ReproduceError for an unknown name."""
    if script not in NAMES:
        raise ReproduceError(
            f"unknown script {script!r}; known: {', '.join(NAMES)}.{nearest(str(script), list(NAMES))}"
        )


def act(script: str, epsilon: float, obs: Tensor, legal: Tensor, generator: torch.Generator, step: int = 0) -> Tensor:
    """obs [n, N, O] of either view, legal [n, N, A], the step since the start -> action [n, N]."""
    draws = torch.rand(*legal.shape[:2], 2, dtype=torch.float64, generator=generator)
    random = first_legal(legal, (draws[..., 0] * legal.sum(-1)).long())
    if script == "random":
        return random
    return torch.where(draws[..., 1] < epsilon, random, scripted(script, obs, legal, step))


def scripted(script: str, obs: Tensor, legal: Tensor, step: int = 0) -> Tensor:
    """The script without chance."""
    chosen = SCRIPTS[script](Seen.of(obs, legal), step)
    return torch.where(legal[..., UP], chosen, STOP)  # the dead may not move
