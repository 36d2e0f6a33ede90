"""Stacked MLPs at many inputs that agree in most of their numbers: blocks that fit a CPU's cache, and their gradient.

An update that judges thousands of sampled actions spends its time in products of hidden layers. Each block goes from
the first layer to the last before the next one begins, so that products read the cache and no large tensor is made.
Both passes are operators of their own, which a compiler takes as they are. `StackedMLP._of_many` is the plain formula.
"""

from typing import Any

import torch
from torch import Tensor

BLOCK = 2048  # inputs


def _blocks(y: Tensor) -> list[slice]:
    """Slices of the rows [B] of y [rows, B, M, k]."""
    size = max(1, BLOCK // y.shape[2])
    return [slice(at, min(at + size, y.shape[1])) for at in range(0, y.shape[1], size)]


@torch.library.custom_op("lit_modules::of_many", mutates_args=())
def of_many(x: Tensor, y: Tensor, params: list[Tensor], keep: bool) -> list[Tensor]:
    """x [rows, B, i] once and y [rows, B, M, k] -> out [rows, B, M, o], then, where they are kept for a gradient, each
    block's hidden layers. params, all [rows, ..]: weights of the first layer for x and for y, its bias, then weight and
    bias of each further layer."""
    of_x, of_y, first, *rest = params
    out, hidden = y.new_empty(*y.shape[:3], rest[-1].shape[-1]), []
    for r in range(len(x)):
        once = torch.addmm(first[r], x[r], of_x[r])  # (B, h)
        for rows in _blocks(y):
            part = y[r, rows]  # (b, M, k)
            h = part.flatten(0, 1) @ of_y[r]
            h.view(*part.shape[:2], -1).add_(once[rows].unsqueeze(1)).relu_()
            for k in range(0, len(rest), 2):
                hidden += [h] * keep
                h = torch.addmm(rest[k + 1][r], h, rest[k][r])
                h = h.relu_() if k + 2 < len(rest) else h
            out[r, rows] = h.view(*part.shape[:2], -1)
    return [out, *hidden]


@torch.library.custom_op("lit_modules::of_many_backward", mutates_args=())
def of_many_backward(grad: Tensor, x: Tensor, y: Tensor, params: list[Tensor], hidden: list[Tensor]) -> list[Tensor]:
    """grad [rows, B, M, o] -> the gradient of each of `params`, summed over B and M."""
    grads = [torch.zeros_like(p) for p in params]
    of_x, of_y, first, *rest = grads
    n_hidden, done = len(rest) // 2, 0
    for r in range(len(x)):
        of_once = torch.empty(*x.shape[1:2], first.shape[-1], dtype=x.dtype, device=x.device)
        for rows in _blocks(y):
            part, g = y[r, rows], grad[r, rows].flatten(0, 1)  # (b, M, k), (b M, o)
            for k in reversed(range(n_hidden)):
                h = hidden[done + k]
                rest[2 * k][r].addmm_(h.T, g)
                rest[2 * k + 1][r].add_(g.sum(0))
                g = torch.ops.aten.threshold_backward(g @ params[3 + 2 * k][r].T, h, 0)
            of_y[r].addmm_(part.flatten(0, 1).T, g)
            of_once[rows] = g.view(*part.shape[:2], -1).sum(1)
            done += n_hidden
        of_x[r].addmm_(x[r].T, of_once)
        first[r].add_(of_once.sum(0))
    return grads


@of_many.register_fake
def _(x: Tensor, y: Tensor, params: list[Tensor], keep: bool) -> list[Tensor]:
    rest, hidden = params[3:], []
    for _ in range(len(x) if keep else 0):
        for rows in _blocks(y):
            n = (rows.stop - rows.start) * y.shape[2]
            hidden += [y.new_empty(n, weight.shape[1]) for weight in rest[::2]]
    return [y.new_empty(*y.shape[:3], rest[-1].shape[-1]), *hidden]


@of_many_backward.register_fake
def _(grad: Tensor, x: Tensor, y: Tensor, params: list[Tensor], hidden: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(p) for p in params]


def _keep(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
    x, y, params, _ = inputs
    ctx.n_params = len(params)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, y, *params, *output[1:])


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[None, None, list[Tensor] | list[None], None]:
    x, y, *saved = ctx.saved_tensors
    params, hidden = saved[: ctx.n_params], saved[ctx.n_params :]
    if grads[0] is None:
        return None, None, [None] * ctx.n_params, None
    return None, None, of_many_backward(grads[0].contiguous(), x, y, params, hidden), None


of_many.register_autograd(_backward, setup_context=_keep)
