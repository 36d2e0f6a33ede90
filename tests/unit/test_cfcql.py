"""CFCQL's losses, inputs and switches against hand numbers. Float64."""

import math

import pytest
import torch
from pydantic import ValidationError

from data.synthetic import CONTINUOUS, transitions
from lit_modules.cfcql import CFCQL, side_by_side
from lit_modules.common.schedule import Chunk
from reproduce.regression.cases import cases

CONFIG = cases()["cfcql"].config
SOURCES = {"cql_policy_sources": True, "state": "stored"}
NORM = 2 * (3 * 4 + 3 * 2)  # numbers of the critic's norm


def made(seeds: tuple[int, ...] = (0, 1), **changes) -> CFCQL:
    module = CFCQL(CONFIG.replace(**changes), list(seeds), CONTINUOUS, chunk_size=10).double()
    module.configure_optimizers()
    return module


def batch(module: CFCQL):
    return torch.stack([transitions(16, CONTINUOUS)] * len(module.seeds))


def noise(module: CFCQL) -> dict[str, torch.Tensor]:
    return {name: value[0, :, 0] for name, value in module.draw(Chunk("train", 0, 1, 16)).items()}


class Sum:
    """Q = sum of all actions, in place of a critic; it keeps what it was given."""

    def __call__(self, state: torch.Tensor, actions: torch.Tensor, n_heads: int = 2) -> torch.Tensor:
        self.actions = actions
        return actions.sum(-1, keepdim=True).unsqueeze(1).repeat(1, n_heads, *[1] * (actions.ndim - 1))


def with_critic(module: CFCQL, critic: Sum) -> CFCQL:
    del module._modules["critic"]
    object.__setattr__(module, "critic", critic)
    return module


def test_minibatches_and_what_they_hold():
    module = made(**SOURCES)
    given, parts = batch(module), module.unpack(batch(module))
    assert len(parts) == 2
    for j, d in enumerate(parts):
        rows = slice(8 * j, 8 * j + 8)
        assert torch.equal(d["obs"], given["obs"][:, rows].transpose(1, 2))
        assert torch.equal(d["next_action"], given["next", "action"][:, rows].transpose(1, 2))
        assert torch.equal(d["state"], given["state"][:, rows, 0])  # agent 0's copy
        assert torch.equal(d["next_state"], given["next", "state"][:, rows, 0])
        assert torch.equal(d["reward"], given["rewards"][:, rows, 0])
        assert torch.equal(d["mask"], 1 - given["terminated"][:, rows, 0].double())
    assert torch.equal(made().unpack(given)[0]["state"], given["obs"][:, :8].flatten(2))


def test_only_what_the_settings_read_is_asked_of_the_data():
    assert made().keys == ("obs", "action", "rewards", "terminated", ("next", "obs"))
    assert {"state", ("next", "state"), ("next", "action")} <= set(made(**SOURCES).keys)


def test_counterfactual_values_replace_one_agents_action():
    module = with_critic(made(), critic := Sum())
    g = torch.Generator().manual_seed(3)
    a, others = torch.rand(2, 3, 8, 4, 2, generator=g).double(), torch.rand(2, 3, 8, 2, generator=g).double()
    found = module.counterfactual_q(torch.zeros(2, 8, 12).double(), a, others)  # (S, H, N, B, M)
    total = others.sum((1, 3))  # (S, B)
    for i in range(3):
        expected = (total - others[:, i].sum(-1)).unsqueeze(-1) + a[:, i].sum(-1)
        torch.testing.assert_close(found[:, 1, i], expected, rtol=0, atol=1e-12)
    row = critic.actions[0, 5].view(3, 4, 3, 2)[1, 2]  # of agent 1, draw 2
    assert torch.equal(row, torch.stack([others[0, 0, 5], a[0, 1, 5, 2], others[0, 2, 5]]))
    one = module.counterfactual_q(torch.zeros(2, 8, 12).double(), a[..., 0, :], others, n_heads=1)
    torch.testing.assert_close(one[:, 0], found[:, 0, ..., 0])


@pytest.mark.parametrize("together", [False, True])
def test_the_conservative_term_of_a_constant_critic(together):
    """log sum over M uniform actions of exp(q - p) - q = log M - p; p of one agent's action or of all of them."""
    module = made(counterfactual_critic=not together)
    with torch.no_grad():
        module.critic.theta[..., :-NORM] = 0
        d = module.unpack(batch(module))[0]
        q = module.critic(d["state"], side_by_side(d["action"])).squeeze(-1)
        found = module.conservative_term(d, q, noise(module))
    expected = math.log(3) + (6 if together else 2) * math.log(2)
    torch.testing.assert_close(found, torch.full((2, 2), expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_actions_of_the_others_are_the_datas_now_or_next_and_stay_in_bounds():
    module = made(**SOURCES, data_noise=0.5)
    d, z = module.unpack(batch(module))[0], noise(module)
    for (_, beside, _), name in zip(module.draws(d, z), ("uniform", "current", "next"), strict=True):
        own = d["next_action" if name == "next" else "action"]
        assert torch.equal(beside, (own + 0.5 * z[f"data_{name}"]).clamp(-1, 1))
    assert torch.equal(made().draws(d, z)[0][1], d["action"])  # uniform actions alone: as they are


def test_the_policies_climb_q1_and_pay_for_their_size():
    module = with_critic(made(action_penalty=0.1), Sum())
    d = module.unpack(batch(module))[0]
    pi, a = module.pi(d["obs"]).detach(), d["action"]
    q = sum((a.sum((1, 3)) - a[:, i].sum(-1) + pi[:, i].sum(-1)).mean(1) for i in range(3)) / 3
    expected = 0.1 * pi.square().mean((2, 3)).sum(1) - q
    torch.testing.assert_close(module.policy_loss(d).detach(), expected, rtol=0, atol=1e-12)
    module = with_critic(made(action_penalty=0.1, counterfactual_policy=False), Sum())
    expected = 0.1 * pi.square().mean((2, 3)).sum(1) - pi.sum((1, 3)).mean(1)
    torch.testing.assert_close(module.policy_loss(d).detach(), expected, rtol=0, atol=1e-12)


def test_the_target_is_agent_0s_reward_and_stops_at_terminations():
    module = made(cql_alpha=0.0, target_noise=0.5)
    d, z = module.unpack(batch(module))[0], noise(module)
    assert (d["mask"] == 0).any()
    next_a = (module.pi(d["next_obs"], module.policy_target) + 0.5 * z["target"]).clamp(-1, 1)
    next_q = module.critic_target(d["next_state"], side_by_side(next_a)).squeeze(-1).amin(1)
    y = (d["reward"] + 0.9 * d["mask"] * next_q).detach()
    q = module.critic(d["state"], side_by_side(d["action"])).squeeze(-1)
    expected = sum((q[:, k] - y).square().mean(1) for k in range(2))
    torch.testing.assert_close(module.critic_loss(d, z), expected, rtol=0, atol=1e-12)


def test_a_minibatch_of_one_is_refused():
    with pytest.raises(ValidationError, match="batch_size"):
        CONFIG.replace(batch_size=1)
