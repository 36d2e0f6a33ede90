"""Made-up experience in the schema, for tests, loss fingerprints and timings: the same numbers every time."""

import torch
from tensordict import TensorDict

from data.common.spec import Box, Discrete, WorldSpec


def discrete_spec(n_agents: int, obs_size: int, n_actions: int) -> WorldSpec:
    """A made-up world of these sizes, its observations in [0, 1], its state as large as one."""
    bounds = ((0.0,) * obs_size, (1.0,) * obs_size)
    return WorldSpec(n_agents, obs_size, obs_size, Discrete(n_actions), episode_limit=10, obs_bounds=bounds)


def continuous_spec(n_agents: int, obs_size: int, action_size: int) -> WorldSpec:
    """A made-up world of these sizes, in which every agent has a state as large as its observation."""
    return WorldSpec(n_agents, obs_size, obs_size, Box(action_size), episode_limit=10, state_per_agent=True)


DISCRETE, CONTINUOUS = discrete_spec(3, 4, 3), continuous_spec(3, 4, 2)


def transitions(n: int = 200, spec: WorldSpec = DISCRETE, dtype: torch.dtype = torch.float64) -> TensorDict:
    """[n] transitions of a world of these sizes. Where actions are indices, some are illegal; none of the data is."""
    if spec.action_size:
        return _continuous(n, spec, dtype)
    g = torch.Generator().manual_seed(7)
    agents = (n, spec.n_agents)

    def obs() -> torch.Tensor:
        return torch.rand(*agents, spec.obs_size, generator=g, dtype=torch.float64).to(dtype)

    def legal() -> torch.Tensor:
        return torch.rand(*agents, spec.n_actions, generator=g) < 0.8

    action = torch.randint(spec.n_actions, agents, generator=g)
    now, later = legal().scatter(-1, action.unsqueeze(-1), True), legal()
    later[..., 0] |= ~later.any(-1)
    return TensorDict(
        {
            "obs": obs(),
            "legal_actions": now,
            "action": action,
            "reward": torch.randn(n, 1, generator=g, dtype=torch.float64).to(dtype),
            "terminated": torch.rand(n, 1, generator=g) < 0.1,
            "next": {"obs": obs(), "legal_actions": later},
        },
        [n],
    )


def _continuous(n: int, spec: WorldSpec, dtype: torch.dtype) -> TensorDict:
    """Actions beyond [-1, 1] are among them, as in released data."""
    g = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(n, *shape, generator=g, dtype=torch.float64).to(dtype)

    def seen() -> dict[str, torch.Tensor]:
        return {"obs": normal(spec.n_agents, spec.obs_size), "state": normal(spec.n_agents, spec.state_size)}

    now = {**seen(), "action": 0.6 * normal(spec.n_agents, spec.action_size), "reward": normal(1)}
    later = {"terminated": torch.rand(n, 1, generator=g) < 0.1, "next": seen()}
    return TensorDict({**now, **later, "rewards": normal(spec.n_agents)}, [n])
