"""OMSD's losses against hand numbers, its stop-gradients, its order and its ablations. Float64."""

import pytest
import torch

from data.synthetic import CONTINUOUS, transitions
from lit_modules.common.schedule import Chunk
from lit_modules.omsd import OMSD, noise_schedule
from reproduce.regression.cases import cases, train

OMSD_CONFIG = cases()["omsd"].config


def made(seeds: tuple[int, ...] = (0, 1), **changes) -> OMSD:
    module = OMSD(OMSD_CONFIG.replace(**changes), list(seeds), CONTINUOUS, chunk_size=10).double()
    module.configure_optimizers()
    return module


def batch(module: OMSD, n: int = 16):
    return torch.stack([transitions(n, CONTINUOUS)] * len(module.seeds))


def noise(module: OMSD, phase: str, n: int = 16) -> dict[str, torch.Tensor]:
    start = {"critic": 0, "score": 20, "actor": 30}[phase]
    return {name: value[0] for name, value in module.draw(Chunk(phase, start, 1, n)).items()}


def test_the_noise_schedule():
    """Values of notes on SRPO, t = .02: .997, .077; .1: .947, .322; .3: .630, .777; .5: .281, .960; .98: .008, 1."""
    alpha, sigma = noise_schedule(torch.tensor([0.02, 0.1, 0.3, 0.5, 0.98], dtype=torch.float64))
    expected = [[0.997, 0.947, 0.630, 0.281, 0.008], [0.077, 0.322, 0.777, 0.960, 1.0]]
    torch.testing.assert_close(torch.stack([alpha, sigma]), torch.tensor(expected).double(), rtol=0, atol=6e-4)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(5).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("expectile", "below", "above"), [(0.5, 0.5, 0.5), (0.7, 0.3, 0.7)])
def test_the_value_loss_is_the_expectile_of_the_smaller_q(expectile, below, above):
    module = made(expectile=expectile)
    d = module.unpack(batch(module))
    q = torch.minimum(module.q1_target(d["sa"]), module.q2_target(d["sa"]))
    u = (q - module.v(d["s"])).detach()
    assert (u < 0).any()
    assert (u > 0).any()
    expected = torch.where(u < 0, below * torch.ones_like(u), above) * u.square()
    torch.testing.assert_close(module.v_loss(d).detach(), expected.mean((1, 2, 3)), rtol=0, atol=1e-12)


def test_the_q_loss_stops_at_terminations_and_does_not_move_v():
    module = made()
    d = module.unpack(batch(module))
    assert d["reward"].shape == (2, 1, 16, 1)
    y = d["reward"] + 0.9 * d["mask"] * module.v(d["next_s"])
    assert (d["mask"] == 0).any()
    expected = 0.5 * sum((y - q(d["sa"])).square().mean((1, 2, 3)) for q in (module.q1, module.q2))
    torch.testing.assert_close(module.q_loss(d), expected, rtol=0, atol=1e-12)
    module.q_loss(d).sum().backward()
    assert module.v.theta.grad is None
    assert module.q1_target.theta.grad is None


@pytest.mark.parametrize(("team", "expected"), [("mean", slice(0, 3)), ("first", slice(0, 1))])
def test_the_team_is_paid_the_mean_or_agent_0s_reward(team, expected):
    module = made(team_reward=team)
    data = batch(module)
    reward = module.unpack(data)["reward"][:, 0, :, 0]
    torch.testing.assert_close(reward, data["rewards"][..., expected].mean(-1))


def test_the_score_loss_is_the_squared_error_of_the_predicted_noise():
    module = made(dropout=0.0)
    d, drawn = module.unpack(batch(module)), noise(module, "score")
    condition = module.conditions(d["obs"], d["action"])
    t = 1e-3 + (1 - 1e-3) * drawn["t"]
    alpha, sigma = noise_schedule(t)
    noisy = alpha.unsqueeze(-1) * d["action"] + sigma.unsqueeze(-1) * drawn["z"]
    error = (module.score(noisy, t, condition) - drawn["z"]).square().sum(-1)  # (S, N, B)
    torch.testing.assert_close(module.score_loss(d["action"], condition, drawn), error.mean(-1).sum(1))


def test_conditions_hold_the_actions_of_those_before_in_the_order():
    module = made(order=[2, 0, 1])
    d = module.unpack(batch(module))
    c = module.conditions(d["obs"], d["action"])  # (S, N, B, 4 + 2 * 2)
    a = d["action"]
    nothing = torch.zeros_like(a[:, 0])
    assert torch.equal(c[:, 2, :, 4:], torch.cat([nothing, nothing], -1))
    assert torch.equal(c[:, 0, :, 4:], torch.cat([a[:, 2], nothing], -1))
    assert torch.equal(c[:, 1, :, 4:], torch.cat([a[:, 2], a[:, 0]], -1))
    assert torch.equal(c[..., :4], d["obs"])
    assert torch.equal(made(method="ctde").conditions(d["obs"], a), d["obs"])


def test_the_actor_follows_w_eps_minus_beta_grad_q_and_nothing_else_moves():
    """One step of plain gradient descent by hand, agent after agent, against the module's own."""
    module = made(prefix="fresh")
    d, drawn = module.unpack(batch(module)), noise(module, "actor")
    seen = []
    module.optimizer["policy"].step_index = lambda rows, grad, scale: seen.append((rows, grad))  # nobody steps
    frozen = {name: p.clone() for name, p in module.named_parameters()}
    module.update_actor(batch(module), drawn)
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, frozen[name])
        assert parameter.grad is None, name
    actions = module.policy(d["obs"]).tanh()
    for agent, (rows, grad) in enumerate(seen):
        assert rows.tolist() == [agent, 3 + agent]
        a = actions[:, agent].detach()
        t = 0.02 + 0.96 * drawn["t"][:, agent]
        alpha, sigma = (x.unsqueeze(-1) for x in noise_schedule(t))
        noisy = alpha * a + sigma * drawn["z"][:, agent]
        condition = module.conditions(d["obs"], actions.detach())[:, agent]
        e = module.score_of(agent, noisy, t, condition)
        team = [actions[:, j].detach().clone() for j in range(3)]
        team[agent].requires_grad_()
        sa = torch.cat([d["s"][:, 0], *team], -1).unsqueeze(1)
        q = (module.q1_target(sa) + module.q2_target(sa)) / 2
        (g,) = torch.autograd.grad(q.sum(), team[agent])
        direction = (sigma.square() * e - 0.5 * g) / 16  # mean over the minibatch
        (expected,) = torch.autograd.grad(
            actions, module.policy.theta, _only(actions, agent, direction), retain_graph=True
        )
        torch.testing.assert_close(grad, expected.flatten(0, 1)[rows], rtol=0, atol=1e-12)


def _only(actions: torch.Tensor, agent: int, direction: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(actions)
    out[:, agent] = direction.detach()
    return out


def test_later_agents_see_fresh_actions_or_stale_ones():
    prefixes = {}
    for prefix in ("fresh", "stale"):
        module = made(prefix=prefix)
        asked = []
        own = module.conditions
        module.conditions = lambda obs, actions, own=own, asked=asked: (
            asked.append(actions.clone()) or own(obs, actions)
        )
        module.update_actor(batch(module), noise(module, "actor"))
        prefixes[prefix] = asked
    first, *later = prefixes["stale"]
    assert all(torch.equal(first, actions) for actions in later)
    first, second, third = prefixes["fresh"]
    assert not torch.equal(first[:, 0], second[:, 0])
    assert torch.equal(first[:, 1:], second[:, 1:])
    assert torch.equal(second[:, 0], third[:, 0])


def test_the_first_agent_is_the_same_as_without_decomposition():
    """OMSD's first agent is BRPO-CTDE's: the empty prefix has no effect."""
    full = made()
    d, drawn = full.unpack(batch(full)), noise(full, "actor")
    actions = full.policy(d["obs"]).tanh().detach()
    before = full.weighted_noise(d["obs"], actions, actions[:, 0], 0, drawn)
    changed = actions.clone()
    changed[:, 1:] += 1.0
    assert torch.equal(full.weighted_noise(d["obs"], changed, actions[:, 0], 0, drawn), before)
    assert not torch.equal(full.weighted_noise(d["obs"], changed, actions[:, 1], 1, drawn)[:, 0], before[:, 0])


def test_subtracting_the_noise_leaves_the_mean_gradient():
    plain, subtracted = made(), made(subtract_noise=True)
    d, drawn = plain.unpack(batch(plain)), noise(plain, "actor")
    actions = plain.policy(d["obs"]).tanh().detach()
    arguments = (d["obs"], actions, actions[:, 1], 1)
    difference = plain.weighted_noise(*arguments, drawn) - subtracted.weighted_noise(*arguments, drawn)
    t = 0.02 + 0.96 * drawn["t"][:, 1]
    sigma = noise_schedule(t)[1].unsqueeze(-1)
    torch.testing.assert_close(difference, sigma.square() * drawn["z"][:, 1], rtol=0, atol=1e-12)  # mean zero over z


def test_the_joint_learner_acts_for_all_and_independent_ones_see_only_themselves():
    joint, alone = made(method="jal"), made(method="ind")
    obs = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    for module in (joint, alone):
        assert module.act(obs, None, None)[0].shape == (2, 5, 3, 2)
    moved = obs.clone()
    moved[:, :, 0] += 1.0
    assert torch.equal(alone.act(moved, None, None)[0][:, :, 1:], alone.act(obs, None, None)[0][:, :, 1:])
    assert not torch.equal(joint.act(moved, None, None)[0][:, :, 1:], joint.act(obs, None, None)[0][:, :, 1:])
    d = alone.unpack(batch(alone))
    assert d["sa"].shape == (2, 3, 16, 6)
    assert joint.unpack(batch(joint))["action"].shape == (2, 1, 16, 6)


def test_all_seeds_may_share_one_stage_1():
    module = made(share_stage1=True)
    logged = train(module, transitions(spec=CONTINUOUS))
    assert module.q1.theta.shape[0] == 1
    assert module.policy.theta.shape[0] == 2
    assert (module.policy.theta[0] != module.policy.theta[1]).any()
    assert len(logged) == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order": [0, 0, 1]}, r"algo.order=\[0, 0, 1\]: must name each of the agents 0..2 once"),
        ({"method": "jal", "order": [0, 1, 2]}, r"agents 0..0 once"),
        ({"method": "vdn"}, "'omsd', 'ctde', 'ind' or 'jal'"),
        ({"t_low": 0.5, "t_high": 0.1}, "t_low must be below t_high"),
        ({"t_low": 0.0}, "t_low"),
    ],
)
def test_bad_settings_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        made(**changes)
