"""A world's own description: everything that networks, layouts, samplers and evaluations ask of it."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Discrete:
    """Each agent picks one of `n` actions, by its index."""

    kind: ClassVar[str] = "discrete"
    n: int


@dataclass(frozen=True)
class Box:
    """Each agent's action is `size` real numbers, meant for [-1, 1]."""

    kind: ClassVar[str] = "continuous"
    size: int


@dataclass(frozen=True)
class WorldSpec:
    """Sizes and conventions of a world. Shapes below are of one world at one step; N agents.

    obs [N, obs_size]; state [state_size], or [N, state_size] where every agent has a state of its own
    (`state_per_agent`). `obs_bounds`: the lowest and the highest observation, by which networks scale them to [-1, 1];
    None: they are taken as they are. `n_features`: size of the vector from which everything seen follows
    (`world.observe`); 0 where observations are stored as they are. `layout`: how experience is stored (data.layout).
    `metrics`: what an episode is scored by, `episode_return` first; a world reports the others at an episode's end.
    `win_reward`: what a win adds to the last reward, and no last reward without a win reaches; None: nothing is won.
    """

    n_agents: int
    obs_size: int
    state_size: int
    action: Discrete | Box
    episode_limit: int
    obs_bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    state_per_agent: bool = False
    n_features: int = 0
    layout: Literal["transitions", "trajectories"] = "transitions"
    individual_rewards: bool = False
    metrics: tuple[str, ...] = ("episode_return",)
    win_reward: float | None = None

    @property
    def n_actions(self) -> int:
        """Actions to pick from; 0 where actions are numbers."""
        return self.action.n if isinstance(self.action, Discrete) else 0

    @property
    def action_size(self) -> int:
        """Numbers per action; 0 where actions are picked."""
        return self.action.size if isinstance(self.action, Box) else 0

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Of the state at one step."""
        return (self.n_agents, self.state_size) if self.state_per_agent else (self.state_size,)
