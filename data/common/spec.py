"""What a world says of itself to networks, samplers and evaluation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dims:
    """What a world tells a network: sizes, and the bounds by which observations are scaled to [-1, 1].

    Discrete worlds have `n_actions` and bounds; continuous ones `action_size` numbers per agent, no bounds, and a state
    per agent.
    """

    n_agents: int
    obs_size: int
    n_actions: int = 0
    obs_low: tuple[float, ...] = ()
    obs_high: tuple[float, ...] = ()
    action_size: int = 0
    state_size: int = 0
