"""Small operations that several papers use."""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def agent_major(x: Tensor) -> Tensor:
    """[S, B, N, ...] -> [S, N, B, ...]."""
    return x.transpose(1, 2)


def with_agent_id(obs: Tensor) -> Tensor:
    """obs [S, N, B, O] -> [S, N, B, O + N]: a one-hot of the agent, for networks that agents share."""
    n = obs.shape[1]
    ids = torch.eye(n, dtype=obs.dtype, device=obs.device).unsqueeze(1)  # (N, 1, N)
    return torch.cat([obs, ids.expand(*obs.shape[:3], n)], -1)


def agent_params(net: nn.Module, rows: Tensor) -> Tensor:
    """A differentiable copy [R, P] of the rows whose turn it is."""
    return net.theta.detach().flatten(0, -2).index_select(0, rows).requires_grad_()  # type: ignore[union-attr,operator]


def make_target(net: Net) -> Net:
    """A target network: a copy that no optimizer moves."""
    return deepcopy(net).requires_grad_(False)


@torch.no_grad()
def polyak(target: nn.Module, net: nn.Module, tau: float | Tensor) -> None:
    """target <- (1 - tau) target + tau net."""
    for slow, fast in zip(target.parameters(), net.parameters(), strict=True):
        slow.lerp_(fast, tau)


def taken(values: Tensor, action: Tensor) -> Tensor:
    """values [..., A] at action [...]."""
    return values.gather(-1, action.unsqueeze(-1)).squeeze(-1)
