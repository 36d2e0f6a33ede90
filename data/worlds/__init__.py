"""Worlds by name, and the fingerprint that tells whether two of them behave alike."""

import hashlib
import inspect
from typing import Any

import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError, nearest
from data.worlds.bandit import Bandit
from data.worlds.bridge import Bridge
from data.worlds.mamujoco import MultiAgentMujoco
from data.worlds.matrix import MatrixGame
from data.worlds.mpe import ParticleWorld

WORLDS: dict[str, Any] = {
    "bandit": Bandit,
    "bridge": Bridge,
    "matrix": MatrixGame,
    "mamujoco": MultiAgentMujoco,
    "mpe": ParticleWorld,
}


def make_world(name: str, n_worlds: int, device: str | torch.device = "cpu", **params) -> Any:
    """n_worlds worlds of one kind; `params` are the keyword arguments of its class.

    Raises ReproduceError for an unknown name, and for an unknown or missing parameter.
    """
    if name not in WORLDS:
        raise ReproduceError(f"unknown world {name!r}; known: {', '.join(WORLDS)}.{nearest(name, list(WORLDS))}")
    taken = dict(inspect.signature(WORLDS[name].__init__).parameters)
    for own in ("self", "n_worlds", "device"):
        del taken[own]
    for key in params:
        if key not in taken:
            known = f"known: {', '.join(taken)}.{nearest(key, list(taken))}"
            raise ReproduceError(f"world {name} has no parameter {key!r}; {known}")
    for key, parameter in taken.items():
        if parameter.default is parameter.empty and key not in params:
            raise ReproduceError(f"world {name} needs the parameter {key!r}.")
    return WORLDS[name](n_worlds, device=device, **params)


def fingerprint(world_name: str, **params) -> str:
    """Changes when what the world shows changes. Continuous worlds: the returns of three open-loop episodes from
    `fixed_starts`, 100 steps at most of fixed sine waves, at 4 decimals: what tells two simulators apart.

    Table worlds: 12 hex digits over observations, legal actions, rewards and ends. 64 worlds are stepped open-loop for
    min(episode_limit, 200) steps; world w takes at step t the joint action w + floor(40503 t (w + 1) / 16) modulo the
    number of joint actions. No random numbers. Floats are hashed at 6 decimals, so rounding noise does not count.
    Behavior outside the states visited is not covered.
    """
    world = make_world(world_name, 3, **params)
    if not world.discrete:
        return " ".join(f"{value:.4f}" for value in _open_loop_returns(world))
    world = make_world(world_name, 64, **params)
    w = torch.arange(64)
    place = world.n_actions ** torch.arange(world.n_agents)  # a joint action's digits, base A
    digest = hashlib.sha256()

    def add(td) -> None:
        for key in ("obs", "state", "legal_actions", "reward", "terminated", "truncated"):
            if (value := td.get(key, None)) is not None:
                rounded = torch.round(value.double(), decimals=6) + 0.0  # -0.0 + 0.0 = 0.0
                digest.update(f"{key}{list(rounded.shape)}".encode() + rounded.numpy().astype("<f8").tobytes())

    td = world.reset().exclude("reward")
    add(td)
    for t in range(min(world.episode_limit, 200)):
        joint = (w + (40503 * t * (w + 1)) // 16) % world.n_actions**world.n_agents
        td["action"] = joint.unsqueeze(-1) // place % world.n_actions
        td = world.step(td)["next"]
        add(td)
    return digest.hexdigest()[:12]


def _open_loop_returns(world: Any) -> list[float]:
    td = world.reset(TensorDict({"start": world.fixed_starts(3)}, [3]))
    n = world.n_agents * world.action_size
    phase = torch.arange(3.0).view(3, 1, 1) + torch.arange(float(n)).view(world.n_agents, -1)
    returns = torch.zeros(3, dtype=torch.float64)
    for t in range(min(world.episode_limit, 100)):
        td["action"] = 0.8 * torch.sin(0.3 * t + 1.7 * phase)
        td = world.step(td)["next"]
        returns += td["reward"].squeeze(-1).double()
    return returns.tolist()
