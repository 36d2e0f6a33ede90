"""Recurrent networks whose parameters carry leading axes for seeds and agents: Linear, ReLU, GRU cell, Linear.

The recurrence over a whole sequence is one operator with a backward of its own, which a compiler takes as it is: the
products with inputs and the gradients of weights are taken once for all steps, and only what must wait for the step
before is a loop. It writes a step's values where the backward reads them: sequences are large, and copies cost. Gates
are torch's, in its order: reset r, update z, candidate n.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

NEAR = 2**16  # numbers of one kind in a block of steps, which stays in a processor's cache


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
        seen = torch.baddbmm(bias[0], rows, w[0]).relu()  # (rows, T B, H)
        start = seen.new_zeros(len(seen), b, self.hidden) if h is None else h.reshape(-1, b, self.hidden)
        states = recur(seen, start, w[1], parts[3], w[2], parts[5], torch.is_grad_enabled())[0]  # (rows, T, B, H)
        out = torch.baddbmm(bias[3], states.flatten(1, 2), w[3]).view(-1, t, b, self.layers[-1][1])
        return out.transpose(1, 2).reshape(*lead, b, t, -1), states[:, -1].reshape(*lead, b, -1)


@torch.library.custom_op("lit_modules::gru", mutates_args=())
def recur(
    seen: Tensor, start: Tensor, seen_weight: Tensor, seen_bias: Tensor, weight: Tensor, bias: Tensor, keep: bool
) -> list[Tensor]:
    """seen [rows, T B, in], start [rows, B, H]; weights [rows, in, 3 H] and [rows, H, 3 H], biases [rows, 3 H], of what
    is seen and of hidden states -> states [rows, T, B, H] after each step; where they are kept for a gradient, r, z and
    n side by side [rows, T, B, 3 H], and the hidden part of n [rows, T, B, H] too."""
    rows, b, size = start.shape
    gates = torch.baddbmm(seen_bias.unsqueeze(1), seen, seen_weight).unflatten(1, (-1, b))  # (rows, T, B, 3 H)
    states = gates.new_empty(*gates.shape[:3], size)
    hidden_n = torch.empty_like(states) if keep else states  # not kept: each is overwritten by the state
    hidden, h = gates.new_empty(rows, b, 3 * size), start
    hidden_r_z = hidden[..., : 2 * size]
    steps = (*(part.unbind(1) for part in _parts(gates)), hidden_n.unbind(1), states.unbind(1))
    for r_z, r, z, n, own, state in zip(*steps, strict=True):
        torch.baddbmm(bias.unsqueeze(1), h, weight, out=hidden)
        r_z.add_(hidden_r_z).sigmoid_()
        own.copy_(hidden[..., 2 * size :])
        n.addcmul_(r, own).tanh_()
        h = torch.lerp(n, h, z, out=state)  # (1 - z) n + z h
    return [states, gates, hidden_n] if keep else [states]


def _parts(gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[.., 3 H] -> r and z together, r, z, n."""
    r, z, n = gates.chunk(3, -1)
    return gates[..., : 2 * r.shape[-1]], r, z, n


@torch.library.custom_op("lit_modules::gru_backward", mutates_args=())
def recur_backward(
    grad: Tensor, seen: Tensor, start: Tensor, seen_weight: Tensor, weight: Tensor, kept: list[Tensor]
) -> list[Tensor]:
    """grad [rows, T, B, H] of the states -> the gradients of seen, start, both weights and biases.

    A step's gradients are the state's, times factors that do not wait for it: those are taken for as many steps at once
    as stay near the processor.
    """
    states, gates, hidden_n = kept
    t, size = grad.shape[1], grad.shape[-1]
    of_hidden, of_n = torch.empty_like(gates), torch.empty_like(hidden_n)
    back, g = weight.mT.contiguous(), torch.zeros_like(start)
    at_once = t if grad.is_cuda else max(1, NEAR // start.numel())
    for stop in range(t, 0, -at_once):
        block = slice(max(0, stop - at_once), stop)
        before = states[:, max(0, block.start - 1) : stop - 1]
        before = before if block.start else torch.cat([start.unsqueeze(1), before], 1)
        factors = of_hidden[:, block].unflatten(-1, (3, size))
        _factors(gates[:, block], hidden_n[:, block], before, factors, of_n[:, block])
        steps = (grad[:, block], of_hidden[:, block], factors, of_n[:, block], gates[:, block].chunk(3, -1)[1])
        for own, part, factor, n, z in reversed(list(zip(*(x.unbind(1) for x in steps), strict=True))):
            g = g + own
            factor.mul_(g.unsqueeze(-2))
            n.mul_(g)
            g = torch.baddbmm(g * z, part, back)
    flat, flat_n = of_hidden.flatten(1, 2), of_n.flatten(1, 2)  # (rows, T B, ..)
    of_weight = torch.bmm(start.mT, of_hidden[:, 0])
    if t > 1:
        of_weight = of_weight.baddbmm_(states[:, :-1].flatten(1, 2).mT, of_hidden[:, 1:].flatten(1, 2))
    flat_r_z = flat[..., : 2 * size]
    of_r_z, of_last = seen_weight.split((2 * size, size), -1)
    of_seen = torch.bmm(flat_r_z, of_r_z.mT).baddbmm_(flat_n, of_last.mT)
    of_seen_weight = torch.cat([torch.bmm(seen.mT, flat_r_z), torch.bmm(seen.mT, flat_n)], -1)
    of_bias = flat.sum(1)
    of_seen_bias = torch.cat([of_bias[..., : 2 * size], flat_n.sum(1)], -1)
    return [of_seen, g, of_seen_weight, of_seen_bias, of_weight, of_bias]


def _factors(gates: Tensor, hidden_n: Tensor, before: Tensor, factors: Tensor, of_n: Tensor) -> None:
    """What a state's gradient is multiplied by, of the hidden parts of r, z and n into factors [rows, T, B, 3, H], and
    of n before the nonlinearity into of_n [rows, T, B, H]."""
    r, z, n = gates.chunk(3, -1)
    one = torch.ones((), dtype=gates.dtype, device=gates.device)
    of_n.copy_(torch.addcmul(one, n, n, value=-1).mul_(1 - z))  # (1 - n^2) (1 - z)
    last = torch.mul(of_n, r, out=factors[..., 2, :])
    torch.mul(last * hidden_n, 1 - r, out=factors[..., 0, :])  # through r (1 - r)
    torch.mul(before - n, torch.addcmul(z, z, z, value=-1), out=factors[..., 1, :])  # through z (1 - z)


@recur.register_fake
def _(
    seen: Tensor, start: Tensor, seen_weight: Tensor, seen_bias: Tensor, weight: Tensor, bias: Tensor, keep: bool
) -> list[Tensor]:
    rows, b, size = start.shape
    t = seen.shape[1] // b
    sizes = (size, 3 * size, size) if keep else (size,)
    return [start.new_empty(rows, t, b, n) for n in sizes]


@recur_backward.register_fake
def _(
    grad: Tensor, seen: Tensor, start: Tensor, seen_weight: Tensor, weight: Tensor, kept: list[Tensor]
) -> list[Tensor]:
    bias = weight.new_empty(weight.shape[0], weight.shape[-1])
    like = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (seen, start, seen_weight, weight)]
    return [*like[:3], bias, like[3], torch.empty_like(bias)]


def _keep(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
    ctx.set_materialize_grads(False)
    seen, start, seen_weight, _, weight, *_ = inputs
    ctx.save_for_backward(seen, start, seen_weight, weight, *output)


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    seen, start, seen_weight, weight, *kept = ctx.saved_tensors
    if grads[0] is None:
        return (None,) * 7
    return *recur_backward(grads[0].contiguous(), seen, start, seen_weight, weight, kept), None


recur.register_autograd(_backward, setup_context=_keep)
