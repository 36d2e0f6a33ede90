"""Mixtures against known parameters and numerical differentiation, and OMSD with their scores. Float64."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from data.catalog import registry
from lit_modules.common.schedule import Chunk
from lit_modules.omsd import noise_schedule
from reproduce.claims.programs.omsd_exact import bandit_config, bandit_module, mixture_noise
from reproduce.claims.programs.omsd_mixture import Mixture, MixtureOMSD, fit, mixture_ablation

MIXTURE = Mixture(
    torch.tensor([0.3, 0.7], dtype=torch.float64),
    torch.tensor([[0.5, -0.2, 0.1], [-0.4, 0.6, 0.3]], dtype=torch.float64),
    torch.tensor(
        [[[0.2, 0.1, 0.05], [0.1, 0.3, -0.1], [0.05, -0.1, 0.4]], [[0.1, -0.05, 0], [-0.05, 0.2, 0.1], [0, 0.1, 0.25]]],
        dtype=torch.float64,
    ),
)


@pytest.fixture
def _small_data(monkeypatch):
    entries = registry.entries()
    entries["bandit/two_mode"]["acceptance"] = {}
    entries["bandit/two_mode"]["generator"]["params"]["rows"] = 2000
    monkeypatch.setattr(registry, "_parsed", lambda: entries)


def test_expectation_maximization_finds_what_the_data_were_drawn_from():
    g = torch.Generator().manual_seed(0)
    n, share = 40_000, 0.3
    means = torch.tensor([[0.8, 0.6], [-0.8, -0.7]], dtype=torch.float64)
    roots = torch.tensor([[[0.1, 0.0], [0.06, 0.08]], [[0.2, 0.0], [0.0, 0.1]]], dtype=torch.float64)
    which = (torch.rand(n, generator=g) >= share).long()
    z = torch.randn(n, 2, 1, generator=g, dtype=torch.float64)
    x = means[which] + (roots[which] @ z).squeeze(-1)
    found = fit(x, 2)
    order = found.means[:, 0].argsort(descending=True)
    close = {"rtol": 0, "atol": 0.01}
    torch.testing.assert_close(found.weights[order], torch.tensor([share, 1 - share]).double(), **close)
    torch.testing.assert_close(found.means[order], means, **close)
    torch.testing.assert_close(found.covariances[order], roots @ roots.mT, rtol=0, atol=0.001)
    one = fit(x, 1)
    torch.testing.assert_close(one.means[0], x.mean(0))
    torch.testing.assert_close(one.covariances[0], x.T.cov(correction=0))


def test_a_fit_that_does_not_rest_says_so():
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(RuntimeError, match="2 components: no rest after 1 iterations"):
        fit(x, 2, most_iterations=1)


@pytest.mark.parametrize("i", [0, 1, 2])
@pytest.mark.parametrize("t", [0.03, 0.4])
def test_conditional_noise_is_minus_sigma_times_the_slope_of_the_diffused_conditional_density(i, t):
    """p(x | prefix) by quadrature: the joint density on a grid of clean actions, diffused point by point."""
    prefix = torch.tensor([[0.4, -0.3]], dtype=torch.float64)[:, :i]
    grid = torch.linspace(-6, 6, 24_001, dtype=torch.float64)
    at = torch.cat([prefix.expand(len(grid), -1), grid.unsqueeze(-1)], -1)
    k = i + 1
    joint = MultivariateNormal(MIXTURE.means[:, :k], MIXTURE.covariances[:, :k, :k]).log_prob(at.unsqueeze(1))
    log_clean = (joint + MIXTURE.weights.log()).logsumexp(-1)  # up to the prefix's own density
    alpha, sigma = noise_schedule(torch.tensor(t, dtype=torch.float64))

    def log_density(x: torch.Tensor) -> torch.Tensor:
        return (log_clean - (x.unsqueeze(-1) - alpha * grid).square() / (2 * sigma**2)).logsumexp(-1)

    x, h = torch.tensor([-1.1, 0.05, 0.7], dtype=torch.float64), 1e-4
    slope = (log_density(x + h) - log_density(x - h)) / (2 * h)
    found = MIXTURE.noise(x, torch.full_like(x, t), prefix.expand(3, -1))
    torch.testing.assert_close(found, -sigma * slope, rtol=0, atol=1e-6)


def test_components_of_unlike_deviations():
    x = torch.tensor([0.1, -0.7, 1.2], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64)
    weights, centers = torch.tensor([[0.4, 0.6]]).double(), torch.tensor([[0.8, -0.8]]).double()
    std = torch.tensor([0.1, 0.5], dtype=torch.float64)
    alpha, sigma = (v.unsqueeze(-1) for v in noise_schedule(t))
    normal = torch.distributions.Normal(alpha * centers, ((alpha * std).square() + sigma.square()).sqrt())
    density = (normal.log_prob(x.unsqueeze(-1)) + weights.log()).logsumexp(-1)
    (score,) = torch.autograd.grad(density.sum(), x)
    found = mixture_noise(x.detach(), t, weights, centers, std)
    torch.testing.assert_close(found, -sigma.squeeze(-1) * score, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("_small_data")
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_actors_see_the_mixture_of_their_prefix_in_the_order(order, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRODUCE_HOME", str(tmp_path))
    module, _ = bandit_module(bandit_config(order=order, batch_size=16), [0, 1], MixtureOMSD)
    module.double().mixture = Mixture(
        MIXTURE.weights, MIXTURE.means[:, :2].contiguous(), MIXTURE.covariances[:, :2, :2].contiguous()
    )
    obs = torch.ones(2, 2, 16, 5, dtype=torch.float64)
    actions = torch.rand(2, 2, 16, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    noise = {name: v[0] for name, v in module.draw(Chunk("actor", 0, 1, 16)).items()}
    last, first = order[1], order[0]
    e = module.weighted_noise(obs, actions, actions[:, last], last, noise)
    t = 0.02 + 0.96 * noise["t"][1, last]
    alpha, sigma = noise_schedule(t)
    x = alpha * actions[1, last, :, 0] + sigma * noise["z"][1, last, :, 0]
    exact = module.mixture.noise(x, t, actions[1, first])
    torch.testing.assert_close(e[1, :, 0], sigma.square() * exact, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("_small_data")
def test_the_ablation_runs_and_its_descent_leads_to_the_modes(tmp_path, monkeypatch):
    """Descent on L along eps climbs the density: with +grad log p in its place, two components would be repelled."""
    monkeypatch.setenv("REPRODUCE_HOME", str(tmp_path))
    found = mixture_ablation(2, 0.002, 5, 5, 32, 150)
    assert set(found) >= {"noise_error", "return_gap", "return_lost_by_two", "uncoordinated_runs", "return_of_one"}
    assert found["return_of_two"] == pytest.approx(0.64, abs=0.1)
    assert found["noise_error"] > 0.1  # five updates teach no score
