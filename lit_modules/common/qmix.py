"""QMIX's mixer (Rashid et al. 2018, as pymarl2 has it): hypernetworks of the state give its weights, and w >= 0."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_modules.common.mlp import StackedMLP


class MixerWeights(NamedTuple):
    """What the hypernetworks give at R states: w1 [S, R, N, E], b1 [S, R, E], w2 [S, R, E], b2 [S, R]."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor

    def out(self, hidden: Tensor) -> Tensor:
        """Hidden values [S, R, .., E] before the nonlinearity -> Q_tot [S, R, ..]."""
        shape = (*self.w2.shape[:2], *(1,) * (hidden.ndim - 3))
        return torch.einsum("sr...e,sre->sr...", F.elu(hidden), self.w2) + self.b2.view(shape)

    def hidden(self, q: Tensor) -> Tensor:
        """q [S, R, .., N] -> [S, R, .., E]."""
        b1 = self.b1.view(*self.b1.shape[:2], *(1,) * (q.ndim - 3), -1)
        return torch.einsum("sr...n,srne->sr...e", q, self.w1) + b1

    def total(self, q: Tensor) -> Tensor:
        """q [S, R, .., N] -> Q_tot [S, R, ..]."""
        return self.out(self.hidden(q))

    def replaced(self, q: Tensor, every: Tensor, i: int) -> Tensor:
        """Q_tot where agent i alone takes each of its actions in turn: q [S, R, N] of the data's actions, every
        [S, R, N, A] -> [S, R, A]."""
        change = every[:, :, i] - q[:, :, i, None]  # (S, R, A)
        return self.out(self.hidden(q).unsqueeze(2) + change.unsqueeze(-1) * self.w1[:, :, i].unsqueeze(2))


class QMixer(nn.Module):
    """Hypernetworks for `n_agents` and hidden size `embed`, each seed its own."""

    def __init__(self, state: int, n_agents: int, embed: int, width: int, generators: Sequence[torch.Generator]):
        super().__init__()
        self.n_agents, lead = n_agents, (len(generators),)
        self.w1 = StackedMLP((state, width, n_agents * embed), lead, generators)
        self.b1 = StackedMLP((state, embed), lead, generators)
        self.w2 = StackedMLP((state, width, embed), lead, generators)
        self.b2 = StackedMLP((state, embed, 1), lead, generators)

    def forward(self, state: Tensor) -> MixerWeights:
        """state [S, R, St]."""
        w1 = self.w1(state).abs().unflatten(-1, (self.n_agents, -1))
        return MixerWeights(w1, self.b1(state), self.w2(state).abs(), self.b2(state).squeeze(-1))
