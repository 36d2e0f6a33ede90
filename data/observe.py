"""What an agent of multi-agent MuJoCo sees, derived from the simulator's observation vector.

OMIGA's released environment gives agent i the vector x = (features, zeros, one-hot of i), standardized by the mean and
population standard deviation of its own elements; `state` is computed the same way, so it equals `obs`. Only the
features need storing: everything else follows from them, on whatever device they are on.
"""

import torch
from torch import Tensor


def agent_views(features: Tensor, n_agents: int, n_zeros: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """features [..., F] -> obs [..., N, F + n_zeros + N] of `dtype`.

    `n_zeros` constant zeros stand between features and one-hot (the contact forces of Ant-v2 under MuJoCo 2.0). Mean
    and deviation do not depend on the agent, since a one-hot holds the same elements wherever its one stands. Computed
    in float64, so that float32 features give the numbers of a float64 observation to 1e-6.
    """
    x = features.double()
    size = x.shape[-1] + n_zeros + n_agents
    mean = (x.sum(-1, keepdim=True) + 1) / size  # [..., 1]
    # Two passes: the features' squared distances, then those of the zeros and of the single one.
    rest = (n_zeros + n_agents - 1) * mean.square() + (1 - mean).square()
    std = (((x - mean).square().sum(-1, keepdim=True) + rest) / size).sqrt()
    scaled, zero, one = (
        ((value - mean) / std).to(dtype) for value in (x, torch.zeros_like(mean), torch.ones_like(mean))
    )
    shared = torch.cat([scaled, zero.expand(*zero.shape[:-1], n_zeros + n_agents)], -1)  # [..., D]
    views = shared.unsqueeze(-2).repeat(*(1,) * (shared.ndim - 1), n_agents, 1)  # [..., N, D]
    views.diagonal(size - n_agents, -2, -1).copy_(one.expand(*one.shape[:-1], n_agents))
    return views


def features_of(views: Tensor, n_features: int, n_agents: int, n_zeros: int = 0) -> Tensor:
    """The inverse: obs [..., N, D] of `agent_views` -> features [..., F] float32.

    Agent 0's standardized one and zero give the deviation and the mean back.
    """
    x = views[..., 0, :].double()
    one, zero = x[..., n_features + n_zeros, None], x[..., n_features + n_zeros + 1, None]
    return ((x[..., :n_features] - zero) / (one - zero)).float()
