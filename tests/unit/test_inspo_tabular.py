"""The theory, exactly: J never decreases, fixed points are quantal response equilibria. Random games by hypothesis."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reproduce.claims.programs.inspo_tabular import (
    best_response,
    equilibrium_gap,
    objective,
    random_game,
    sequential_round,
)

games = st.builds(
    lambda seed, n, s, a, gamma, alpha, beta: random_game(
        torch.Generator().manual_seed(seed), n, s, a, gamma, alpha, beta
    ),
    seed=st.integers(0, 2**31),
    n=st.integers(2, 3),
    s=st.integers(1, 3),
    a=st.integers(2, 3),
    gamma=st.floats(0.0, 0.95),
    alpha=st.floats(0.05, 2.0),
    beta=st.floats(0.0, 2.0),
)


@settings(max_examples=60, deadline=None)
@given(game=games, data=st.data())
def test_no_turn_decreases_the_objective(game, data):
    policies, last = list(game.mu), objective(game, game.mu)
    for _ in range(5):
        order = data.draw(st.permutations(range(game.n_agents)))
        for value in sequential_round(game, policies, order):
            assert value >= last - 1e-10 * (1 + abs(last))
            last = value


@settings(max_examples=25, deadline=None)
@given(game=games)
def test_rounds_converge_to_a_quantal_response_equilibrium(game):
    policies = list(game.mu)
    for _ in range(3000):
        sequential_round(game, policies, range(game.n_agents))
        if (gap := equilibrium_gap(game, policies)) < 1e-8:
            break
    assert gap < 1e-8


@settings(max_examples=40, deadline=None)
@given(game=games, seed=st.integers(0, 2**31))
def test_the_closed_form_is_the_best_response(game, seed):
    policies = list(game.mu)
    policies[0] = best_response(game, policies, 0)
    best = objective(game, policies)
    generator = torch.Generator().manual_seed(seed)
    for scale in (0.01, 0.3, 3.0):
        noise = torch.randn(policies[0].shape, generator=generator, dtype=torch.float64)
        other = [(policies[0].log() + scale * noise).softmax(-1), *policies[1:]]
        assert objective(game, other) <= best + 1e-9 * (1 + abs(best))


def test_simultaneous_best_responses_can_decrease_the_objective():
    """Why the turns matter: on the XOR game two agents that move at once both choose B."""
    reward = torch.tensor([[[0.0, 1.0], [1.0, -2.0]]], dtype=torch.float64)
    mu = [torch.tensor([[0.8, 0.2]], dtype=torch.float64)] * 2
    game = random_game(torch.Generator(), 2, 1, 2, 0.0, 0.05, 0.0)
    game = type(game)(reward, torch.ones(1, 2, 2, 1, dtype=torch.float64), mu, 0.0, 0.05, 0.0)
    at_once = [best_response(game, mu, i) for i in range(2)]
    in_turn = list(mu)
    sequential_round(game, in_turn, (0, 1))
    assert objective(game, at_once) < objective(game, mu)
    assert objective(game, in_turn) > objective(game, mu)
