"""SMAX: sizes and messages without JAX; with it specs, JaxMARL's own step to the bit, reward, ends and resets."""

import importlib.util

import pytest
import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.common.rng import Stream, generator
from data.generate import fights, scripts
from data.generate.play import episodes
from data.generate.scripts import act, scripted
from data.statistics import trajectory_statistics
from data.worlds import layout_for, make_world, smax
from data.worlds.battle import HEALTH, MAPS, first_legal

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jaxmarl") is None, reason="the extra `smax` is not installed")

# map: obs, actions, limit of steps, what a win adds (from unit health and SMAC's rule)
SIZES = {
    "3m": (75, 8, 60, 10.96),
    "2s3z": (127, 10, 120, 3.92),
    "3s_vs_5z": (101, 10, 250, 4.00),
    "5m_vs_6m": (140, 11, 70, 7.55),
    "6h_vs_8z": (179, 13, 150, 2.70),
    "corridor": (387, 29, 400, 3.12),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_limits_need_no_jax(name):
    obs, n_actions, limit, win = SIZES[name]
    spec, game = layout_for("smax", map_name=name).spec, MAPS[name]
    n, units = len(game.allies), len(game.allies) + len(game.enemies)
    assert (spec.obs_size, spec.n_actions, spec.episode_limit) == (obs, n_actions, limit)
    assert spec.state_shape == (10 * units + n * n_actions,)
    assert spec.win_reward == pytest.approx(win, abs=0.005)
    assert spec.metrics == ("episode_return", "win_rate")
    seen = layout_for("smax", map_name=name, view="modified").spec
    assert seen.obs_size == obs + n * n_actions + n
    assert seen.state_shape == (n, 11 * units + n * n_actions + n)


def test_what_is_wrong_is_named(monkeypatch):
    with pytest.raises(ReproduceError, match=r"unknown map '2c_vs_64zg'; known: 3m, .*Nearest"):
        layout_for("smax", map_name="2c_vs_64zg")
    with pytest.raises(ReproduceError, match="view is 'both', expected plain or modified"):
        layout_for("smax", map_name="3m", view="both")
    with pytest.raises(ReproduceError, match="episode_limit is 0"):
        layout_for("smax", map_name="3m", episode_limit=0)
    monkeypatch.setattr(smax, "find_spec", lambda name: None)
    with pytest.raises(ReproduceError, match=r"jaxmarl: `make smax` installs it, or `pip install -e '\.\[smax\]'`"):
        make_world("smax", 2, map_name="3m")


def test_the_first_legal_actions_are_counted_around():
    legal = torch.tensor([[False, True, False, True, True]])
    assert [first_legal(legal, torch.tensor([k])).item() for k in range(5)] == [1, 3, 4, 1, 3]


def test_scripts_shoot_whom_they_prefer_and_walk_to_the_nearest():
    """Two allies, two enemies: views of 13 (2 - 1 + 2) + 10 numbers, actions 5 + 2."""
    obs, legal = torch.zeros(1, 2, 49), torch.zeros(1, 2, 7, dtype=torch.bool)
    legal[..., :5] = True
    obs[:, 0, 13:16], obs[:, 0, 26:29] = torch.tensor([0.2, 0.5, 0.0]), torch.tensor([0.9, -0.3, 0.0])
    obs[:, 1, 40:42] = torch.tensor([0.75, 0.9])  # sees nobody, stands north of where the enemies start
    assert scripted("focus", obs, legal).tolist() == [[3, 2]]  # nobody in range: left, to the nearer one; down
    legal[:, 0, 5:] = True
    assert scripted("focus", obs, legal).tolist() == [[5, 2]]
    assert scripted("nearest", obs, legal).tolist() == [[6, 2]]
    legal[:, 1] = torch.tensor([0, 0, 0, 0, 1, 0, 0]).bool()  # dead: it may stop
    assert scripted("focus", obs, legal).tolist() == [[5, 4]]
    g = torch.Generator().manual_seed(0)
    drawn = torch.stack([act("focus", 0.5, obs, legal, g) for _ in range(200)])
    assert legal.expand(200, 1, 2, 7).gather(-1, drawn.unsqueeze(-1)).all()
    assert 80 < (drawn[:, 0, 0] == 5).sum() < 150


def seen_by_one(enemies, own, n_allies=1):
    """obs [1, N, O] and legal [1, N, A] of N agents alike, who see `enemies` [M] (health, x, y, kind, in range)."""
    n_enemies = len(enemies)
    obs = torch.zeros(1, n_allies, 13 * (n_allies - 1 + n_enemies) + 10)
    legal = torch.ones(1, n_allies, 5 + n_enemies, dtype=torch.bool)
    for j, (health, x, y, kind, in_range) in enumerate(enemies):
        at = 13 * (n_allies - 1 + j)
        obs[..., at : at + 3] = torch.tensor([health, x, y])
        obs[..., at + 7 + smax.UNITS.index(kind)] = 1
        legal[..., 5 + j] = in_range
    health, x, y, weapon, kind = own
    obs[..., -10:-6] = torch.tensor([health, x / 32, y / 32, weapon])
    obs[..., -6 + smax.UNITS.index(kind)] = 1
    return obs, legal


UP, RIGHT, DOWN, LEFT = range(4)


def test_kite_shoots_when_loaded_and_steps_away_from_whom_is_near_and_from_the_border():
    def chosen(enemies, x=16.0, y=16.0, weapon=0.0, step=20):
        return scripted("kite", *seen_by_one(enemies, (1.0, x, y, weapon, "stalker")), step).item()

    near, far = (1.0, 0.3, 0.0, "zealot", True), (0.2, -0.55, 0.0, "zealot", True)  # of a sight of 10
    assert chosen([near, far]) == 6  # loaded: the weaker one
    assert chosen([near], weapon=0.5) == LEFT  # 0.9 seconds to wait
    assert chosen([far], weapon=0.5) == 5  # nobody near
    assert chosen([near], x=1.5, weapon=0.5) in (UP, DOWN)  # left of it is the border
    unseen = (0.0, 0.0, 0.0, "zealot", False)
    assert chosen([unseen], x=8.0, y=20.0, step=0) == RIGHT  # towards where they start
    assert chosen([unseen], x=8.0, y=20.0) == DOWN  # towards where they have gone


def test_ambush_hides_comes_near_leads_away_and_helps():
    def chosen(enemies, x=8.0, y=26.0, step=20, n_allies=1):
        return scripted("ambush", *seen_by_one(enemies, (1.0, x, y, 0.0, "zealot"), n_allies), step)

    unseen = (0.0, 0.0, 0.0, "zergling", False)
    assert chosen([unseen], y=16.0, step=0).item() == UP
    assert chosen([unseen], step=5).item() == 4  # hidden: it waits
    assert chosen([unseen], x=11.0, step=5).item() == LEFT
    assert chosen([unseen]).item() == DOWN
    assert chosen([(1.0, 0.0, -8.5 / 9, "zergling", False)]).item() == DOWN  # a zergling's sight is 8
    assert chosen([(1.0, 0.0, -8.5 / 9, "zealot", False)]).item() == UP  # a zealot's 9
    assert chosen([(0.9, 0.1, 0, "zergling", True), (0.3, 0, 0.2, "zergling", True)]).item() == 6
    obs, legal = seen_by_one([(1.0, 0.2, 0.0, "zergling", True)], (1.0, 8.0, 26.0, 0.0, "zealot"), 2)
    legal[:, 1, 5] = False
    assert scripted("ambush", obs, legal, 20).tolist() == [[5, RIGHT]]  # the second walks there
    obs[:, 1, 13] = 0  # it does not see whom the first shoots, and leads away with it
    assert scripted("ambush", obs, legal, 20).tolist() == [[5, UP]]
    legal[:, 1] = torch.arange(6) == 4
    assert scripted("ambush", obs, legal, 20).tolist() == [[5, 4]]  # dead


# ---- with JAX: compiled once per module


@pytest.fixture(scope="module")
def world():
    return make_world("smax", 16, map_name="3m")


def reset(world, seed=3):
    starts = world.draw_starts(world.batch_size[0], generator(seed, Stream.TESTS))
    return world.reset(TensorDict({"start": starts}, world.batch_size)), starts


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize("view", ["plain", "modified"])
def test_specs(view):
    from torchrl.envs.utils import check_env_specs

    check_env_specs(make_world("smax", 3, map_name="3m", view=view))


@needs_jax
@pytest.mark.slow
def test_a_step_is_jaxmarls_to_the_bit(world):
    import jax
    import jax.numpy as jnp
    import numpy as np

    td, starts = reset(world)
    env = smax.Rules(MAPS["3m"], "plain", 60).env
    keys = jnp.asarray(starts.numpy().astype(np.uint32))
    theirs, state = jax.jit(jax.vmap(env.reset))(keys)

    @jax.jit
    @jax.vmap
    def step(key, state, action):
        actions = {agent: action[i] for i, agent in enumerate(env.agents)}
        return env.step_env(jax.random.fold_in(key, state.state.step), state, actions)

    for t in range(12):
        for i, agent in enumerate(env.agents):
            np.testing.assert_array_equal(td["obs"][:, i].numpy(), theirs[agent])
        action = first_legal(td["legal_actions"], torch.arange(16).unsqueeze(-1) + 5 * t + torch.arange(3))
        td["action"] = action
        theirs, state, reward, done, _ = step(keys, state, jnp.asarray(action.numpy(), dtype=jnp.int32))
        td = world.step(td)["next"]
        np.testing.assert_array_equal(td["done"].squeeze(-1).numpy(), done["__all__"])
        health = state.state.unit_health[:, 3:]
        assert world.spec.episode_limit > t
    lost = 3 * HEALTH["marine"] - np.asarray(health).sum(1)
    assert (lost > 0).any()
    assert not (np.asarray(reward["ally_0"]) < 0).any()


@needs_jax
@pytest.mark.slow
def test_a_win_is_twenty_and_nothing_else_is(world):
    g = generator(0, Stream.TESTS)
    starts = world.draw_starts(16, g)
    stored = ("obs", "state", "legal_actions")
    rows = episodes(world, lambda td: scripted("focus", td["obs"], td["legal_actions"]), starts, stored)
    world.layout.check(rows)
    stated = trajectory_statistics(rows, world.spec.win_reward)
    final = rows["final"].squeeze(-1)
    returns = torch.stack([r.sum() for r in rows["reward"].squeeze(-1).split(_lengths(final))])
    won = returns > 19.999
    assert 0 < stated["win_rate"] < 1
    assert stated["win_rate"] == won.double().mean().item()
    assert (returns[won] - 20).abs().max() < 1e-4
    assert returns[~won].max() < 9.05  # everything but the win
    alive = rows["state"][final][:, ::10][:, :6].unflatten(-1, (2, 3)) > 0  # health comes first of a unit's features
    assert (won == (alive[:, 0].any(1) & ~alive[:, 1].any(1))).all()


# map: the script, wins among 48 fights at least, most wins of `focus`
WINNERS = {"3s_vs_5z": ("kite", 46, 0), "5m_vs_6m": ("ambush", 44, 4)}


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize("name", WINNERS)
def test_scripts_that_win_where_shooting_alone_does_not(name):
    script, least, most = WINNERS[name]
    game, world = {"name": "smax", "map_name": name}, layout_for("smax", map_name=name).spec
    part = {"epsilon": 0, "episodes": 48}
    wins = {}
    for kind in (script, "focus"):
        rows = fights.scripted(game, 0, [part | {"script": kind}])
        stated = trajectory_statistics(rows, world.win_reward)
        wins[kind] = 48 * stated["win_rate"]
        assert stated["n_episodes"] == 48
    assert wins[script] >= least
    assert wins["focus"] <= most


@needs_jax
@pytest.mark.slow
def test_units_are_those_that_the_scripts_state():
    units = smax.Rules(MAPS["3m"], "plain", 60).units
    torch.testing.assert_close(list(scripts.SIGHT), units.unit_type_sight_ranges.tolist())
    torch.testing.assert_close(list(scripts.RELOAD), units.unit_type_weapon_cooldowns.tolist())
    step = units.time_per_step * units.world_steps_per_env_step
    torch.testing.assert_close(list(scripts.STRIDE), [step * v for v in units.unit_type_velocities.tolist()])


def _lengths(final):
    return torch.diff(torch.cat([torch.tensor([-1]), final.nonzero().squeeze(-1)])).tolist()


@needs_jax
@pytest.mark.slow
def test_finished_fights_stay_and_the_dead_may_only_stop(world):
    td, _ = reset(world)
    seen_dead = False
    for _ in range(60):
        td["action"] = scripted("nearest", td["obs"], td["legal_actions"])
        before, td = td, world.step(td)["next"]
        over = before["done"].squeeze(-1)
        for key in ("obs", "state", "legal_actions", "terminated", "truncated"):
            assert torch.equal(td[key][over], before[key][over]), key
        assert not td["reward"][over].any()
        dead = (td["obs"] == 0).all(-1)
        seen_dead |= bool(dead.any())
        assert (td["legal_actions"][dead].sum(-1) == 1).all()
        assert td["legal_actions"][dead][:, 4].all()
    assert seen_dead
    assert td["terminated"].all()
    assert set(td["metrics", "win_rate"].unique().tolist()) == {0.0, 1.0}


@needs_jax
@pytest.mark.slow
def test_key_and_actions_decide_a_fight_whatever_stands_beside_it(world):
    def play(td):
        for t in range(10):
            td["action"] = first_legal(td["legal_actions"], torch.full((16, 3), 3 * t))
            td = world.step(td)["next"]
        return td

    td, starts = reset(world, 4)
    first = play(td)["state"].clone()
    last = play(world.reset(TensorDict({"start": starts.flip(0)}, [16])))
    assert torch.equal(last["state"], first.flip(0))
    chosen = torch.arange(16).unsqueeze(-1) < 8
    td = world.reset(last.clone().update({"start": starts, "_reset": chosen}))
    kept = {key: td[key][8:].clone() for key in ("state", "obs", "legal_actions")}
    assert torch.equal(kept["state"], first.flip(0)[8:])
    td["action"] = torch.full((16, 3), 4)
    after = world.step(td)["next"]["obs"]  # the fights that were not chosen go on
    fresh, _ = reset(world, 4)
    assert torch.equal(td["state"][:8], fresh["state"][:8])
    last["action"] = td["action"]
    play(world.reset(TensorDict({"start": starts.flip(0)}, [16])))
    assert torch.equal(world.step(last)["next"]["obs"][8:], after[8:])


@needs_jax
@pytest.mark.slow
def test_the_limit_truncates_and_nothing_is_compiled_twice():
    world = make_world("smax", 3, map_name="3m", episode_limit=3)
    td, _ = reset(world)
    for t in range(3):
        assert not td["done"].any()
        td["action"] = torch.full((3, 3), 4)
        td = world.step(td)["next"]
        assert world._advance._cache_size() == 1, t  # weak types would compile the second step anew
    assert td["truncated"].all()
    assert not td["terminated"].any()
    assert not td["metrics", "win_rate"].any()


@needs_jax
@pytest.mark.slow
def test_the_modified_view_names_agents_and_last_actions():
    world = make_world("smax", 3, map_name="3m", view="modified")
    td, starts = reset(world)
    n, a = 3, world.n_actions
    assert torch.equal(td["obs"][:, :, -n:], torch.eye(n).expand(3, n, n))
    assert torch.equal(td["state"][:, :, -n:], torch.eye(n).expand(3, n, n))
    assert not td["obs"][:, :, 75 : 75 + n * a].any()  # nobody has acted yet
    td["action"] = torch.tensor([[0, 1, 4]]).expand(3, 3)
    td = world.step(td)["next"]
    acted = td["obs"][:, :, 75 : 75 + n * a].unflatten(-1, (n, a))
    wanted = torch.nn.functional.one_hot(torch.tensor([0, 1, 4]), a).float()
    assert torch.equal(acted, wanted.expand(3, n, n, a))  # allies start within sight of each other
    plain = make_world("smax", 3, map_name="3m")
    seen = plain.reset(TensorDict({"start": starts}, [3]))
    assert torch.equal(seen["obs"], world.reset(TensorDict({"start": starts}, [3]))["obs"][..., :75])
