"""Stacked noise-prediction networks: see lit_modules.common.mlp for what a stack is."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class StackedScore(nn.Module):
    """Independent noise-prediction networks of one shape, eps(x, t | c), one per index of `lead`.

    Input x and condition c beside an embedding of the time: fixed random Fourier features (time_size / 4 frequencies,
    deviation 30) through two layers of `time_size`. Then a residual trunk: `n_blocks` of dropout, LayerNorm, linear to
    4 H, activation, linear back. Like SRPO's released ScoreNet, which has time_size 128 and mish. Initialization as in
    StackedMLP.
    """

    SCALE = 30.0
    frequencies: Tensor
    ACTIVATIONS: ClassVar = {"mish": nn.functional.mish, "relu": torch.relu}

    def __init__(
        self,
        size: int,
        condition: int,
        hidden: int,
        n_blocks: int,
        dropout: float,
        lead: Sequence[int],
        generators: Sequence[torch.Generator],
        time_size: int = 128,
        activation: str = "mish",
    ):
        super().__init__()
        self.hidden, self.n_blocks, self.dropout = hidden, n_blocks, dropout
        self.activation: Callable[[Tensor], Tensor] = self.ACTIVATIONS[activation]
        n_frequencies = time_size // 4
        self.layers = [
            (2 * n_frequencies, time_size),
            (time_size, time_size),
            (size + condition + time_size, hidden),
        ]
        self.layers += [(hidden, 4 * hidden), (4 * hidden, hidden)] * n_blocks + [(hidden, size)]
        self.split = [n for fan_in, out in self.layers for n in (fan_in * out, out)] + [hidden, hidden] * n_blocks
        rows, frequencies = [], []
        for g in generators:
            n = math.prod(lead[1:])
            frequencies.append(torch.randn(n, n_frequencies, generator=g).view(*lead[1:], -1) * self.SCALE)
            rows.append(self._initial_rows(n, g).view(*lead[1:], -1))
        self.theta = nn.Parameter(torch.stack(rows))  # (*lead, P)
        self.register_buffer("frequencies", torch.stack(frequencies))  # (*lead, time_size / 4)

    def _initial_rows(self, n_rows: int, generator: torch.Generator) -> Tensor:
        parts = []
        for fan_in, out in self.layers:
            for n in (fan_in * out, out):
                parts.append((torch.rand(n_rows, n, generator=generator) * 2 - 1) / math.sqrt(fan_in))
        norms = torch.cat([torch.ones(n_rows, self.hidden), torch.zeros(n_rows, self.hidden)], 1)
        return torch.cat([*parts, *[norms] * self.n_blocks], 1)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Tensor,
        rows: tuple[Tensor, Tensor] | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """x [*lead, B, A], t [*lead, B], condition [*lead, B, C] -> [*lead, B, A].

        `rows`: (theta, frequencies) of other rows. `keep` [*lead, B, n_blocks * H] bool: hidden units not dropped.
        """
        theta, frequencies = (self.theta, self.frequencies) if rows is None else rows
        lead = theta.shape[:-1]
        parts = theta.flatten(0, -2).split(self.split, dim=1)
        n_layers = len(self.layers)

        def linear(h: Tensor, k: int) -> Tensor:
            fan_in, out = self.layers[k]
            weight, bias = parts[2 * k].view(-1, fan_in, out), parts[2 * k + 1].unsqueeze(1)
            return torch.bmm(h, weight) + bias if torch.compiler.is_compiling() else torch.baddbmm(bias, h, weight)

        act = self.activation
        angles = 2 * math.pi * t.flatten(0, -2).unsqueeze(-1) * frequencies.flatten(0, -2).unsqueeze(1)
        time = linear(act(linear(torch.cat([angles.sin(), angles.cos()], -1), 0)), 1)
        h = torch.cat([x.flatten(0, -3), condition.flatten(0, -3), time], -1)
        h = linear(h, 2)
        for k in range(self.n_blocks):
            scale, shift = (parts[2 * n_layers + 2 * k + i].unsqueeze(1) for i in range(2))
            y = h
            if keep is not None:
                kept = keep.flatten(0, -3)[..., k * self.hidden : (k + 1) * self.hidden]
                y = y * kept / (1 - self.dropout)
            y = nn.functional.layer_norm(y, (self.hidden,)) * scale + shift
            h = h + linear(act(linear(y, 3 + 2 * k)), 4 + 2 * k)
        return linear(act(h), n_layers - 1).view(*lead, *x.shape[-2:])
