"""Stacked MLPs behind an input BatchNorm, and the product of many actions per row with them. No algorithm knowledge."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from data.common.errors import ReproduceError
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
        """Normalized parts -> [*lead, H, B(, M), out]. What the M inputs of a row share goes through the first layer
        once per row."""
        axis = len(self.lead)
        n, m = self._rows(parts)
        theta = self.theta.flatten(0, -2)  # (R, P)
        heads = theta[:, : n_heads * sum(self.head_split)].unflatten(1, (n_heads, -1)).split(self.head_split, 2)
        gains, biases = theta[:, -2 * self.layers[0][0] :].chunk(2, 1)
        weights = heads[0].unflatten(2, self.layers[0])  # (R, H, in, hidden)
        per_row: Tensor = heads[1].unsqueeze(2)  # (R, H, 1, hidden), then (R, H, B, hidden)
        per_input: Tensor | None = None
        start = 0
        for part in parts:
            width = part.shape[-1]
            gain, bias = (x[:, None, start : start + width] for x in (gains, biases))
            x = part.flatten(axis, -2).flatten(0, axis - 1) * gain + bias  # (R, B or B * M, width)
            product = _product(x.unsqueeze(1), weights[:, :, start : start + width])
            if part.ndim == axis + 2:
                per_row = per_row + product
            else:
                per_input = product if per_input is None else per_input + product
            start += width
        h = per_row
        if per_input is not None:
            h = (per_row.unsqueeze(3) + per_input.unflatten(2, (-1, m))).flatten(2, 3)
        h = h.flatten(0, 1)  # (R * H, B * M, hidden)
        for k, (fan_in, out) in enumerate(self.layers[1:], 1):
            weight, shift = heads[2 * k].reshape(-1, fan_in, out), heads[2 * k + 1].reshape(-1, 1, out)
            if out == 1 and torch.compiler.is_compiling():
                h = (h.relu() * weight.mT).sum(-1, keepdim=True) + shift
            else:
                h = torch.bmm(h.relu_(), weight) + shift
        shape = (n,) if all(part.ndim == axis + 2 for part in parts) else (n, m)
        return h.view(*self.lead, n_heads, *shape, -1)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """x [R, 1, n, in] by weight [R, H, in, out] -> [R, H, n, out]."""
    if x.shape[-1] <= NARROW and torch.compiler.is_compiling():  # a sum that the compiler fuses with what follows
        first, *others = (x[..., k : k + 1] * weight[:, :, k : k + 1] for k in range(x.shape[-1]))
        return sum(others, first)
    return x @ weight
