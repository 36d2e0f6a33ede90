"""Networks whose parameters carry leading axes for seeds and agents. No algorithm knowledge.

A stack holds many small networks as rows of one matrix `theta`: [*lead, P], lead = (S,) or (S, N). One batched product
evaluates them all, one row norm clips each, one `lerp` moves all targets, and an optimizer sees a single tensor.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lit_modules.common import blocks


class StackedMLP(nn.Module):
    """Independent ReLU MLPs of one shape, `sizes` = (in, hidden.., out), one per index of `lead`.

    Initialization is PyTorch's default for nn.Linear (uniform in +-1/sqrt(fan_in), weights and biases). `generators`
    has one generator per seed (axis 0 of `lead`), so a seed's networks do not depend on which seeds train beside it.
    """

    def __init__(self, sizes: Sequence[int], lead: Sequence[int], generators: Sequence[torch.Generator]):
        super().__init__()
        self.layers = list(pairwise(sizes))
        self.split = [n for fan_in, out in self.layers for n in (fan_in * out, out)]
        rows = [self._initial_rows(math.prod(lead[1:]), g).view(*lead[1:], -1) for g in generators]
        self.theta = nn.Parameter(torch.stack(rows))  # (*lead, P)

    def _initial_rows(self, n_rows: int, generator: torch.Generator) -> Tensor:
        def uniform(fan_in: int, n: int) -> Tensor:
            return (torch.rand(n_rows, n, generator=generator) * 2 - 1) / math.sqrt(fan_in)

        return torch.cat([uniform(fan_in, n) for fan_in, out in self.layers for n in (fan_in * out, out)], dim=1)

    def forward(self, x: Tensor, theta: Tensor | None = None) -> Tensor:
        """x: [*lead, B, in] -> [*lead, B, out]; `theta` [*lead', P] evaluates other rows on x [*lead', B, in]."""
        theta = self.theta if theta is None else theta
        h = x.reshape(-1, *x.shape[-2:])  # (rows, B, in)
        return self._through(h, self._parts(theta), 0).view(*theta.shape[:-1], *x.shape[-2:-1], -1)

    def of_many(self, x: Tensor, y: Tensor, at: int, theta: Tensor | None = None) -> Tensor:
        """M inputs that agree in all but k of their numbers: x [*lead, B, in - k], y [*lead, B, M, k], which stand
        before column `at` of x -> [*lead, B, M, out].

        The first layer takes x once and not M times. On a CPU blocks of inputs take turns (lit_modules.common.blocks)
        unless a gradient is to reach x or y.
        """
        theta = self.theta if theta is None else theta
        x, y, parts = x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-3:]), self._parts(theta)
        keep = torch.is_grad_enabled()
        if x.is_cuda or len(self.layers) == 1 or (keep and (x.requires_grad or y.requires_grad)):
            h = self._of_many(x, y, at, parts)
        else:
            h = blocks.of_many(x, y, self._split_parts(at, y.shape[-1], parts), keep)[0]
        return h.view(*theta.shape[:-1], *h.shape[1:])

    def _split_parts(self, at: int, k: int, parts: Sequence[Tensor]) -> list[Tensor]:
        """The first layer's weight for x and for y, then its bias, then weight and bias of each further layer."""
        weights = [part.view(-1, *shape) for part, shape in zip(parts[::2], self.layers, strict=True)]
        of_x = torch.cat([weights[0][:, :at], weights[0][:, at + k :]], 1)
        rest = [part for pair in zip(weights[1:], parts[3::2], strict=True) for part in pair]
        return [of_x, weights[0][:, at : at + k], parts[1], *rest]

    def _of_many(self, x: Tensor, y: Tensor, at: int, parts: Sequence[Tensor]) -> Tensor:
        """x [rows, B, in - k], y [rows, B, M, k] -> [rows, B, M, out]."""
        of_x, of_y, bias, *_ = self._split_parts(at, y.shape[-1], parts)
        once = torch.baddbmm(bias.unsqueeze(1), x, of_x)  # (rows, B, h)
        h = torch.bmm(y.flatten(1, 2), of_y)  # (rows, B M, h)
        h = (h.view(*y.shape[:3], -1) + once.unsqueeze(2)).flatten(1, 2)
        h = self._through(h.relu_() if len(self.layers) > 1 else h, parts, 1)
        return h.view(*y.shape[:3], -1)

    def _parts(self, theta: Tensor) -> tuple[Tensor, ...]:
        """theta [*lead, P] -> weight and bias of each layer, flat, [rows, ..]."""
        return theta.flatten(0, -2).split(self.split, dim=1)

    def _through(self, h: Tensor, parts: Sequence[Tensor], first: int) -> Tensor:
        """h [rows, B, in] of layer `first` -> [rows, B, out] of the last."""
        for k, (fan_in, out) in enumerate(self.layers[first:], first):
            weight, bias = parts[2 * k].view(-1, fan_in, out), parts[2 * k + 1]
            if out < 16 and not torch.is_grad_enabled():
                # Narrow outputs on CPU: this product is up to four times faster, its backward three times slower.
                h = torch.baddbmm(bias.unsqueeze(2), weight.mT, h.mT).mT
            elif torch.compiler.is_compiling():
                h = torch.bmm(h, weight) + bias.unsqueeze(1)  # a sum that the compiler can fuse with what follows
            else:
                h = torch.baddbmm(bias.unsqueeze(1), h, weight)
            if k < len(self.layers) - 1:
                h = h.relu_()
        return h
