"""OMAR's losses, sampler and minibatches against hand numbers; its BatchNorm against torch's. Float64."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from data.buffer import OfflineDataModule
from data.common.errors import ReproduceError
from data.common.minibatches import Minibatches
from data.layout import Transitions
from data.samplers import SeedSampler, distinct
from data.synthetic import CONTINUOUS, transitions
from lit_modules.common.norm_mlp import NormMLP
from lit_modules.common.schedule import Chunk
from lit_modules.omar import OMAR
from reproduce.regression.cases import cases

OMAR_CONFIG = cases()["omar"].config


def made(seeds: tuple[int, ...] = (0, 1), **changes) -> OMAR:
    module = OMAR(OMAR_CONFIG.replace(**changes), list(seeds), CONTINUOUS, chunk_size=10).double()
    module.configure_optimizers()
    return module


def batch(module: OMAR):
    return torch.stack([transitions(24, CONTINUOUS)] * len(module.seeds))


def noise(module: OMAR) -> dict[str, torch.Tensor]:
    return {name: value[0] for name, value in module.draw(Chunk("train", 0, 1, 24)).items()}


def net(n_heads: int = 2, hidden: tuple[int, ...] = (8, 8)) -> NormMLP:
    return NormMLP((5, *hidden, 1), (2, 3), [torch.Generator().manual_seed(k) for k in range(2)], n_heads).double()


def plain(stack: NormMLP, place: tuple[int, int], head: int) -> nn.Sequential:
    """One head of one network, with torch's own layers."""
    layers: list[nn.Module] = [nn.BatchNorm1d(5)]
    parts = iter(stack.theta.detach()[place][:-10].chunk(stack.n_heads)[head].split(stack.head_split))
    for fan_in, out in stack.layers:
        layers += [nn.Linear(fan_in, out), nn.ReLU()]
        layers[-2].weight.data = next(parts).view(fan_in, out).T.clone()
        layers[-2].bias.data = next(parts).clone()
    layers[0].weight.data, layers[0].bias.data = (x.clone() for x in stack.theta.detach()[place][-10:].chunk(2))
    return nn.Sequential(*layers[:-1]).double()


@pytest.mark.parametrize("hidden", [(8, 8), (8,), ()])
def test_many_inputs_per_row_are_one_batch_of_the_norm(hidden):
    """Rows of (obs, action m) side by side, through torch's BatchNorm: the same outputs and running statistics."""
    g = torch.Generator().manual_seed(5)
    obs, actions = torch.randn(2, 3, 6, 3, generator=g).double(), torch.randn(2, 3, 6, 4, 2, generator=g).double()
    stack, place = net(hidden=hidden), (1, 2)
    with torch.no_grad():
        stack.theta += 0.1 * torch.randn(stack.theta.shape, generator=g)
    rows = torch.cat([obs.unsqueeze(-2).expand(-1, -1, -1, 4, -1), actions], -1)[place].flatten(0, 1)
    first = stack(obs, actions, n_heads=1)
    found = stack(obs, actions)  # (2, 3, 2, 6, 4, 1)
    assert torch.equal(first[:, :, 0], found[:, :, 0])
    for head in range(2):
        expected = plain(stack, place, head)
        expected(rows)
        torch.testing.assert_close(found[(*place, head)].flatten(0, 1), expected(rows), rtol=0, atol=1e-12)
        torch.testing.assert_close(stack.running_mean[place], expected[0].running_mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(stack.running_var[place], expected[0].running_var, rtol=0, atol=1e-12)
        seen = torch.cat([obs, actions[..., 0, :]], -1)
        torch.testing.assert_close(
            stack.evaluate(seen)[(*place, head)], expected.eval()(seen[place]), rtol=0, atol=1e-12
        )


def test_a_minibatch_of_one_is_refused():
    with pytest.raises(ReproduceError, match=r"minibatch of one.*batch_size must be at least 2"):
        net()(torch.zeros(2, 3, 1, 5, dtype=torch.float64))
    with pytest.raises(ValidationError, match="batch_size"):
        OMAR_CONFIG.replace(batch_size=1)


@pytest.mark.parametrize("elites", [None, 1, 6])
def test_elites_must_be_among_the_actions(elites):
    with pytest.raises(ValidationError, match=r"sampler=elites needs 2\.\.5"):
        OMAR_CONFIG.replace(sampler="elites", sampler_elites=elites)


def test_the_last_weights_of_policies_are_small_and_their_biases_are_not():
    theta, split = made().policy.theta, made().policy.head_split
    weights, biases = theta[..., : sum(split)].split(split, -1)[-2:]
    assert weights.abs().max() <= 3e-3
    assert biases.abs().max() > 3e-2


def test_each_agent_learns_from_its_own_rows_columns_and_rewards():
    module = made()
    given = batch(module)
    d = module.unpack(given)
    for i in range(3):
        rows = slice(8 * i, 8 * i + 8)
        assert torch.equal(d["obs"][:, i], given["obs"][:, rows, i])
        assert torch.equal(d["next_obs"][:, i], given["next", "obs"][:, rows, i])
        assert torch.equal(d["action"][:, i], given["action"][:, rows, i])
        assert torch.equal(d["reward"][:, i], given["rewards"][:, rows, i])
        assert torch.equal(d["mask"][:, i], 1 - given["terminated"][:, rows, 0].double())


def test_the_conservative_term_of_a_constant_critic():
    """Q = q everywhere: log sum over M uniform actions of exp(q - A log 0.5) - q = log M + A log 2."""
    module = made()
    with torch.no_grad():
        module.critic.theta[..., :-12] = 0
        d = module.unpack(batch(module))
        q = module.critic(d["obs"], d["action"]).squeeze(-1)
        found = module.conservative_term(d, q, noise(module))
    torch.testing.assert_close(
        found, torch.full((2, 3, 2), math.log(3) + 2 * math.log(2), dtype=torch.float64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("log", [True, False])
def test_actions_around_the_policys_weigh_by_density_or_its_logarithm(log):
    """A constant critic again: the logits are -p alone."""
    module = made(cql_policy_sources=True, policy_log_density=log, cql_temperature=2.0)
    drawn = noise(module)
    with torch.no_grad():
        module.critic.theta[..., :-12] = 0
        d = module.unpack(batch(module))
        found = module.conservative_term(d, module.critic(d["obs"], d["action"]).squeeze(-1), drawn)
    p = [torch.full((2, 3, 8, 3), 2 * math.log(0.5), dtype=torch.float64)]
    normal = torch.distributions.Normal(*torch.tensor([0.0, 0.2], dtype=torch.float64))
    for name in ("current", "next"):
        own = normal.log_prob(0.2 * drawn[name]).sum(-1)
        p.append(own if log else own.exp())
    expected = 2 * (-torch.cat(p, -1) / 2).logsumexp(-1).mean(-1)
    torch.testing.assert_close(found, expected.unsqueeze(2).expand(-1, -1, 2), rtol=0, atol=1e-12)


class Peak:
    """Q1 = -|a - peak|^2, in place of a critic."""

    def __init__(self, peak: float):
        self.peak = peak

    def __call__(self, obs: torch.Tensor, a: torch.Tensor, n_heads: int) -> torch.Tensor:
        return -(a - self.peak).square().sum(-1, keepdim=True).unsqueeze(2)


@pytest.mark.parametrize("changes", [{}, {"sampler": "elites", "sampler_elites": 3}])
def test_the_sampler_finds_better_actions_and_keeps_the_policys_where_it_is_best(changes):
    module = made(sampler_rounds=4, sampler_actions=30, **changes)
    object.__setattr__(module, "_modules", {**module._modules})
    del module._modules["critic"]
    object.__setattr__(module, "critic", Peak(0.5))
    obs, z = torch.zeros(2, 3, 8, 4).double(), noise(module)["sampler"]
    pi = torch.zeros(2, 3, 8, 2).double()
    pi[0] = 0.5
    best = module.best_action(obs, pi, Peak(0.5)(obs, pi, 1)[:, :, 0], z)
    assert torch.equal(best[0], pi[0])
    assert ((best[1] - 0.5).square().sum(-1) < 0.5).all()
    assert ((best[1] - 0.5).square().sum(-1).mean()) < 0.1


def test_elites_on_a_bound_leave_a_deviation():
    """All actions of the first round are clamped to a bound where sigma is huge: the elites may be equal."""
    module = made(sampler="elites", sampler_elites=2, sampler_sigma=1e9, sampler_rounds=3)
    found = module.update_train(batch(module), noise(module))
    assert all(value.isfinite().all() for value in found.values())


def test_evaluation_reads_the_running_statistics_and_keeps_them():
    module = made()
    kept = module.policy.running_mean.clone()
    action, _ = module.act(torch.zeros(2, 1, 3, 4).double(), None, None)
    assert action.shape == (2, 1, 3, 2)
    assert torch.equal(module.policy.running_mean, kept)
    module.policy.running_mean += 1
    moved, _ = module.act(torch.ones(2, 1, 3, 4).double(), None, None)
    torch.testing.assert_close(moved, action)


def test_distinct_indices_are_different_and_uniform():
    g = torch.Generator().manual_seed(0)
    for n, size in ((10, 3), (10, 10), (5000, 1024)):
        drawn = torch.stack([distinct(n, size, g) for _ in range(50)])
        assert all(len(row.unique()) == size for row in drawn)
        assert (drawn >= 0).all()
        assert (drawn < n).all()
    first = torch.stack([distinct(8, 3, g) for _ in range(4000)])
    share = torch.stack([(first == k).double().mean(0) for k in range(8)])
    torch.testing.assert_close(share, torch.full((8, 3), 1 / 8).double(), rtol=0, atol=0.02)
    with pytest.raises(ReproduceError, match="11 different transitions from data that hold 10"):
        distinct(10, 11, g)


def sampled(seeds: list[int], first: int, n: int, how: Minibatches) -> torch.Tensor:
    """[n, S, 6] indices of the updates from `first` on, by a sampler that has drawn nothing yet."""
    sampler = SeedSampler(seeds)
    sampler.n_updates, sampler.first_update, sampler.minibatches = n, first, how
    return sampler.sample(range(50), n * len(seeds) * 6)[0].view(n, len(seeds), 6)


def test_minibatches_repeat_wherever_a_run_goes_on():
    how = Minibatches(parts=2, replacement=False, repeat_after=4)
    whole = sampled([3, 4], 0, 12, how)
    assert torch.equal(whole[:4], whole[4:8])
    assert torch.equal(whole[6:11], sampled([3, 4], 6, 5, how))
    assert torch.equal(whole[:, 1], sampled([4], 0, 12, how)[:, 0])
    rows = whole[:4].flatten(0, 1).unflatten(1, (2, 3)).flatten(0, 1).tolist()
    assert all(len(set(row)) == 3 for row in rows)
    assert len({tuple(row) for row in rows}) == 4 * 2 * 2
    fresh = sampled([3, 4], 0, 12, Minibatches(parts=2, replacement=False))
    assert len({tuple(row) for row in fresh.flatten(0, 1).tolist()}) == 24


def test_a_minibatch_larger_than_the_data_is_refused():
    module = made(batch_size=30)
    source = OfflineDataModule(transitions(20, CONTINUOUS), Transitions(CONTINUOUS), module.keys, module.seeds)
    with pytest.raises(ReproduceError, match=r"algo.batch_size is at most 20 here"):
        source.chunk(module.plan[0])
