"""What StarCraft's worlds have in common: maps, SMAC's reward, what a step's TensorDict holds.

The reward of a step is SMAC's (oxwhirl/smac at d6aab33): damage to the enemies, 10 for each that dies, 200 for a win,
scaled so that all of it together is 20. Nothing is lost by being hit.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchrl.data import Binary, Categorical, Composite, Unbounded

from data.common.errors import ReproduceError, nearest
from data.common.spec import Discrete, WorldSpec
from data.worlds.base import World, positive

MOST_RETURN, KILL, WIN = 20.0, 10.0, 200.0
View = Literal["plain", "modified"]
VIEWS: tuple[View, ...] = ("plain", "modified")
# Hit points and shields of a unit, in StarCraft II and in SMAX alike.
HEALTH = {
    "marine": 45,
    "marauder": 125,
    "stalker": 160,
    "zealot": 150,
    "zergling": 35,
    "hydralisk": 80,
    "colossus": 350,
}


@dataclass(frozen=True)
class Map:
    """Units of both sides by name, and SMAC's limit of steps."""

    allies: tuple[str, ...]
    enemies: tuple[str, ...]
    limit: int

    @property
    def most_reward(self) -> float:
        """What everything adds up to before it is scaled."""
        return sum(HEALTH[unit] for unit in self.enemies) + KILL * len(self.enemies) + WIN

    @property
    def win_reward(self) -> float:
        """What the win itself adds."""
        return MOST_RETURN * WIN / self.most_reward


def _units(**counts: int) -> tuple[str, ...]:
    return tuple(unit for unit, count in counts.items() for _ in range(count))


MAPS = {
    "3m": Map(_units(marine=3), _units(marine=3), 60),
    "2s3z": Map(_units(stalker=2, zealot=3), _units(stalker=2, zealot=3), 120),
    "3s_vs_5z": Map(_units(stalker=3), _units(zealot=5), 250),
    "5m_vs_6m": Map(_units(marine=5), _units(marine=6), 70),
    "6h_vs_8z": Map(_units(hydralisk=6), _units(zealot=8), 150),
    "corridor": Map(_units(zealot=6), _units(zergling=24), 400),
    "2c_vs_64zg": Map(_units(colossus=2), _units(zergling=64), 400),
}


def map_of(map_name: Any, known: dict[str, Map] = MAPS) -> Map:
    """The map by its SMAC name. Raises ReproduceError with the nearest names for an unknown one."""
    if map_name not in known:
        raise ReproduceError(
            f"unknown map {map_name!r}; known: {', '.join(known)}.{nearest(str(map_name), list(known))}"
        )
    return known[map_name]


def check_view(view: Any) -> View:
    """Raises ReproduceError for anything but one of VIEWS."""
    if view not in VIEWS:
        raise ReproduceError(f"view is {view!r}, expected {' or '.join(VIEWS)}.")
    return view


def battle_spec(
    map_name: str, game: Map, sizes: tuple[int, int, int], view: View, episode_limit: int | None
) -> WorldSpec:
    """sizes: of observation, state and number of actions. Every agent has a state of its own in the modified view."""
    obs_size, state_size, n_actions = sizes
    limit = game.limit if episode_limit is None else positive("episode_limit", episode_limit)
    return WorldSpec(
        len(game.allies), obs_size, state_size, Discrete(n_actions), limit, state_per_agent=view == "modified",
        layout="trajectories", metrics=("episode_return", "win_rate"), win_reward=game.win_reward,
    )  # fmt: skip


class Battle(World):
    """n_worlds fights stepped at once.

    Keys, at the root: obs [n, N, O], state [n, S] or [n, N, S], legal_actions [n, N, A], action [n, N] int64, reward
    [n, 1] of the team, done, terminated, truncated [n, 1], metrics.win_rate [n], 1 where the fight is won.
    terminated: one side is dead, both if it is a draw. truncated: the limit was reached with both alive. A fight that
    is over and stepped on keeps its state and its ends, and gives reward 0.
    """

    def __init__(self, spec: WorldSpec, n_worlds: int, device: str | torch.device):
        super().__init__(device=torch.device(device), batch_size=[positive("n_worlds", n_worlds)])  # type: ignore
        self._spec = spec
        self.n_agents, self.n_actions = spec.n_agents, spec.n_actions
        self.obs_size, self.state_size, self.episode_limit = spec.obs_size, spec.state_size, spec.episode_limit
        batch: dict[str, Any] = {"shape": (n_worlds,), "device": self.device}
        agents = (n_worlds, spec.n_agents)

        def real(*shape: int) -> Unbounded:
            return Unbounded(shape=(n_worlds, *shape), dtype=torch.float32, device=self.device)  # type: ignore

        def flag() -> Categorical:
            return Categorical(2, shape=(n_worlds, 1), dtype=torch.bool, device=self.device)  # type: ignore

        self.observation_spec = Composite(
            obs=real(spec.n_agents, spec.obs_size),
            state=real(*spec.state_shape),
            legal_actions=Binary(spec.n_actions, shape=(*agents, spec.n_actions), dtype=torch.bool, device=self.device),  # type: ignore
            metrics=Composite(win_rate=real(), **batch),
            **batch,
        )
        self.action_spec = Categorical(spec.n_actions, shape=agents, dtype=torch.int64, device=self.device)  # type: ignore
        self.reward_spec = real(1)
        self.full_done_spec = Composite(done=flag(), terminated=flag(), truncated=flag(), **batch)

    @property
    def spec(self) -> WorldSpec:
        return self._spec


def first_legal(legal: Tensor, rank: Tensor) -> Tensor:
    """legal [.., A] bool, rank [..]: the legal action of that rank, counted around; [..] int64."""
    wanted = rank % legal.sum(-1)
    return (legal.cumsum(-1) > wanted.unsqueeze(-1)).long().argmax(-1)
