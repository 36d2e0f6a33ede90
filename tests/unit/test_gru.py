"""Stacked recurrent networks against torch's own GRU, seed by seed; gradients; seeds alone and stacked."""

import pytest
import torch
from torch import Tensor, nn

from lit_modules.common import gru
from lit_modules.common.gru import StackedGRU, recur

SIZES, B, T = (5, 8, 3), 6, 9


def stack(seeds: list[int], lead: tuple[int, ...] = ()) -> StackedGRU:
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    return StackedGRU(SIZES, (len(seeds), *lead), rngs).double()


def inputs(*lead: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*lead, *shape, generator=g, dtype=torch.float64) for shape in ((B, T, 5), (B, 8)))  # type: ignore


def torchs(row: Tensor, net: StackedGRU) -> nn.ModuleList:
    """torch's layers with the parameters of one row."""
    first, cell, last = nn.Linear(5, 8).double(), nn.GRU(8, 8, batch_first=True).double(), nn.Linear(8, 3).double()
    parts = [
        part.view(*shape).T if len(shape) == 2 else part
        for part, shape in zip(
            row.split(net.split), [s for layer in net.layers for s in (layer, layer[1:])], strict=True
        )
    ]
    targets = [first.weight, first.bias, cell.weight_ih_l0, cell.bias_ih_l0, cell.weight_hh_l0, cell.bias_hh_l0]
    for target, value in zip([*targets, last.weight, last.bias], parts, strict=True):
        target.data = value.clone().contiguous()
    return nn.ModuleList([first, cell, last])


def run(nets: nn.ModuleList, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    first, cell, last = nets
    states, end = cell(first(x).relu(), h.unsqueeze(0))
    return last(states), end[0]


@pytest.mark.parametrize("near", [1, 100, gru.NEAR], ids=["step_by_step", "blocks", "all_at_once"])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_outputs_and_gradients_are_those_of_torchs_gru(lead, near, monkeypatch):
    monkeypatch.setattr(gru, "NEAR", near)
    net, (x, h) = stack([3, 4], lead), inputs(2, *lead)
    x.requires_grad_()
    h.requires_grad_()
    out, end = net(x, h)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss = (out * weight).sum() + end.square().sum()
    grads = torch.autograd.grad(loss, (net.theta, x, h))
    flat = [v.flatten(0, len(lead)) for v in (net.theta.detach(), x.detach(), h.detach(), out, end, weight, *grads)]
    for theta, x_k, h_k, out_k, end_k, weight_k, *grads_k in zip(*flat, strict=True):
        nets, x_k, h_k = torchs(theta, net), x_k.clone().requires_grad_(), h_k.clone().requires_grad_()
        theirs, their_end = run(nets, x_k, h_k)
        ((theirs * weight_k).sum() + their_end.square().sum()).backward()
        first, cell, last = nets
        named = (first.weight, first.bias, cell.weight_ih_l0, cell.bias_ih_l0, cell.weight_hh_l0, cell.bias_hh_l0)
        grads_of = [p.grad for p in (*named, last.weight, last.bias)]  # type: ignore
        flat_grad = torch.cat([(g.T if g.ndim == 2 else g).flatten() for g in grads_of])  # type: ignore
        for found, expected in zip(
            (out_k, end_k, *grads_k), (theirs, their_end, flat_grad, x_k.grad, h_k.grad), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_seed_of_a_stack_is_that_seed_alone_to_the_bit():
    together, (x, h) = stack([7, 8, 9]), inputs(3)
    for k, seed in enumerate((7, 8, 9)):
        alone = stack([seed])
        assert torch.equal(alone.theta[0], together.theta[k])
        results = []
        for net, rows in ((together, slice(None)), (alone, slice(k, k + 1))):
            out, end = net(x[rows], h[rows])
            (grad,) = torch.autograd.grad(out.square().sum() + end.sum(), net.theta)
            results.append([v[k if net is together else 0] for v in (out, end, grad)])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_one_step_at_a_time_is_the_whole_sequence():
    net, (x, _) = stack([1, 2]), inputs(2)
    whole, end = net(x)
    h, outs = net.initial(B), []
    with torch.no_grad():
        for t in range(T):
            out, h = net(x[:, :, t : t + 1], h)
            outs.append(out)
    torch.testing.assert_close(torch.cat(outs, 2), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(h, end, rtol=0, atol=1e-12)


def test_the_operator_is_what_a_compiler_expects():
    g = torch.Generator().manual_seed(0)
    shapes = ((2, 4 * 3, 5), (2, 3, 2), (2, 5, 6), (2, 6), (2, 2, 6), (2, 6))
    args = [torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_() for shape in shapes]
    torch.library.opcheck(
        recur, (*args, True), test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )
    assert torch.autograd.gradcheck(lambda *a: recur(*a, True)[0], args)
