"""Made-up experience in the schema, for tests, loss fingerprints and timings: the same numbers every time."""

import torch
from tensordict import TensorDict

from data.common.spec import Dims

DISCRETE = Dims(n_agents=3, obs_size=4, n_actions=3, obs_low=(0.0,) * 4, obs_high=(1.0,) * 4)
CONTINUOUS = Dims(n_agents=3, obs_size=4, action_size=2, state_size=4)


def transitions(n: int = 200, dims: Dims = DISCRETE, dtype: torch.dtype = torch.float64) -> TensorDict:
    """[n] transitions of a world of these sizes. Where actions are indices, some are illegal; none of the data is."""
    if dims.action_size:
        return _continuous(n, dims, dtype)
    g = torch.Generator().manual_seed(7)
    agents = (n, dims.n_agents)

    def obs() -> torch.Tensor:
        return torch.rand(*agents, dims.obs_size, generator=g, dtype=torch.float64).to(dtype)

    def legal() -> torch.Tensor:
        return torch.rand(*agents, dims.n_actions, generator=g) < 0.8

    action = torch.randint(dims.n_actions, agents, generator=g)
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


def _continuous(n: int, dims: Dims, dtype: torch.dtype) -> TensorDict:
    """Actions beyond [-1, 1] are among them, as in released data."""
    g = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(n, *shape, generator=g, dtype=torch.float64).to(dtype)

    def seen() -> dict[str, torch.Tensor]:
        return {"obs": normal(dims.n_agents, dims.obs_size), "state": normal(dims.n_agents, dims.state_size)}

    now = {**seen(), "action": 0.6 * normal(dims.n_agents, dims.action_size), "reward": normal(1)}
    later = {"terminated": torch.rand(n, 1, generator=g) < 0.1, "next": seen()}
    return TensorDict({**now, **later, "rewards": normal(dims.n_agents)}, [n])
