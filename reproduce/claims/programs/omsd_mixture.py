# OMSD's ablation of the density: a Gaussian mixture in place of the diffusion score. Source: public notes on the paper
# (its appendix on mixtures and flows). The first author's development code adds +grad log p to a minimized loss, which
# leads away from the data; here eps = -sigma grad log p, as a trained network predicts it.
"""Stage 2 along the conditional scores of a fitted mixture, known in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from data.buffer import ChunkLoader
from data.worlds import make_world
from lit_modules.omsd import OMSD, noise_schedule
from reproduce.claims.programs.omsd_exact import (
    bandit_config,
    bandit_module,
    data_actions,
    mixture_noise,
    predicted_noise,
    train_stage_1,
)
from reproduce.experiment.evaluate import Evaluator


@dataclass(frozen=True)
class Mixture:
    """K normals of N numbers: weights [K], means [K, N], covariances [K, N, N]."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def given(self, prefix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mixture of x_i given x_<i = prefix [n, i]: weights [n, K], centers [n, K], variances [K]."""
        i = prefix.shape[-1]
        before, cross = self.covariances[:, :i, :i], self.covariances[:, :i, i]  # (K, i, i), (K, i)
        apart = prefix.unsqueeze(1) - self.means[:, :i]  # (n, K, i)
        gain = torch.linalg.solve(before, cross.unsqueeze(-1)).squeeze(-1)  # (K, i)
        distance = (apart * torch.linalg.solve(before, apart.unsqueeze(-1)).squeeze(-1)).sum(-1)
        log_weights = self.weights.log() - distance / 2 - torch.linalg.slogdet(before)[1] / 2
        centers = self.means[:, i] + (apart * gain).sum(-1)
        return log_weights.softmax(-1), centers, self.covariances[:, i, i] - (cross * gain).sum(-1)

    def noise(self, x: Tensor, t: Tensor, prefix: Tensor) -> Tensor:
        """eps_i(x, t | prefix), x and t [n], prefix [n, i] -> [n]."""
        weights, centers, variances = self.given(prefix)
        return mixture_noise(x, t, weights, centers, variances.sqrt())


def fit(x: Tensor, n_components: int, most_iterations: int = 500) -> Mixture:
    """Expectation maximization on x [n, N] until an iteration gains less than 1e-10 in mean log-likelihood.

    Starts with the covariance of all data, at their mean (K = 1) or at rows, each farthest from those before.
    Raises RuntimeError when it does not come to rest.
    """
    means = x[:1] if n_components > 1 else x.mean(0, keepdim=True)
    while len(means) < n_components:
        means = torch.cat([means, x[torch.cdist(x, means).amin(1).argmax()].unsqueeze(0)])
    covariances = x.T.cov().expand(n_components, -1, -1)
    weights, reached = x.new_full((n_components,), 1 / n_components), -torch.inf
    for _ in range(most_iterations):
        log_p = MultivariateNormal(means, covariances).log_prob(x.unsqueeze(1)) + weights.log()  # (n, K)
        found = log_p.logsumexp(-1).mean().item()
        if found - reached < 1e-10:
            return Mixture(weights, means, covariances)
        reached, share = found, log_p.softmax(-1)
        mass = share.sum(0)  # (K,)
        weights, means = mass / len(x), share.T @ x / mass.unsqueeze(-1)
        apart = x.unsqueeze(1) - means  # (n, K, N)
        covariances = torch.einsum("nk,nki,nkj->kij", share, apart, apart) / mass.view(-1, 1, 1)
    raise RuntimeError(f"{n_components} components: no rest after {most_iterations} iterations")


class MixtureOMSD(OMSD):
    """OMSD with one action per agent whose scores are those of `mixture`, over the actions in `order`."""

    mixture: Mixture

    def score_of(self, agent: int, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """eps of one agent, x (S, B, 1), t (S, B), condition (S, B, C) with the prefix at its end -> (S, B, 1)."""
        prefix = condition[..., condition.shape[-1] - self.prefix_size :][..., : self.order.index(agent)]
        eps = self.mixture.noise(x.double().flatten(), t.double().flatten(), prefix.double().flatten(0, 1))
        return eps.to(x.dtype).view_as(x)


def mixture_ablation(
    n_runs: int, beta: float, n_critic_updates: int, n_score_updates: int, score_batch_size: int, n_updates: int
) -> dict[str, float]:
    """Actors along scores of a trained network and of mixtures fitted to the same data, all with one critic.

    noise_error: root mean square difference of two components' eps to the network's, over both agents, 8192 noised data
    actions and the times of stage 2; return_gap: difference of their mean returns over n_runs actor seeds;
    return_lost_by_two: .64, the return at the modes, minus two components' mean; uncoordinated_runs: with returns <= 0,
    of diffusion and two components together; return_of_one: how far one component's mean is from 0, the return between
    the modes.
    """
    config = bandit_config(
        n_critic_updates=n_critic_updates, n_score_updates=n_score_updates, n_updates=n_updates,
        batch_size=score_batch_size, hidden=[64, 64], lr=3e-3, beta=beta, t_high=0.1, init_scale=8.0, share_stage1=True,
    )  # fmt: skip
    seeds = list(range(n_runs))
    learned, data = bandit_module(config, seeds[:1])
    train_stage_1(learned, data)
    actions = data_actions()
    one, two = (fit(actions, k) for k in (1, 2))
    returns = {
        name: torch.tensor(_returns(learned, seeds, mixture), dtype=torch.float64)
        for name, mixture in (("diffusion", None), ("two", two), ("one", one))
    }
    means = {name: found.mean().item() for name, found in returns.items()}
    return {
        "noise_error": _noise_error(learned, two, actions[:8192]),
        "return_gap": abs(means["two"] - means["diffusion"]),
        "return_lost_by_two": 0.64 - means["two"],
        "uncoordinated_runs": float(sum((returns[name] <= 0).sum().item() for name in ("diffusion", "two"))),
        "return_of_one": abs(means["one"]),
        "return_of_two": means["two"],
        "return_of_diffusion": means["diffusion"],
    }


def _returns(learned: OMSD, seeds: list[int], mixture: Mixture | None) -> list[float]:
    """Stage 2 of all seeds on the critic of `learned`, and on its scores unless there is a mixture -> [S]."""
    config = learned.config.replace(batch_size=64)
    module, data = bandit_module(config, seeds, OMSD if mixture is None else MixtureOMSD)
    first = {k: v for k, v in learned.state_dict().items() if not k.startswith("policy.")}
    module.load_state_dict(first, strict=False)
    module.n_updates = learned.n_updates
    if mixture is not None:
        module.mixture = mixture  # type: ignore[assignment]
    for chunk in ChunkLoader(data, module):
        module.training_step(data.to_schema(chunk), 0)
    play = Evaluator(lambda n: make_world("bandit", n, n_agents=2), seeds, 1, module.modes)
    return [float("nan") if episodes is None else episodes[0] for episodes in play(module)["greedy"]]


def _noise_error(learned: OMSD, mixture: Mixture, action: Tensor) -> float:
    """Over noised data actions [n, 2], t uniform in the times of stage 2, the second agent given the data's a_1."""
    g, c = torch.Generator().manual_seed(0), learned.config
    t = c.t_low + (c.t_high - c.t_low) * torch.rand(len(action), generator=g, dtype=torch.float64)
    alpha, sigma = (v.unsqueeze(-1) for v in noise_schedule(t))
    x = alpha * action + sigma * torch.randn(action.shape, generator=g, dtype=torch.float64)
    exact = torch.stack([mixture.noise(x[:, i], t, action[:, :i]) for i in range(2)], -1)
    return (predicted_noise(learned, x, t, action[:, 0]) - exact).square().mean().sqrt().item()
