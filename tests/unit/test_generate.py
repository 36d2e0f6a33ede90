"""Generators against what was measured on the released buffers."""

import pytest
import torch
from tensordict import TensorDict

from data.behavior import train
from data.common.errors import ReproduceError
from data.common.programs import ended
from data.common.spec import Discrete, WorldSpec
from data.generate import bridge, generate, random_play
from data.generate.collect import pick
from data.generate.random_play import random_returns
from data.statistics import episode_returns, return_statistics
from data.worlds import make_world
from data.worlds.bridge import Bridge, table
from reproduce import published
from reproduce.claims.programs import madiff_cloning, team_alignment

WORLD = {"name": "bridge", "start_adjacent": True, "episode_limit": 50, "zero_last_reward": True}
XOR = {"name": "matrix", "payoff": [[0, 1], [1, -2]]}
M_NE = {"name": "matrix", "payoff": [[5, -20, -20], [-20, 10, -20], [-20, -20, 20]]}


def the_16_paths():
    """Built from the description of the release's modes, not from the planner."""
    left = []
    for retreat, through in (((1, 0), [(0, 1)]), ((0, 1), [(1, 0)]), ((2, 1), [(0, 1), (1, 0)])):
        for by in through:
            for corner in ((1, 5), (2, 4)):
                first = [(1, 1), retreat, (1, 1), (1, 2), (1, 3), (1, 4), corner, (2, 5)]
                second = [(1, 2), (1, 1), by, *[(0, 0)] * 5]
                left.append(tuple(zip(first, second, strict=True)))
    # The other direction is a half turn of the map with the agents exchanged.
    turned = [tuple(tuple((2 - r, 5 - c) for r, c in (q, p)) for p, q in path) for path in left]
    return set(left) | set(turned)


@pytest.fixture(scope="module")
def optimal():
    return generate("bridge_optimal", WORLD, 0, {"episodes": 500})


@pytest.fixture(scope="module")
def mix():
    return generate("bridge_mix", WORLD, 0, {"episodes": 500})


@pytest.mark.parametrize(
    ("joint", "count"),
    [
        (((1, 2), (1, 3)), 2),
        (((1, 1), (1, 2)), 3),
        (((1, 3), (1, 4)), 3),
        (((2, 1), (1, 1)), 2),
        (((1, 4), (0, 4)), 2),
        (((2, 5), (1, 3)), 3),
        (((1, 2), (0, 0)), 3),
        (((1, 4), (0, 0)), 6),
        (((2, 5), (1, 1)), 6),
        (((2, 4), (1, 3)), 1),
    ],
)
def test_number_of_optimal_joint_actions(joint, count):
    assert bridge.optimal_joint_actions()[table().index[joint]].sum() == count


def test_a_finished_agent_of_the_planner_takes_only_its_corner_actions():
    allowed = bridge.optimal_joint_actions()[table().index[(2, 5), (1, 3)]].nonzero().squeeze(1)
    assert sorted(divmod(j, 5) for j in allowed.tolist()) == [(0, 4), (2, 4), (3, 4)]


def test_optimal_is_what_the_release_is(optimal):
    transitions, measures = optimal
    make_world("bridge", 1).layout.check(transitions)
    assert set(bridge.paths(transitions)) == the_16_paths()
    assert len(the_16_paths()) == 16
    assert -1.2657 <= measures["return_mean"] <= -1.2576
    assert 205 <= measures["left_first"] <= 295
    statistics = return_statistics(transitions)
    assert statistics["n_transitions"] == 4000
    assert statistics["length"]["min"] == statistics["length"]["max"] == 8
    assert (statistics["n_terminated"], statistics["n_truncated"]) == (500, 0)
    assert statistics["return"]["max"] == pytest.approx(-1.2354526, abs=1e-6)
    assert statistics["return"]["min"] == pytest.approx(-1.29040, abs=1e-5)
    returns = episode_returns(transitions)
    shares = [(returns - value).abs().lt(1e-5).sum().item() for value in (-1.29040, -1.25906, -1.23545)]
    assert sum(shares) == 500
    assert all(120 <= share <= 210 for share in shares)  # a third each, 4 standard errors


def test_planner_probabilities_give_the_exact_expected_return():
    mask = bridge.optimal_joint_actions().double()
    policy = (mask / mask.sum(1, keepdim=True)).reshape(-1, 5, 5)
    assert Bridge.exact_return(policy, episode_limit=50) == pytest.approx(-1.26164, abs=5e-6)
    assert Bridge.exact_return(policy, episode_limit=50, gamma=0.99) == pytest.approx(-1.23808, abs=5e-6)


def test_mix_is_random_then_optimal(mix, optimal):
    transitions, measures = mix
    make_world("bridge", 1).layout.check(transitions)
    first, second = transitions[transitions["episode"] < 500], transitions[transitions["episode"] >= 500]
    assert -18.27 <= measures["random_return_mean"] <= -16.85
    assert 2 <= measures["random_early_finishes"] <= 34
    lengths = first["episode"].unique(return_counts=True)[1]
    assert len(lengths) == 500
    assert (lengths < 50).sum() == measures["random_early_finishes"] == first["terminated"].sum()
    assert first["truncated"].sum() == (lengths == 50).sum()
    assert first["reward"][first["truncated"]].eq(0).all()  # the release's quirk
    share = torch.bincount((5 * first["action"][:, 0] + first["action"][:, 1]), minlength=25) / len(first)
    assert (share - 1 / 25).abs().max() < 0.006  # about 5 standard errors
    second["episode"] -= 500
    assert (second == optimal[0]).all()  # bitwise, as in the release


def test_without_the_quirk_only_the_last_rewards_differ():
    settings = {"episodes": 20}
    with_quirk, _ = generate("bridge_mix", WORLD, 3, settings)
    without, _ = generate("bridge_mix", WORLD | {"zero_last_reward": False}, 3, settings)
    last = with_quirk["truncated"]
    assert last.any()
    assert (without["reward"][last] < 0).all()
    assert torch.equal(with_quirk["reward"][~last], without["reward"][~last])
    assert torch.equal(with_quirk["action"], without["action"])


@pytest.mark.parametrize(
    ("name", "world", "params"),
    [
        ("bridge_optimal", WORLD, {"episodes": 30}),
        ("bridge_mix", WORLD, {"episodes": 30}),
        ("matrix_joint_actions", XOR, {"episodes": 200, "actions": [[0, 1], [1, 0]]}),
        ("matrix_independent", M_NE, {"episodes": 200, "probabilities": [0.93, 0.035, 0.035]}),
    ],
)
def test_a_seed_is_bitwise_repeatable_and_the_global_generator_untouched(name, world, params):
    before = torch.get_rng_state()
    first, _ = generate(name, world, 5, params)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again, _ = generate(name, world, 5, params)
    assert (first == again).all()
    other, _ = generate(name, world, 6, params)
    assert not torch.equal(other["action"], first["action"])


@pytest.mark.parametrize(
    ("actions", "mean"),
    [([[0, 1]], 1), ([[0, 1], [1, 0]], 1), ([[0, 0], [0, 1], [1, 0]], 2 / 3), ([[0, 0], [0, 1], [1, 0], [1, 1]], 0)],
)
def test_xor_draws_only_listed_joint_actions_evenly(actions, mean):
    transitions, measures = generate("matrix_joint_actions", XOR, 0, {"episodes": 5000, "actions": actions})
    make_world(n_worlds=1, **XOR).layout.check(transitions)
    joint, counts = transitions["action"].unique(dim=0, return_counts=True)
    assert joint.tolist() == actions
    assert (counts / 5000 - 1 / len(actions)).abs().max() < 0.027
    assert measures["return_mean"] == pytest.approx(mean, abs=0.07)
    assert transitions["terminated"].all()
    payoff = torch.tensor(XOR["payoff"], dtype=torch.float32)
    assert torch.equal(transitions["reward"].squeeze(-1), payoff[tuple(transitions["action"].unbind(-1))])


def test_m_ne_probabilities():
    params = {"episodes": 20000, "probabilities": [0.93, 0.035, 0.035]}
    transitions, measures = generate("matrix_independent", M_NE, 0, params)
    share = torch.stack([torch.bincount(a, minlength=3) for a in transitions["action"].unbind(-1)]) / 20000  # [N, A]
    assert (share - torch.tensor([0.93, 0.035, 0.035])).abs().max() < 0.0075
    assert 5 <= measures["joint_22"] <= 44
    with pytest.raises(ReproduceError, match=r"sum to 0\.95"):
        generate("matrix_independent", M_NE, 0, {"episodes": 2, "probabilities": [0.93, 0.01, 0.01]})


def test_pick_is_uniform_over_the_true_entries():
    choices = torch.tensor([[False, True, False, True, True]]).repeat(30000, 1)
    drawn = pick(choices, torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=5) / 30000
    assert share[[0, 2]].tolist() == [0, 0]
    assert (share[[1, 3, 4]] - 1 / 3).abs().max() < 0.011


def test_unknown_generator():
    with pytest.raises(ReproduceError, match="Nearest: bridge_mix"):
        generate("bridge_mixed", WORLD, 0, {})


def test_progress_reaches_its_total():
    calls = []
    generate("bridge_optimal", WORLD, 0, {"episodes": 2}, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (50, 50)
    assert len(calls) == 9


def test_random_play_is_uniform_over_what_is_legal_in_every_kind_of_world(capsys):
    """M-NE's mean payoff is (5 + 10 + 20 - 6 x 20) / 9; Bridge's by dynamic programming is -7.0999."""
    games = random_returns(M_NE | {"episode_limit": 1}, 0, 4000)
    assert abs(games.mean().item() - -85 / 9) < 5 * games.std().item() / 4000**0.5
    assert (random_returns({"name": "bridge"}, 0, 50) == random_returns({"name": "bridge"}, 0, 50)).all()
    bridge = random_returns({"name": "bridge"}, 1, 2000)
    assert abs(bridge.mean().item() - published.row("inspo/bridge/mix").references["random"]) < 0.2
    legal = torch.tensor([[[False, True, False], [True, False, False]]])
    spec = WorldSpec(2, 1, 1, Discrete(3), 1)
    drawn = random_play._action(TensorDict({"legal_actions": legal}, [1]), spec, torch.Generator())
    assert drawn.tolist() == [[1, 0]]
    assert ended("random_play", random_play.main, ["bandit"]) == 0
    assert capsys.readouterr().out.startswith("bandit: mean ")
    assert ended("random_play", random_play.main, ["mamujoco", "robot=hopper"]) == 4
    assert "known: scenario" in capsys.readouterr().err
    for odd in ("=[", "name=x", "episode_limit=[1"):
        assert ended("random_play", random_play.main, ["bandit", odd]) == 4


def test_worlds_of_which_few_play_at_once_play_in_turns(monkeypatch):
    asked = []
    monkeypatch.setattr(random_play, "at_once", lambda name: 4)
    made = random_play.make_world
    monkeypatch.setattr(random_play, "make_world", lambda **of: asked.append(of["n_worlds"]) or made(**of))
    assert random_returns({"name": "bridge"}, 0, 6).shape == (6,)
    assert asked == [4]  # once: a game takes long to start


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (train.main, [], "write a command"),
        (train.main, ["train", "nobody/nowhere"], "configs/behavior/nobody/nowhere.yaml"),
        (train.main, ["measure", "omiga/hopper_3x1", "loud"], "the noise is 'loud'"),
        (train.main, ["keep", "omiga/hopper_3x1"], "omiga/hopper_3x1.safetensors"),
        (train.main, ["random", "omiga/hopper_3x1", "5"], "what is 5 for?"),
        (train.main, ["prey", "omar/simple_tag_prey", "5", "6"], "what is 5 6 for?"),
        (team_alignment.main, ["nobody"], "nobody"),
        (team_alignment.main, ["omsd/mpe/cn_expert"], "weights '.' cannot be read"),
        (team_alignment.main, ["omsd/mpe/cn_expert", __file__], "test_generate.py' cannot be read"),
        (madiff_cloning.main, ["omar/mpe/spread_expert", "many"], "the number of updates is 'many'"),
        (madiff_cloning.main, ["a", "b", "c", "d"], "too many"),
    ],
)
def test_programs_end_with_a_message_where_their_words_are_wrong(main, words, said, capsys):
    assert ended("program", main, words) == 4
    err = capsys.readouterr().err
    assert err.startswith("program: ")
    assert said in err
