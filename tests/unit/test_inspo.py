"""InSPO's losses against hand numbers, what each one moves, and the switches. Float64."""

import math

import pytest
import torch

from data.synthetic import DISCRETE, discrete_spec, transitions
from lit_modules.bc import BC
from lit_modules.common.functional import taken
from lit_modules.common.importance import effective_sample_size
from lit_modules.inspo import InSPO
from reproduce.regression.cases import cases, train

BC_CONFIG, INSPO_CONFIG = (cases()[name].config for name in ("bc", "inspo"))


def module(**changes) -> InSPO:
    made = InSPO(INSPO_CONFIG.replace(**changes), [0, 1], DISCRETE).double()
    made.configure_optimizers()
    return made


def table(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).unsqueeze(0)  # (S=1, B, A)


def test_value_is_the_regularized_expectation():
    q, pi, mu = table([1.0, 3.0]), table([0.25, 0.75]), table([0.5, 0.5])
    kl = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    negative_entropy = 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    expected = 2.5 - 0.2 * kl - 0.3 * negative_entropy
    beta = torch.tensor(0.3, dtype=torch.float64)
    assert module(alpha=0.2).value(q, pi.log(), mu.log(), beta).item() == pytest.approx(expected, abs=1e-12)
    assert module(soft_value=False).value(q, pi.log(), mu.log(), beta).item() == pytest.approx(2.5, abs=1e-12)


def test_policy_loss_by_hand():
    q, pi, mu = table([1.0, 3.0]), table([0.25, 0.75]), table([0.5, 0.5])
    beta, m = torch.tensor(0.3, dtype=torch.float64), module(alpha=0.2)
    v = m.value(q, pi.log(), mu.log(), beta).item()
    expected = -math.exp((1.0 - v - 0.3 * math.log(0.5)) / 0.5) * math.log(0.25)
    got = m.policy_loss(q, pi.log(), mu.log(), torch.tensor([[0]]), beta).item()
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("gap", "weight"), [(1e3, math.exp(5)), (-1e3, math.exp(-10))])
def test_policy_weight_is_clipped(gap, weight):
    q, pi = table([gap, 0.0]), table([0.5, 0.5])
    zero = torch.tensor(0.0, dtype=torch.float64)
    loss = module(alpha=0.2, soft_value=False).policy_loss(q, pi.log(), pi.log(), torch.tensor([[0]]), zero)
    assert loss.item() == pytest.approx(weight * math.log(2), rel=1e-12)


def test_td_target_stops_at_terminals_and_uses_the_target_network():
    m = module(soft_value=False)
    d = {
        "next_obs": torch.rand(2, 4, DISCRETE.obs_size, dtype=torch.float64),
        "next_legal": torch.ones(2, 4, DISCRETE.n_actions, dtype=torch.bool),
        "reward": torch.randn(2, 4, dtype=torch.float64),
        "terminated": torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64).expand(2, 4),
    }
    rows, beta = torch.tensor([0, 4]), torch.tensor(0.0, dtype=torch.float64)
    theta_pi = m.policy.theta.flatten(0, 1)[rows]
    pi = m.policy(d["next_obs"], theta_pi).softmax(-1)
    m.add_next(d, rows)
    before = m.td_target(d, theta_pi, beta)
    expected = d["reward"] + 0.9 * (1 - d["terminated"]) * (
        pi * m.q_target(d["next_obs"], m.q_target.theta.flatten(0, 1)[rows])
    ).sum(-1)
    torch.testing.assert_close(before, expected, rtol=0, atol=1e-12)
    m.q.theta.data += 1.0
    torch.testing.assert_close(m.td_target(d, theta_pi, beta), before, rtol=0, atol=0)


def one_round(m: InSPO, **noise) -> dict[str, torch.Tensor]:
    """Parameters before and after one round on fixed candidates."""
    m.n_updates = m.config.n_behavior_updates
    chunk = next(c for c in m.plan if c.phase == "round")
    drawn = {k: v[0] for k, v in m.draw(chunk).items()} | noise
    batch = torch.stack([transitions(m.config.n_candidates)] * 2)
    before = {k: v.clone() for k, v in m.state_dict().items()}
    m.update_round(batch, drawn)
    return {k: (v - before[k]).abs().flatten(2).amax(-1) for k, v in m.state_dict().items() if "theta" in k}


def test_a_round_moves_q_and_policy_of_every_agent_and_never_the_clone():
    moved = one_round(module())
    assert (moved["q.theta"] > 0).all()
    assert (moved["policy.theta"] > 0).all()
    assert (moved["behavior_policy.theta"] == 0).all()


def test_a_diverged_seed_leaves_the_others_alone():
    states = []
    for poisoned in (False, True):
        m = module()
        if poisoned:
            m.q.theta.data[0] = math.nan
        one_round(m)
        states.append({k: v[1].clone() for k, v in m.state_dict().items() if "theta" in k})
        assert m.q.theta[0].isnan().all() == poisoned
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


CLIPS = [((-21, -49), (-20, -20)), ((6, 60), (5, 5)), ((-19, -21), (-19, -20)), ((4, 6), (4, 5))]


@pytest.mark.parametrize(("ratios", "clipped"), CLIPS)
def test_importance_ratios_are_clipped(ratios, clipped):
    """The ratio is that of the teammates together; candidates beyond a clip count alike."""
    m = module(n_candidates=2, batch_size=8)
    candidates = m.unpack(torch.stack([transitions(2)] * 2))
    log_ratio = torch.zeros(2, 3, 2, dtype=torch.float64)
    log_ratio[:, 0], log_ratio[:, 1:] = 99.0, torch.tensor(ratios, dtype=torch.float64) / 2
    _, _, ess = m.start_turn(candidates, log_ratio, torch.tensor([0, 3]), torch.zeros(2, 8, dtype=torch.float64))
    assert ess.tolist() == pytest.approx([effective_sample_size(torch.tensor(clipped).double()).item()] * 2, rel=1e-12)


def test_sequential_agents_see_new_policies_and_simultaneous_ones_do_not():
    rows = torch.tensor([[0, 1, 2], [3, 4, 5]])
    first = {}
    for sequential in (True, False):
        m = module(sequential=sequential, policy_lr=0.5)
        one_round(m, rows=rows)
        first[sequential] = m.policy.theta.detach().clone()
    assert torch.equal(first[True][:, 0], first[False][:, 0])  # the first agent sees the same old teammates
    assert not torch.equal(first[True][:, 2], first[False][:, 2])


def test_order_is_a_permutation_of_each_seeds_own_agents():
    m = module()
    m.n_updates = m.config.n_behavior_updates
    rows = m.draw(next(c for c in m.plan if c.phase == "round"))["rows"]  # (K, S, N)
    assert (rows.sort(-1).values == torch.tensor([[0, 1, 2], [3, 4, 5]])).all()
    assert not (rows[:, 0] == rows[:, 1] - 3).all()  # seeds have orders of their own


def test_beta_is_annealed_linearly_and_the_ablation_is_zero():
    beta = []
    for entropy in (True, False):
        m = module(entropy=entropy, beta_start=0.5, beta_end=0.1, anneal_fraction=0.5)
        m.n_updates = 20
        beta.append(m.draw(next(c for c in m.plan if c.phase == "round"))["beta"])
    steps = torch.arange(30) / 15
    torch.testing.assert_close(beta[0], (0.5 - 0.4 * steps.clamp(max=1.0)).double(), rtol=0, atol=1e-6)
    assert (beta[1] == 0).all()


def test_reweighting_weights_the_losses_and_none_does_not():
    m = module(importance="reweight")
    log_rho = torch.tensor([[0.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    candidates = {"action": torch.arange(4).expand(2, 3, 4)}
    d, weight = m.minibatch(candidates, torch.tensor([0, 3]), log_rho, torch.zeros(2, 3, dtype=torch.float64))
    assert d["action"].tolist() == [[0, 1, 2]] * 2
    torch.testing.assert_close(weight[0] / weight[0, 0], log_rho[0, :3].exp(), rtol=0, atol=1e-12)
    torch.testing.assert_close(weight.mean(-1), torch.ones(2, dtype=torch.float64))
    assert (
        module(importance="none").minibatch(candidates, torch.tensor([0, 3]), log_rho, torch.zeros(2, 3))[1] == 1
    ).all()


def test_unknown_importance_is_refused():
    with pytest.raises(ValueError, match="'resample', 'reweight' or 'none'"):
        module(importance="weight")


def test_bc_joint_recovers_a_correlated_policy_that_factors_cannot():
    data = transitions(400)
    data["action"][:] = torch.randint(3, (400, 1), generator=torch.Generator().manual_seed(0))  # all agents alike
    data["legal_actions"][:] = True
    likelihood = {}
    for joint in (False, True):
        config = BC_CONFIG.replace(joint=joint, n_updates=400, hidden=[16])
        m = BC(config, [0], DISCRETE).double()
        train(m, data)
        obs, legal = m.normalize_obs(data["obs"].unsqueeze(0)), data["legal_actions"].transpose(0, 1).unsqueeze(0)
        likelihood[joint] = -m.policy_loss(obs, legal, data["action"].unsqueeze(0)).item()
    assert likelihood[False] == pytest.approx(-3 * math.log(3), abs=0.15)
    assert likelihood[True] == pytest.approx(-math.log(3), abs=0.15)


def test_joint_actions_round_trip_and_respect_legality():
    m = BC(BC_CONFIG.replace(joint=True), [0], DISCRETE).double()
    obs = torch.rand(1, 50, 3, DISCRETE.obs_size, dtype=torch.float64)
    legal = torch.zeros(1, 50, 3, 3, dtype=torch.bool)
    choice = torch.randint(3, (1, 50, 3), generator=torch.Generator().manual_seed(1))
    legal.scatter_(-1, choice.unsqueeze(-1), True)
    assert torch.equal(m.act(obs, legal, None)[0], choice)
    assert torch.equal(m.act(obs, legal, torch.rand(1, 50, 3, dtype=torch.float64))[0], choice)


def test_too_many_joint_actions_are_refused():
    with pytest.raises(ValueError, match="joint actions"):
        BC(BC_CONFIG.replace(joint=True), [0], discrete_spec(8, 2, 5))


def test_cloning_learns_the_marginals():
    data = transitions(300)
    data["legal_actions"][:] = True
    data["obs"][:] = 0.5
    m = BC(BC_CONFIG.replace(n_updates=600), [0], DISCRETE).double()
    train(m, data)
    p = m.policy_log_probs(m.normalize_obs(data["obs"][:1].unsqueeze(0)), None).exp()[0, :, 0]
    share = torch.nn.functional.one_hot(data["action"], 3).double().mean(0)
    torch.testing.assert_close(p, share, rtol=0, atol=0.06)


def test_taken_gathers_along_actions():
    values = torch.arange(12.0).view(2, 2, 3)
    assert taken(values, torch.tensor([[0, 2], [1, 1]])).tolist() == [[0.0, 5.0], [7.0, 10.0]]
