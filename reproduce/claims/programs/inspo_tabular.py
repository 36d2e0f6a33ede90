# InSPO, exact and tabular (AAAI 2025), https://arxiv.org/abs/2412.07639
# "This repository's derivation": the closed form that lit_modules/inspo.py projects onto data, here with full support.
"""Sequential best responses on small common-payoff Markov games: coordinate ascent on J, whose fixed points are QRE."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Game:
    """reward [S, A_1, .., A_N], transition [S, A_1, .., A_N, S], mu: per agent [S, A_i] > 0; float64."""

    reward: Tensor
    transition: Tensor
    mu: Sequence[Tensor]
    gamma: float
    alpha: float
    beta: float

    @property
    def n_agents(self) -> int:
        return len(self.mu)


def best_response(game: Game, policies: Sequence[Tensor], i: int) -> Tensor:
    """pi^i_*(a|s) ~ mu^i(a|s)^{alpha/(alpha+beta)} exp( Q^i(s,a) / (alpha+beta) ) -> [S, A_i].

    Q^i(s,a^i) = E_{a^-i ~ pi^-i}[ r + gamma V^i(s') ] - teammates' regularization, V^i its soft maximum.
    """
    temperature = game.alpha + game.beta
    reward = expected(game.reward, policies, keep=i) - teammates_cost(game, policies, i).unsqueeze(-1)  # (S, A_i)
    transition = expected(game.transition, policies, keep=i)  # (S, A_i, S)
    prior = game.alpha / temperature * game.mu[i].log()
    identity = torch.eye(len(reward), dtype=reward.dtype)
    policy = policies[i]
    while True:  # soft policy iteration: exact evaluation, then the soft maximum
        own = reward + temperature * (prior - policy.clamp_min(1e-300).log())
        step = (policy.unsqueeze(-1) * transition).sum(1)
        v = torch.linalg.solve(identity - game.gamma * step, (policy * own).sum(-1))
        better = (prior + (reward + game.gamma * transition @ v) / temperature).softmax(-1)
        if (better - policy).abs().max() <= 1e-13:
            return better
        policy = better


def sequential_round(game: Game, policies: list[Tensor], order: Sequence[int]) -> list[float]:
    """Agents in `order` best-respond, each seeing its teammates' newest policies; J after every turn."""
    values = []
    for i in order:
        policies[i] = best_response(game, policies, i)
        values.append(objective(game, policies))
    return values


def objective(game: Game, policies: Sequence[Tensor]) -> float:
    """J(pi) = E[ sum_t gamma^t ( r - alpha sum_i log(pi^i/mu^i) - beta sum_i log pi^i ) ] from a uniform state."""
    reward = expected(game.reward, policies) - teammates_cost(game, policies, None)
    transition = expected(game.transition, policies)
    identity = torch.eye(len(reward), dtype=reward.dtype)
    return float(torch.linalg.solve(identity - game.gamma * transition, reward).mean())


def equilibrium_gap(game: Game, policies: Sequence[Tensor]) -> float:
    """Largest change of any probability were an agent to best-respond alone: 0 at a quantal response equilibrium."""
    gaps = [(best_response(game, policies, i) - policies[i]).abs().max() for i in range(game.n_agents)]
    return float(torch.stack(gaps).max())


# ---- plumbing


def expected(x: Tensor, policies: Sequence[Tensor], keep: int | None = None) -> Tensor:
    """E over all agents' actions but those of `keep`: x [S, A_1, .., A_N, ...] -> [S, (A_keep), ...]."""
    for j in reversed(range(len(policies))):
        if j != keep:
            weights = policies[j].view(len(x), *[1] * (x.dim() - 2), -1)
            x = (x.movedim(1 + j, -1) * weights).sum(-1)
    return x


def teammates_cost(game: Game, policies: Sequence[Tensor], i: int | None) -> Tensor:
    """sum_{j != i} E[ alpha log(pi^j/mu^j) + beta log pi^j ] per state -> [S]."""
    cost = torch.zeros(len(game.reward), dtype=game.reward.dtype)
    for j, (pi, mu) in enumerate(zip(policies, game.mu, strict=True)):
        if j != i:
            log_pi = pi.clamp_min(1e-300).log()
            cost = cost + (pi * (game.alpha * (log_pi - mu.log()) + game.beta * log_pi)).sum(-1)
    return cost


def random_game(
    generator: torch.Generator, n_agents: int, n_states: int, n_actions: int, gamma: float, alpha: float, beta: float
) -> Game:
    """Normal rewards, random transitions, and behavior policies bounded away from 0."""
    joint = (n_states, *[n_actions] * n_agents)
    reward = torch.randn(joint, generator=generator, dtype=torch.float64)
    transition = torch.rand(*joint, n_states, generator=generator, dtype=torch.float64)
    mu = [
        torch.randn(n_states, n_actions, generator=generator, dtype=torch.float64).softmax(-1) for _ in range(n_agents)
    ]
    return Game(reward, transition / transition.sum(-1, keepdim=True), mu, gamma, alpha, beta)


def monotonic_and_qre(n_games: int, n_rounds: int, seed: int) -> dict[str, float]:
    """Over random games of 2 or 3 agents: the worst decrease of J in any turn, and the worst gap after `n_rounds`."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    decrease, gaps = 0.0, []
    for k in range(n_games):
        game = random_game(generator, 2 + k % 2, 1 + k % 4, 2 + k % 3, 0.9, uniform(0.1, 1.0), uniform(0.0, 1.0))
        policies = list(game.mu)
        last = objective(game, policies)
        for _ in range(n_rounds):
            order = torch.randperm(game.n_agents, generator=generator).tolist()
            values = [last, *sequential_round(game, policies, order)]
            decrease = max(decrease, *(before - after for before, after in pairwise(values)))
            last = values[-1]
            if (gap := equilibrium_gap(game, policies)) < 1e-9:
                break
        gaps.append(gap)
    return {"largest_decrease_of_J": decrease, "largest_equilibrium_gap": max(gaps)}
