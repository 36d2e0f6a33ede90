"""Made-up experience in the schema, for tests, loss fingerprints and timings: the same numbers every time."""

import torch
from tensordict import TensorDict

from data.common.spec import Box, Discrete, WorldSpec
from data.schema import is_init, next_action, return_to_go


def discrete_spec(n_agents: int, obs_size: int, n_actions: int) -> WorldSpec:
    """A made-up world of these sizes, its observations in [0, 1], its state as large as one."""
    bounds = ((0.0,) * obs_size, (1.0,) * obs_size)
    return WorldSpec(n_agents, obs_size, obs_size, Discrete(n_actions), episode_limit=10, obs_bounds=bounds)


def continuous_spec(n_agents: int, obs_size: int, action_size: int) -> WorldSpec:
    """A made-up world of these sizes, in which every agent has a state as large as its observation."""
    return WorldSpec(n_agents, obs_size, obs_size, Box(action_size), episode_limit=10, state_per_agent=True)


def local_spec(n_agents: int, obs_size: int, n_actions: int, state_size: int) -> WorldSpec:
    """A made-up world of these sizes, in which every agent has a state of its own, observations without bounds."""
    return WorldSpec(n_agents, obs_size, state_size, Discrete(n_actions), episode_limit=10, state_per_agent=True)


DISCRETE, CONTINUOUS = discrete_spec(3, 4, 3), continuous_spec(3, 4, 2)
LOCAL = local_spec(3, 4, 3, 5)


def transitions(n: int = 200, spec: WorldSpec = DISCRETE, dtype: torch.dtype = torch.float64) -> TensorDict:
    """[n] transitions of a world of these sizes. Where actions are indices, some are illegal; none of the data is."""
    g = torch.Generator().manual_seed(7)
    made = _continuous(n, spec, dtype, g) if spec.action_size else _discrete(n, spec, dtype, g)
    begins = torch.cat([made["terminated"].new_ones(1), made["terminated"].squeeze(-1)[:-1]])  # type: ignore
    episode = begins.cumsum(0) - 1
    made["truncated"] = torch.zeros_like(made["terminated"])
    made["episode"], made["step"] = episode, torch.arange(n) - begins.nonzero().squeeze(-1)[episode]
    made["next", "action"], made["return_to_go"], made["is_init"] = next_action(made), return_to_go(made), is_init(made)
    return made


def _discrete(n: int, spec: WorldSpec, dtype: torch.dtype, g: torch.Generator) -> TensorDict:
    agents = (n, spec.n_agents)

    def obs() -> torch.Tensor:
        return torch.rand(*agents, spec.obs_size, generator=g, dtype=torch.float64).to(dtype)

    def legal() -> torch.Tensor:
        return torch.rand(*agents, spec.n_actions, generator=g) < 0.8

    action = torch.randint(spec.n_actions, agents, generator=g)
    now, later = legal().scatter(-1, action.unsqueeze(-1), True), legal()
    later[..., 0] |= ~later.any(-1)
    made = {
        "obs": obs(),
        "legal_actions": now,
        "action": action,
        "reward": torch.randn(n, 1, generator=g, dtype=torch.float64).to(dtype),
        "terminated": torch.rand(n, 1, generator=g) < 0.1,
        "next": {"obs": obs(), "legal_actions": later},
    }
    for part in (made, made["next"]):
        part["state"] = torch.rand(n, *spec.state_shape, generator=g, dtype=torch.float64).to(dtype)
    return TensorDict(made, [n])


def _continuous(n: int, spec: WorldSpec, dtype: torch.dtype, g: torch.Generator) -> TensorDict:
    """Actions beyond [-1, 1] are among them, as in released data."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(n, *shape, generator=g, dtype=torch.float64).to(dtype)

    def seen() -> dict[str, torch.Tensor]:
        return {"obs": normal(spec.n_agents, spec.obs_size), "state": normal(*spec.state_shape)}

    now = {**seen(), "action": 0.6 * normal(spec.n_agents, spec.action_size), "reward": normal(1)}
    later = {"terminated": torch.rand(n, 1, generator=g) < 0.1, "next": seen()}
    return TensorDict({**now, **later, "rewards": normal(spec.n_agents)}, [n])


def trajectories(n: int, spec: WorldSpec, dtype: torch.dtype = torch.float32) -> TensorDict:
    """[n] rows of episodes that reach the world's limit; the last one is cut short, neither terminated nor truncated.

    Actions are in [-1, 1], or any index.
    """
    g = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(n, *shape, generator=g).to(dtype)

    final = torch.zeros(n, 1, dtype=torch.bool)
    final[spec.episode_limit :: spec.episode_limit + 1] = True
    truncated = final.roll(-1, 0)
    truncated[-1], final[-1] = False, True
    if spec.n_features:
        seen = {"features": normal(spec.n_features)}
    else:
        seen = {"obs": normal(spec.n_agents, spec.obs_size), "state": normal(*spec.state_shape)}
    if spec.n_actions:
        action = torch.randint(spec.n_actions, (n, spec.n_agents), generator=g)
        seen["legal_actions"] = torch.ones(n, spec.n_agents, spec.n_actions, dtype=torch.bool)
    else:
        action = (torch.rand(n, spec.n_agents, spec.action_size, generator=g) * 2 - 1).to(dtype)
    earned = {"reward": normal(1)} | ({"rewards": normal(spec.n_agents)} if spec.individual_rewards else {})
    acted = {
        key: value * ~final.view(n, *(1,) * (value.ndim - 1)) for key, value in (earned | {"action": action}).items()
    }
    ends = {"terminated": torch.zeros_like(final), "truncated": truncated & ~final, "final": final}
    return TensorDict(seen | acted | ends, [n])
