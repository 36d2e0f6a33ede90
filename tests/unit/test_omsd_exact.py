"""Combinatorial mode shift enumerated, and the score of a diffused mixture against its definition."""

import pytest
import torch

from lit_modules.omsd import noise_schedule
from reproduce.claims.programs.omsd_exact import _tv, mixture_noise, mode_shift


@pytest.mark.parametrize("n_modes", [2, 3])
def test_marginals_lose_what_the_chain_rule_keeps(n_modes):
    found = mode_shift(5, n_modes)
    assert found["error_of_tv"] < 1e-12
    assert found["chain_rule_tv"] < 1e-12


def test_total_variation():
    assert _tv({"a": 0.5, "b": 0.5}, {"a": 1.0}) == 0.5
    assert _tv({"a": 1.0}, {"b": 1.0}) == 1.0


def test_the_noise_is_minus_sigma_times_the_score_of_the_diffused_density():
    weights = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    centers, std, t = torch.tensor([0.8, -0.8], dtype=torch.float64), 0.1, 0.3
    alpha, sigma = noise_schedule(torch.tensor(t, dtype=torch.float64))
    x = torch.tensor([0.1, -0.7, 1.2], dtype=torch.float64, requires_grad=True)
    scale = ((alpha * std).square() + sigma.square()).sqrt()
    modes = torch.distributions.Normal(alpha * centers, scale).log_prob(x.unsqueeze(-1))
    density = (modes + weights.log()).logsumexp(-1)
    (score,) = torch.autograd.grad(density.sum(), x)
    torch.testing.assert_close(mixture_noise(x.detach(), t, weights, centers, std), -sigma * score, rtol=0, atol=1e-12)
