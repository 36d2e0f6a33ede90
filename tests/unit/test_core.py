"""Stacked networks, the turn-taking optimizer, clipping, the plan, sampling: against plain PyTorch, in float64."""

import itertools

import pytest
import torch
from torch import nn

from data import synthetic
from data.buffer import OfflineDataModule
from data.common.rng import Stream, generator
from data.layout import Transitions
from data.samplers import SeedSampler
from lit_modules.common.distributions import masked_log_softmax, sample_categorical
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.importance import effective_sample_size, importance_resample
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.optim import Adam, IndexedAdam, clip_per_member
from lit_modules.common.schedule import Chunk, Phase, make_plan


def plain_copy(net: StackedMLP, row: int) -> nn.Sequential:
    """The torch.nn network that one row of a stack stands for."""
    parts = net.theta.detach().flatten(0, -2)[row].split(net.split)
    layers: list[nn.Module] = []
    for k, (fan_in, out) in enumerate(net.layers):
        linear = nn.Linear(fan_in, out, dtype=net.theta.dtype)
        linear.weight.data = parts[2 * k].view(fan_in, out).T.clone()
        linear.bias.data = parts[2 * k + 1].clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("sizes", [(4, 3), (4, 32, 2), (3, 8, 24, 20)])
def test_a_row_of_a_stack_is_a_plain_mlp(sizes):
    net = StackedMLP(sizes, (2, 3), [generator(0, Stream.WEIGHTS), generator(1, Stream.WEIGHTS)]).double()
    x = torch.randn(2, 3, 7, sizes[0], dtype=torch.float64)
    for row, (s, i) in enumerate(itertools.product(range(2), range(3))):
        torch.testing.assert_close(net(x)[s, i], plain_copy(net, row)(x[s, i]), rtol=0, atol=1e-12)


def test_initialization_is_linear_default_and_owned_by_the_seed():
    both = StackedMLP((50, 60, 4), (2, 2), [generator(0, Stream.WEIGHTS), generator(1, Stream.WEIGHTS)])
    alone = StackedMLP((50, 60, 4), (1, 2), [generator(1, Stream.WEIGHTS)])
    assert torch.equal(both.theta[1], alone.theta[0])
    weight = both.theta.detach().flatten(0, 1)[:, : 50 * 60]
    assert weight.abs().max() <= 50**-0.5
    assert weight.std().item() == pytest.approx(50**-0.5 / 3**0.5, rel=0.02)


def test_turn_adam_equals_one_torch_adam_per_row():
    torch.manual_seed(0)
    theta = nn.Parameter(torch.randn(2, 3, 5, dtype=torch.float64))
    rows = [nn.Parameter(row.clone()) for row in theta.detach().flatten(0, 1)]
    ours, plain = IndexedAdam(theta, lr=0.1), [torch.optim.Adam([row], lr=0.1) for row in rows]
    for _ in range(20):
        turn = torch.randperm(6)[:2]  # rows take unequal numbers of turns
        grad = torch.randn(2, 5, dtype=torch.float64)
        ours.step_index(turn, grad)
        for r, g in zip(turn.tolist(), grad, strict=True):
            rows[r].grad = g.clone()
            plain[r].step()
    torch.testing.assert_close(
        theta.detach().flatten(0, 1), torch.stack([r.detach() for r in rows]), rtol=0, atol=1e-12
    )


def test_clip_rows_equals_torch_clip_per_row():
    torch.manual_seed(0)
    grads = [torch.randn(4, 6, dtype=torch.float64) * 3, torch.randn(4, 2, dtype=torch.float64) * 0.1]
    clipped = clip_per_member(grads, 5.0)
    for row in range(4):
        params = [nn.Parameter(torch.zeros_like(g[row])) for g in grads]
        for p, g in zip(params, grads, strict=True):
            p.grad = g[row].clone()
        nn.utils.clip_grad_norm_(params, 5.0)
        for p, c in zip(params, clipped, strict=True):
            torch.testing.assert_close(c[row], p.grad, rtol=0, atol=1e-12)


def test_polyak_and_target():
    net = StackedMLP((2, 2), (1,), [generator(0, Stream.WEIGHTS)])
    target = make_target(net)
    before = target.theta.clone()
    net.theta.data += 1.0
    polyak(target, net, 0.25)
    torch.testing.assert_close(target.theta, before + 0.25)
    assert not target.theta.requires_grad


def test_the_plan_stops_at_phases():
    plan = make_plan([Phase("a", 25, 4), Phase("b", 30, 8)], chunk_size=10)
    assert [(c.phase, c.start, c.n_updates) for c in plan] == [
        *[("a", 0, 10), ("a", 10, 10), ("a", 20, 5)],
        *[("b", 25, 10), ("b", 35, 10), ("b", 45, 10)],
    ]
    assert plan[0] == Chunk("a", 0, 10, 4)


def test_masked_log_softmax_is_finite_and_zero_where_illegal():
    logits = torch.randn(3, 4, dtype=torch.float64)
    legal = torch.tensor([True, False, True, True]).expand(3, 4)
    log_p = masked_log_softmax(logits, legal)
    assert torch.isfinite(log_p).all()
    assert (log_p.exp()[:, 1] == 0).all()
    torch.testing.assert_close(log_p[:, [0, 2, 3]], logits[:, [0, 2, 3]].log_softmax(-1))


def test_sample_categorical_inverts_the_cdf():
    log_p = torch.tensor([0.2, 0.0, 0.5, 0.3]).log().expand(6, 4)
    drawn = sample_categorical(log_p, torch.tensor([0.0, 0.1999, 0.2001, 0.69, 0.71, 0.999999]))
    assert drawn.tolist() == [0, 0, 2, 2, 3, 3]


def test_an_action_of_probability_zero_is_never_drawn():
    """Not by 0 itself, which generators do return, nor where the product rounds up to the sum."""
    below_one = torch.tensor([0.0, 1.0 - 2**-24])
    legal = torch.tensor([False, False, True, True, False])
    log_p = masked_log_softmax(torch.zeros(2, 5), legal)
    assert sample_categorical(log_p, below_one).tolist() == [2, 3]
    one = masked_log_softmax(torch.randn(2, 5), torch.arange(5) == 3)
    assert sample_categorical(one, below_one).tolist() == [3, 3]


def test_importance_resampling_follows_rho():
    log_rho = torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]]).log() + 3.0
    index = importance_resample(log_rho, torch.rand(2, 40_000, generator=torch.Generator().manual_seed(0)))
    share = torch.stack([(index == k).double().mean(1) for k in range(3)], dim=1)
    torch.testing.assert_close(share, log_rho.softmax(-1).double(), rtol=0, atol=0.01)


def test_effective_sample_size():
    log_rho = torch.tensor([[0.0] * 8, [0.0] + [-1e9] * 7])
    assert effective_sample_size(log_rho).tolist() == [8.0, 1.0]


def test_each_seed_samples_its_own_indices():
    both, alone = SeedSampler([3, 4]), SeedSampler([4])
    both.n_updates = alone.n_updates = 5
    pair, _ = both.sample(range(100), 5 * 2 * 7)
    one, _ = alone.sample(range(100), 5 * 1 * 7)
    assert torch.equal(pair.view(5, 2, 7)[:, 1], one.view(5, 1, 7)[:, 0])
    assert not torch.equal(pair.view(5, 2, 7)[:, 0], pair.view(5, 2, 7)[:, 1])


@pytest.mark.parametrize("storage", ["tensor", "memmap"])
def test_the_buffer_hands_out_chunks_of_the_dataset(storage):
    data = synthetic.transitions(50)
    made = OfflineDataModule(data, Transitions(synthetic.DISCRETE), ("obs", "action", ("next", "obs")), [0, 1], storage)
    chunk = made.to_schema(made.sample(3, 4))
    assert chunk.batch_size == torch.Size([3, 2, 4])
    assert chunk["obs"].shape == (3, 2, 4, 3, 4)
    rows = {tuple(row.flatten().tolist()): k for k, row in enumerate(data["obs"])}
    for obs, following in zip(chunk["obs"].flatten(0, 2), chunk["next", "obs"].flatten(0, 2), strict=True):
        assert torch.equal(data["next", "obs"][rows[tuple(obs.flatten().tolist())]], following)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_step_at_a_fraction_of_the_rate_is_adams_at_that_rate(decay):
    """Against torch's Adam and AdamW with the rate set before every step."""
    g = torch.Generator().manual_seed(0)
    start = torch.randn(2, 5, generator=g, dtype=torch.float64)
    ours, plain = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    adam, reference = Adam([ours], 0.1, decay), torch.optim.AdamW([plain], 0.1, weight_decay=decay)
    for scale in (1.0, 0.7, 0.2, 0.0):
        grad = torch.randn(2, 5, generator=g, dtype=torch.float64)
        adam.step_with([grad], torch.tensor(scale, dtype=torch.float64))
        reference.param_groups[0]["lr"], plain.grad = 0.1 * scale, grad
        reference.step()
        torch.testing.assert_close(ours.data, plain.data, rtol=0, atol=1e-14)
