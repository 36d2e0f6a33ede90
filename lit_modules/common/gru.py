"""Recurrent networks whose parameters carry leading axes for seeds and agents: Linear, ReLU, GRU cell, Linear.

The recurrence over a whole sequence is one operator with a backward of its own, which a compiler takes as it is: the
products with inputs and the gradients of weights are taken once for all steps, and only what must wait for the step
before is a loop. Gates are torch's, in its order: reset r, update z, candidate n.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class StackedGRU(nn.Module):
    """Independent networks of one shape, `sizes` = (in, hidden, out), one per index of `lead`.

    Initialization is PyTorch's default (uniform in +-1/sqrt(fan_in), for the cell +-1/sqrt(hidden)). All parameters of
    a network are one row of `theta` [*lead, P]: of the first layer, input to gates, hidden to gates, the last layer;
    weight [in, out], then bias.
    """

    def __init__(self, sizes: tuple[int, int, int], lead: Sequence[int], generators: Sequence[torch.Generator]):
        super().__init__()
        size, self.hidden, out = sizes
        h = self.hidden
        self.layers = [(size, h), (h, 3 * h), (h, 3 * h), (h, out)]
        self.split = [n for fan_in, out in self.layers for n in (fan_in * out, out)]
        rows = [self._initial_rows(math.prod(lead[1:]), g).view(*lead[1:], -1) for g in generators]
        self.theta = nn.Parameter(torch.stack(rows))  # (*lead, P)

    def _initial_rows(self, n_rows: int, generator: torch.Generator) -> Tensor:
        def uniform(fan_in: int, n: int) -> Tensor:
            return (torch.rand(n_rows, n, generator=generator) * 2 - 1) / math.sqrt(fan_in)

        return torch.cat([uniform(fan_in, n) for fan_in, out in self.layers for n in (fan_in * out, out)], dim=1)

    def initial(self, *batch: int) -> Tensor:
        """Hidden states [*lead, *batch, H] before an episode's first step: zeros."""
        return self.theta.new_zeros(*self.theta.shape[:-1], *batch, self.hidden)

    def forward(self, x: Tensor, h: Tensor | None = None, theta: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [*lead, B, T, in], h [*lead, B, H] before the first step (zeros by default) -> out [*lead, B, T, out] and
        the hidden state after the last step; `theta` [*lead', P] evaluates other rows."""
        theta = self.theta if theta is None else theta
        lead, (b, t) = theta.shape[:-1], x.shape[-3:-1]
        parts = theta.flatten(0, -2).split(self.split, dim=1)
        w = [part.view(-1, *shape) for part, shape in zip(parts[::2], self.layers, strict=True)]
        bias = [part.unsqueeze(1) for part in parts[1::2]]
        rows = x.reshape(-1, b, t, x.shape[-1]).transpose(1, 2).flatten(1, 2)  # (rows, T B, in)
        gates = torch.baddbmm(bias[1], torch.baddbmm(bias[0], rows, w[0]).relu(), w[1]).view(-1, t, b, 3 * self.hidden)
        start = gates.new_zeros(len(gates), b, self.hidden) if h is None else h.reshape(-1, b, self.hidden)
        states = recur(gates, start, w[2], parts[5], torch.is_grad_enabled())[0]  # (rows, T + 1, B, H)
        out = torch.baddbmm(bias[3], states[:, 1:].flatten(1, 2), w[3]).view(-1, t, b, self.layers[-1][1])
        return out.transpose(1, 2).reshape(*lead, b, t, -1), states[:, -1].reshape(*lead, b, -1)


@torch.library.custom_op("lit_modules::gru", mutates_args=())
def recur(gates: Tensor, start: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> list[Tensor]:
    """gates [rows, T, B, 3 H] of the inputs, start [rows, B, H], weight [rows, H, 3 H], bias [rows, 3 H] -> states
    [rows, T + 1, B, H], `start` first; where they are kept for a gradient, r, z, n and the hidden part of n too."""
    rows, t, b, _ = gates.shape
    size = start.shape[-1]
    states = gates.new_empty(rows, t + 1, b, size)
    kept = [gates.new_empty(rows, t, b, size) for _ in range(4 * keep)]
    states[:, 0] = h = start
    for k in range(t):
        hidden = torch.baddbmm(bias.unsqueeze(1), h, weight)  # (rows, B, 3 H)
        r, z = (gates[:, k, :, : 2 * size] + hidden[..., : 2 * size]).sigmoid_().chunk(2, -1)
        n = torch.addcmul(gates[:, k, :, 2 * size :], r, hidden[..., 2 * size :]).tanh_()
        for place, value in zip(kept, (r, z, n, hidden[..., 2 * size :]), strict=False):
            place[:, k] = value
        h = torch.lerp(n, h, z)  # (1 - z) n + z h
        states[:, k + 1] = h
    return [states, *kept]


@torch.library.custom_op("lit_modules::gru_backward", mutates_args=())
def recur_backward(grad: Tensor, states: Tensor, kept: list[Tensor], weight: Tensor) -> list[Tensor]:
    """grad [rows, T + 1, B, H] of the states -> the gradients of gates, start, weight and bias."""
    r, z, n, hidden = kept
    rows, t, b, size = r.shape
    of_hidden, of_n = grad.new_empty(rows, t, b, 3 * size), grad.new_empty(rows, t, b, size)
    back, g = weight.mT.contiguous(), grad[:, t].clone()
    for k in reversed(range(t)):
        rk, zk, nk = r[:, k], z[:, k], n[:, k]
        torch.mul(g * (1 - zk), 1 - nk.square(), out=of_n[:, k])
        part = of_hidden[:, k]
        part[..., :size] = of_n[:, k] * hidden[:, k] * (rk * (1 - rk))
        part[..., size : 2 * size] = g * (states[:, k] - nk) * (zk * (1 - zk))
        part[..., 2 * size :] = of_n[:, k] * rk
        g = torch.baddbmm(grad[:, k] + g * zk, part, back)
    flat = of_hidden.flatten(1, 2)  # (rows, T B, 3 H)
    of_weight = torch.bmm(states[:, :-1].flatten(1, 2).mT, flat)
    of_gates = of_hidden.clone()
    of_gates[..., 2 * size :] = of_n
    return [of_gates, g, of_weight, flat.sum(1)]


@recur.register_fake
def _(gates: Tensor, start: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> list[Tensor]:
    rows, t, b, _ = gates.shape
    size = start.shape[-1]
    return [gates.new_empty(rows, t + 1, b, size), *(gates.new_empty(rows, t, b, size) for _ in range(4 * keep))]


@recur_backward.register_fake
def _(grad: Tensor, states: Tensor, kept: list[Tensor], weight: Tensor) -> list[Tensor]:
    rows, t, b, size = kept[0].shape
    wide = grad.new_empty(rows, t, b, 3 * size)
    return [wide, grad.new_empty(rows, b, size), torch.empty_like(weight), grad.new_empty(rows, 3 * size)]


def _keep(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(inputs[2], *output)


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    weight, states, *kept = ctx.saved_tensors
    if grads[0] is None:
        return None, None, None, None, None
    return *recur_backward(grads[0].contiguous(), states, kept, weight), None


recur.register_autograd(_backward, setup_context=_keep)
