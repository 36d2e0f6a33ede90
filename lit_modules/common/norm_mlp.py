"""Stacked MLPs behind an input BatchNorm, and the product of many actions per row with them. No algorithm knowledge."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from data.common.errors import ReproduceError
from lit_modules.common import blocks
from lit_modules.common.mlp import StackedMLP

EPSILON, MOMENTUM = 1e-5, 0.1  # as torch.nn.BatchNorm1d
NARROW = 4  # inputs: compiled, a sum over so few is faster than a product of matrices


class NormMLP(StackedMLP):
    """`n_heads` ReLU MLPs of one shape behind one BatchNorm of their input, per index of `lead`.

    theta [*lead, P]: the heads one after another, then weight and bias of the norm. Its running statistics are buffers
    [*lead, in]. `out_range`: the last weights are uniform in +-out_range instead of torch's default.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        lead: Sequence[int],
        generators: Sequence[torch.Generator],
        n_heads: int = 1,
        out_range: float | None = None,
    ):
        super().__init__(sizes, (*lead, n_heads), generators)
        heads, inputs = self.theta.detach(), sizes[0]
        if out_range is not None:
            fan_in, out = self.layers[-1]
            heads[..., -out * (fan_in + 1) : -out] *= out_range * math.sqrt(fan_in)
        norm = heads.new_ones(*lead, inputs), heads.new_zeros(*lead, inputs)
        self.theta = nn.Parameter(torch.cat([heads.flatten(-2), *norm], -1))  # (*lead, P)
        self.n_heads, self.lead = n_heads, tuple(lead)
        self.head_split, self.split = self.split, [*self.split * n_heads, inputs, inputs]
        self.register_buffer("running_mean", torch.zeros(*lead, inputs))
        self.register_buffer("running_var", torch.ones(*lead, inputs))

    def forward(self, *parts: Tensor, n_heads: int | None = None) -> Tensor:  # type: ignore[override]
        """The first `n_heads` on the input that `parts` make side by side -> [*lead, H, B, out].

        Each part is [*lead, B, width], or [*lead, B, M, width]: then there are M inputs per row, which share the other
        parts, and the result is [*lead, H, B, M, out]. All inputs of a call are one batch of the norm: their mean and
        variance normalize them, and move the running statistics by a tenth.
        """
        n, m = self._rows(parts)
        if n * m < 2:
            raise ReproduceError(
                "BatchNorm on a minibatch of one: its variance is 0. algo.batch_size must be at least 2."
            )
        batch = [tuple(range(len(self.lead), part.ndim - 1)) for part in parts]
        means = [part.mean(axes, keepdim=True) for part, axes in zip(parts, batch, strict=True)]
        centered = [part - mean for part, mean in zip(parts, means, strict=True)]
        variances = [part.square().mean(axes, keepdim=True) for part, axes in zip(centered, batch, strict=True)]
        with torch.no_grad():
            for running, values in ((self.running_mean, means), (self.running_var, variances)):
                seen = torch.cat([v.view(*self.lead, -1) for v in values], -1)
                running.lerp_(seen * (n * m / (n * m - 1)) if running is self.running_var else seen, MOMENTUM)
        scaled = [part * (v + EPSILON).rsqrt() for part, v in zip(centered, variances, strict=True)]
        return self._heads(scaled, n_heads or self.n_heads)

    def evaluate(self, x: Tensor) -> Tensor:
        """All heads on x [*lead, B, in], normalized by the running statistics, which stay -> [*lead, H, B, out]."""
        scale = (self.running_var + EPSILON).rsqrt().unsqueeze(-2)
        return self._heads([(x - self.running_mean.unsqueeze(-2)) * scale], self.n_heads)

    def _rows(self, parts: Sequence[Tensor]) -> tuple[int, int]:
        """(B, M); M is 1 where no part has that axis."""
        axis = len(self.lead)
        return parts[0].shape[axis], next((p.shape[axis + 1] for p in parts if p.ndim == axis + 3), 1)

    def _heads(self, parts: Sequence[Tensor], n_heads: int) -> Tensor:
        """Normalized parts, one of them without M, -> [*lead, H, B(, M), out]. What the M inputs of a row share goes
        through the first layer once. As written and on a CPU, blocks of inputs take turns (lit_modules.common.blocks)
        unless a gradient is to reach the parts."""
        axis, (n, m) = len(self.lead), self._rows(parts)
        many = [part.ndim == axis + 3 for part in parts]
        of_x, of_y, bias, *rest = self._folded([part.shape[-1] for part in parts], many, n_heads)
        shape = (*self.lead, n_heads, *((n, m) if any(many) else (n,)), -1)
        x = torch.cat([part for part, has in zip(parts, many, strict=True) if not has], -1).flatten(0, axis - 1)
        y = torch.cat([part for part, has in zip(parts, many, strict=True) if has], -1) if any(many) else None
        if y is not None:
            y = y.flatten(0, axis - 1)  # (R, B, M, k), and x (R, B, i)
            keep, elsewhere = torch.is_grad_enabled(), x.is_cuda or torch.compiler.is_compiling()
            if rest and not elsewhere and not (keep and (x.requires_grad or y.requires_grad)):
                params = [p.flatten(0, 1) for p in (of_x, of_y, bias, *rest)]
                x, y = x.repeat_interleave(n_heads, 0), y.repeat_interleave(n_heads, 0)
                return blocks.of_many(x, y, params, keep)[0].view(shape)
        h = x.unsqueeze(1) @ of_x + bias.unsqueeze(2)  # (R, H, B, hidden)
        if y is not None:
            h = h.unsqueeze(3) + _product(y.flatten(1, 2).unsqueeze(1), of_y).unflatten(2, (n, m))
        h = h.flatten(0, 1).flatten(1, -2)  # (R * H, B * M, hidden)
        for weight, shift in zip(rest[::2], rest[1::2], strict=True):
            weight, shift = weight.flatten(0, 1), shift.flatten(0, 1).unsqueeze(1)
            if weight.shape[-1] == 1 and torch.compiler.is_compiling():
                h = (h.relu() * weight.mT).sum(-1, keepdim=True) + shift
            else:
                h = torch.bmm(h.relu_(), weight) + shift
        return h.view(shape)

    def _folded(self, widths: Sequence[int], many: Sequence[bool], n_heads: int) -> list[Tensor]:
        """The first layer's weight for parts without M and for those with it, its bias, then weight and bias of each
        further layer, all (R, H, ..). The norm's weight and bias are part of the first layer:
        (x g + b) W = x (g W) + b W."""
        theta = self.theta.flatten(0, -2)  # (R, P)
        heads = theta[:, : n_heads * sum(self.head_split)].unflatten(1, (n_heads, -1)).split(self.head_split, 2)
        gain, bias = theta[:, None, -2 * self.layers[0][0] :].unsqueeze(-1).chunk(2, 2)  # (R, 1, in, 1)
        first, *weights = (head.unflatten(2, sizes) for head, sizes in zip(heads[::2], self.layers, strict=True))
        columns = (gain * first).split(list(widths), 2)
        of_x, of_y = (
            torch.cat([first[:, :, :0], *(w for w, has in zip(columns, many, strict=True) if has == of)], 2)
            for of in (False, True)
        )
        rest = [part for pair in zip(weights, heads[3::2], strict=True) for part in pair]
        return [of_x, of_y, heads[1] + (bias * first).sum(2), *rest]


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """x [R, 1, n, in] by weight [R, H, in, out] -> [R, H, n, out]."""
    if x.shape[-1] <= NARROW and torch.compiler.is_compiling():  # a sum that the compiler fuses with what follows
        first, *others = (x[..., k : k + 1] * weight[:, :, k : k + 1] for k in range(x.shape[-1]))
        return sum(others, first)
    return x @ weight
