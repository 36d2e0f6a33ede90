"""Worlds against the rules and numbers of AlberDICE's release."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from data.common.errors import ReproduceError
from data.worlds import fingerprint, make_world
from data.worlds.bridge import GOALS, JOINT_STATES, STARTS, Bridge, table

XOR = [[0, 1], [1, -2]]
UNIFORM = torch.full((len(JOINT_STATES), 5, 5), 1 / 25, dtype=torch.float64)

# (cells before, joint action, steps taken, cells after, reward, success, time limit); recorded from the original
VECTORS = [
    (((1, 2), (1, 3)), (4, 4), 0, ((1, 1), (1, 2)), -0.3179587, False, False),  # follow
    (((1, 2), (1, 3)), (3, 4), 0, ((1, 2), (1, 3)), -0.3162278, False, False),  # head-on swap refused
    (((1, 3), (1, 2)), (3, 4), 0, ((1, 4), (1, 1)), -0.1414214, False, False),  # apart
    (((0, 4), (1, 5)), (3, 1), 3, ((0, 5), (1, 5)), -0.3549510, False, False),  # contested cell: agent 0
    (((1, 0), (0, 1)), (1, 4), 5, ((0, 0), (0, 1)), -0.3192582, False, False),  # contested, although agent 1's goal
    (((1, 1), (1, 2)), (0, 4), 0, ((1, 1), (1, 2)), -0.3179587, False, False),  # blocked by a standing agent
    (((2, 4), (2, 5)), (3, 4), 0, ((2, 5), (2, 4)), -0.2236068, False, False),  # swap allowed: agent 0 into its goal
    (((0, 0), (0, 1)), (3, 4), 0, ((0, 0), (0, 1)), -0.3192582, False, False),  # swap refused: agent 1 into its goal
    (((0, 0), (0, 1)), (4, 4), 0, ((0, 0), (0, 0)), -0.2692582, False, False),  # agent 1 enters its occupied goal
    (((2, 5), (1, 5)), (4, 2), 0, ((2, 5), (2, 5)), -0.2692582, False, False),  # finished: frozen and passable
    (((1, 5), (0, 0)), (2, 0), 7, ((2, 5), (0, 0)), 0.0, True, False),
    (((1, 2), (1, 3)), (0, 0), 49, ((1, 2), (1, 3)), 0.0, False, True),
]


def step(world, actions):
    """The "next" of one step by actions [n, N]."""
    return world.step(TensorDict({"action": torch.tensor(actions)}, batch_size=world.batch_size))["next"]


def put(world, joint_states, steps):
    """Place each world at ((r0, c0), (r1, c1)) after so many steps."""
    world.reset()
    world.joint_state = torch.tensor([table().index[joint] for joint in joint_states])
    world._steps = torch.tensor(steps)


def cells(td):
    return [((r0, c0), (r1, c1)) for r0, c0, r1, c1 in td["state"][:, [0, 1, 4, 5]].long().tolist()]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("bridge", {}),
        ("bridge", {"episode_limit": 2, "start_adjacent": False}),
        ("matrix", {"payoff": XOR}),
        ("matrix", {"payoff": [XOR, XOR], "episode_limit": 2}),
    ],
)
def test_specs(name, params):
    check_env_specs(make_world(name, 3, **params), break_when_any_done="both")


def test_start_and_shapes():
    world = make_world("bridge", 4)
    td = world.reset()
    assert td["state"].tolist() == [[1, 2, 2, 5, 1, 3, 0, 0]] * 4
    assert torch.equal(td["obs"], td["state"].unsqueeze(1).expand(4, 2, 8))
    assert td["legal_actions"].all()
    assert (world.n_agents, world.n_actions, world.obs_size, world.state_size) == (2, 5, 8, 8)
    high = world.observation_spec["obs"].space.high
    assert high[0, 1].tolist() == [2, 5] * 4
    alternative = make_world("bridge", 1, start_adjacent=False).reset()
    assert alternative["state"].tolist() == [[1, 1, 2, 5, 1, 4, 0, 0]]


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors_of_the_release(vector):
    before, action, taken, after, reward, success, limit = vector
    world = make_world("bridge", 1, episode_limit=50)
    put(world, [before], [taken])
    td = step(world, [action])
    assert cells(td) == [after]
    assert td["reward"].item() == pytest.approx(reward, abs=1e-6)
    assert (td["terminated"].item(), td["truncated"].item()) == (success, limit)
    assert td["done"].item() == (success or limit)


def test_all_vectors_at_once_equal_one_by_one():
    world = make_world("bridge", len(VECTORS), episode_limit=50)
    put(world, [v[0] for v in VECTORS], [v[2] for v in VECTORS])
    td = step(world, [v[1] for v in VECTORS])
    assert cells(td) == [v[3] for v in VECTORS]


def test_184_joint_states_all_reachable():
    game = table()
    seen, front = set(), {game.index[STARTS[True]]}
    while front:
        seen |= front
        front = {int(s) for i in front for s in game.next[i].flatten()} - seen
    assert len(JOINT_STATES) == len(seen) == 184
    assert {(p, q) for p, q in JOINT_STATES if p == q} == {((2, 5), (2, 5)), ((0, 0), (0, 0))}


def test_finished_agent_never_moves_and_rewards_depend_on_the_new_cells():
    game = table()
    for (p, q), i in game.index.items():
        for j in game.next[i].flatten().tolist():
            assert p != GOALS[0] or JOINT_STATES[j][0] == p
            assert q != GOALS[1] or JOINT_STATES[j][1] == q
    ends = np.array(JOINT_STATES)[game.next.numpy()]  # [J, 5, 5, 2, 2]
    distance = np.linalg.norm(ends - np.array(GOALS), axis=-1).sum(-1)
    np.testing.assert_allclose(game.reward.numpy(), -0.05 * distance, atol=1e-12)
    assert not torch.signbit(game.reward[game.end]).any()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, -1.2354526),
        ({"episode_limit": 50}, -1.2354526),
        ({"episode_limit": 200, "zero_last_reward": False}, -1.2354526),
        ({"gamma": 0.99}, -1.2121548),
        ({"start_adjacent": False}, -1.5516804),
        ({"start_adjacent": False, "gamma": 0.99}, -1.5162611),
    ],
)
def test_exact_optimum(settings, expected):
    assert Bridge.exact_return(**settings) == pytest.approx(expected, abs=5e-8)


@pytest.mark.parametrize(
    ("adjacent", "limit", "gamma", "expected"),
    [
        (True, 20, 1.0, -7.0999),
        (True, 50, 1.0, -17.5586),
        (False, 20, 1.0, -7.9332),
        (False, 50, 1.0, -19.1305),
        (True, 20, 0.99, -6.4854),
        (True, 50, 0.99, -14.0130),
    ],
)
def test_exact_uniform(adjacent, limit, gamma, expected):
    assert Bridge.exact_return(UNIFORM, adjacent, limit, gamma) == pytest.approx(expected, abs=5e-5)


def test_best_path_in_the_world():
    """Both left, agent 0 down to (2,1), agent 1 past it and home, agent 0 across."""
    world = make_world("bridge", 1)
    world.reset()
    plan = [(4, 4), (2, 4), (1, 4), (3, 1), (3, 0), (3, 4), (3, 2), (2, 3)]
    steps = [step(world, [action]) for action in plan]
    rewards = [td["reward"].item() for td in steps]
    expected = [-0.3179587, -0.2707107, -0.2561553, -0.1581139, -0.1118034, -0.0707107, -0.05, 0]
    assert rewards == pytest.approx(expected, abs=1e-6)
    assert sum(rewards) == pytest.approx(Bridge.exact_return(), abs=1e-6)
    assert [td["terminated"].item() for td in steps] == [False] * 7 + [True]


def test_time_limit_is_truncated_and_its_reward_zeroed_only_when_asked():
    for zero, expected in ((True, 0.0), (False, -0.3162278)):
        world = make_world("bridge", 1, episode_limit=2, zero_last_reward=zero)
        world.reset()
        first, last = step(world, [(0, 0)]), step(world, [(0, 0)])
        assert not first["done"].item()
        assert first["reward"].item() == pytest.approx(-0.3162278, abs=1e-6)
        assert last["reward"].item() == pytest.approx(expected, abs=1e-6)
        assert last["truncated"].item()
        assert not last["terminated"].item()


def test_success_on_the_last_step_is_terminated_alone():
    world = make_world("bridge", 1, episode_limit=8)
    put(world, [((1, 5), (0, 0))], [7])
    td = step(world, [(2, 0)])
    assert td["terminated"].item()
    assert not td["truncated"].item()


def test_batch_equals_single_worlds_and_partial_reset():
    n, limit = 5, 20
    actions = torch.randint(0, 5, (limit + 3, n, 2), generator=torch.Generator().manual_seed(1))
    batch, singles = make_world("bridge", n, episode_limit=limit), [make_world("bridge", 1) for _ in range(n)]
    for world in (batch, *singles):
        world.reset()
    for t in range(limit + 3):
        together = step(batch, actions[t].tolist())
        for k, world in enumerate(singles):
            alone = step(world, [actions[t, k].tolist()])
            for key, value in alone.items():
                assert torch.equal(value[0], together[key][k]), (t, k, key)
    mask = torch.tensor([[True], [False], [True], [False], [False]])
    kept = batch.joint_state.clone()
    td = batch.reset(together.set("_reset", mask))
    assert td["done"].squeeze(-1).tolist() == (~mask).squeeze(-1).tolist()
    assert torch.equal(batch.joint_state[~mask.squeeze(-1)], kept[~mask.squeeze(-1)])
    assert cells(td)[0] == STARTS[True]


def test_stepping_finished_worlds_changes_nothing():
    world = make_world("bridge", 3, episode_limit=20)
    put(world, [((1, 5), (0, 0)), ((1, 2), (1, 3)), ((1, 2), (1, 3))], [3, 19, 3])  # success, time limit, goes on
    first = step(world, [(2, 0), (0, 0), (4, 4)])
    assert first["done"].squeeze(-1).tolist() == [True, True, False]
    for action in ((1, 2), (4, 4), (3, 3)):
        after = step(world, [action, action, (0, 0)])
        for key in ("state", "obs", "terminated", "truncated", "done"):
            assert torch.equal(after[key][:2], first[key][:2]), key
        assert after["reward"][:2].tolist() == [[0.0], [0.0]]
        assert after["reward"][2].item() < 0


def test_matrix_game_once_and_repeated():
    once = make_world("matrix", 4, payoff=XOR)
    assert once.reset()["obs"].tolist() == [[[0, 1, 0, 1]] * 2] * 4
    joint = [(0, 0), (0, 1), (1, 0), (1, 1)]
    td = step(once, joint)
    assert td["reward"].squeeze(-1).tolist() == [0, 1, 1, -2]
    assert td["terminated"].all()
    assert not td["truncated"].any()
    assert step(once, joint)["reward"].eq(0).all()

    repeated = make_world("matrix", 4, payoff=XOR, episode_limit=3)
    repeated.reset()
    ends = [step(repeated, joint) for _ in range(3)]
    assert [td["truncated"].all().item() for td in ends] == [False, False, True]
    assert not any(td["terminated"].any() for td in ends)
    assert ends[2]["reward"].squeeze(-1).tolist() == [0, 1, 1, -2]


def test_matrix_game_with_three_agents_and_an_asymmetric_payoff():
    payoff = torch.arange(27.0).reshape(3, 3, 3)
    world = make_world("matrix", 27, payoff=payoff.tolist())
    assert (world.n_agents, world.n_actions, world.obs_size) == (3, 3, 6)
    world.reset()
    joint = torch.cartesian_prod(*[torch.arange(3)] * 3)
    assert step(world, joint.tolist())["reward"].squeeze(-1).tolist() == list(range(27))


@pytest.mark.parametrize(
    "payoff",
    [[[0, 1], [1]], [["a", "b"], ["c", "d"]], [[0, 1, 2], [1, 2, 3]], [[0, float("nan")], [1, 2]], 3, [], None],
)
def test_bad_payoffs_are_refused(payoff):
    with pytest.raises(ReproduceError, match="payoff"):
        make_world("matrix", 1, payoff=payoff)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("brigde", {}, "Nearest: bridge"),
        ("bridge", {"episode_limits": 3}, "Nearest: episode_limit"),
        ("bridge", {"episode_limit": 0}, "episode_limit is 0"),
        ("bridge", {"episode_limit": 2.5}, "episode_limit is 2.5"),
        ("matrix", {}, "needs the parameter 'payoff'"),
        ("bridge", {"payoff": XOR}, "no parameter 'payoff'"),
    ],
)
def test_make_world_names_what_is_wrong(name, params, message):
    with pytest.raises(ReproduceError, match=message):
        make_world(name, 1, **params)


def test_fingerprint_is_stable_and_tells_worlds_apart(monkeypatch):
    base = fingerprint("bridge")
    assert base == fingerprint("bridge", start_adjacent=True, episode_limit=20)
    others = [{"episode_limit": 21}, {"start_adjacent": False}, {"zero_last_reward": False}]
    prints = [base, *(fingerprint("bridge", **other) for other in others)]
    prints += [fingerprint("matrix", payoff=XOR), fingerprint("matrix", payoff=[[0, 1], [1, -3]])]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 12 and int(p, 16) >= 0 for p in prints)
    # A rule changed in a single place shows: standing still on the start no longer costs the same.
    changed = table()
    reward = changed.reward.clone()
    reward[changed.index[STARTS[True]], 0, 0] += 1e-3
    monkeypatch.setattr("data.worlds.bridge.table", lambda: changed._replace(reward=reward))
    assert fingerprint("bridge") != base
