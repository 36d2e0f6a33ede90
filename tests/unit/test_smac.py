"""StarCraft II's world against a stand-in with smac's interface: sizes, ends, views, processes, what is missing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from data.common.errors import ReproduceError
from data.worlds import fingerprint, layout_for, make_world, smac
from data.worlds.battle import MAPS
from data.worlds.smac import Smac, sizes
from data.worlds.smac_game import Game, modified_view
from reproduce.experiment.evaluate import Evaluator

# map: agents, obs, state, actions, limit, as smac's get_env_info gives them; obs and state per agent of OMIGA's data
SMAC = {
    "3m": (3, 30, 48, 9, 60, None),
    "2s3z": (5, 80, 120, 11, 120, None),
    "5m_vs_6m": (5, 55, 98, 12, 70, (124, 156)),
    "3s_vs_5z": (3, 48, 68, 11, 250, None),
    "2c_vs_64zg": (2, 332, 342, 70, 400, (478, 675)),
    "6h_vs_8z": (6, 78, 140, 14, 150, (172, 213)),
    "corridor": (6, 156, 282, 30, 400, (346, 435)),
}


def unit(x, y, health=1.0):
    place = SimpleNamespace(x=x, y=y)
    return SimpleNamespace(pos=place, health=health, health_max=45.0, weapon_cooldown=3.0, shield=0.0)


class Standin:
    """smac's interface for marines: three steps of one damage each kill an enemy; `fate` says how a fight ends."""

    unit_type_bits = shield_bits_ally = shield_bits_enemy = 0
    map_x, map_y, max_distance_x, max_distance_y = 32, 32, 24, 16

    def __init__(self, map_name, seed):
        game = MAPS[map_name]
        self.n_agents, self.n_enemies = len(game.allies), len(game.enemies)
        self.n_actions, self.fate = 6 + self.n_enemies, ("win", "lose", "limit", "draw", "broken")[seed % 5]
        self.episode_limit, self.resets = game.limit, 0

    def reset(self):
        self.resets, self.steps = self.resets + 1, 0
        self.last_action = np.zeros((self.n_agents, self.n_actions))
        self.allies = [unit(8.0 + i, 16.0, 45.0) for i in range(self.n_agents)]
        self.enemies = {k: unit(13.0 + 4 * k, 16.0, 45.0) for k in range(self.n_enemies)}
        return self.get_obs(), self.get_state()

    def step(self, actions):
        for i, action in enumerate(actions):
            assert self.get_avail_agent_actions(i)[action], f"Agent {i} cannot perform action {action}"
        self.last_action, self.steps = np.eye(self.n_actions)[actions], self.steps + 1
        self.allies[0].health = 0.0  # the first dies in any case
        over, info = self.steps >= self.episode_limit, {"battle_won": False}
        if self.steps == 3 and self.fate != "limit":
            if self.fate == "broken":
                return 0, True, {}
            over, info["battle_won"] = True, self.fate == "win"
            for side in (
                [] if self.fate == "win" else self.allies,
                [] if self.fate == "lose" else self.enemies.values(),
            ):
                for one in side:
                    one.health = 0.0
        info["dead_allies"] = sum(one.health == 0 for one in self.allies)
        info["dead_enemies"] = sum(one.health == 0 for one in self.enemies.values())
        return 1.5 + 8 * info["battle_won"], over, info

    def get_obs(self):
        size = sizes(MAPS[f"{self.n_agents}m" if self.n_agents == 3 else "5m_vs_6m"], "plain")
        return [np.full(size[0], self.steps, np.float32) * (one.health > 0) for one in self.allies]

    def get_state(self):
        size = sizes(MAPS[f"{self.n_agents}m" if self.n_agents == 3 else "5m_vs_6m"], "plain")
        return np.full(size[1], self.steps, np.float32)

    def get_avail_agent_actions(self, i):
        alive = self.allies[i].health > 0
        near = [int(alive and abs(e.pos.x - self.allies[i].pos.x) < 6) for e in self.enemies.values()]
        return [int(not alive), *[int(alive)] * 5, *near]

    def get_avail_actions(self):
        return [self.get_avail_agent_actions(i) for i in range(self.n_agents)]

    def get_unit_by_id(self, i):
        return self.allies[i]

    def unit_sight_range(self, i):
        return 9

    def unit_max_cooldown(self, one):
        return 15

    def close(self):
        pass


class Lenient(Standin):
    """Takes any action, as smac does not: random ones of a spec are not always legal."""

    def step(self, actions):
        return super().step([row.index(1) for row in self.get_avail_actions()])


class Failing(Standin):
    def step(self, actions):
        raise RuntimeError("the game is gone")


@pytest.fixture
def standin(monkeypatch):
    monkeypatch.setattr(Smac, "make_game", staticmethod(Standin))
    monkeypatch.setattr(Smac, "check_installed", staticmethod(lambda map_name: None))


@pytest.mark.parametrize("name", SMAC)
def test_sizes_are_those_of_smac_and_of_omigas_data(name):
    n, obs, state, n_actions, limit, modified = SMAC[name]
    spec = layout_for("smac", map_name=name).spec
    assert (spec.n_agents, spec.obs_size, spec.state_shape, spec.n_actions) == (n, obs, (state,), n_actions)
    assert spec.episode_limit == limit
    if modified:
        seen = layout_for("smac", map_name=name, view="modified").spec
        assert (seen.obs_size, seen.state_shape) == (modified[0], (n, modified[1]))


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    found: dict = {"smac": None}
    monkeypatch.setattr(smac, "find_spec", lambda name: found.get(name))
    with pytest.raises(ReproduceError, match=r"needs the package smac: `pip install -e '\.\[smac\]'`\.$"):
        make_world("smac", 1, map_name="3m")
    found["smac"] = object()
    with pytest.raises(ReproduceError, match="PyPI's, a hyperparameter optimizer"):
        make_world("smac", 1, map_name="3m")
    found["smac.env"] = object()
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    with pytest.raises(ReproduceError, match=r"StarCraft II is not in .*: set SC2PATH"):
        make_world("smac", 1, map_name="3m")
    (tmp_path / "Versions").mkdir()
    with pytest.raises(ReproduceError, match=r"the map .*SMAC_Maps/3m\.SC2Map is missing"):
        make_world("smac", 1, map_name="3m")
    with pytest.raises(ReproduceError, match="unknown map '3n'"):
        make_world("smac", 1, map_name="3n")


@pytest.mark.parametrize(
    ("fate", "terminated", "truncated", "won"),
    [("win", 1, 0, 1), ("lose", 1, 0, 0), ("draw", 1, 0, 0), ("broken", 0, 1, 0), ("limit", 0, 1, 0)],
)
def test_how_fights_end(fate, terminated, truncated, won):
    env = Standin("3m", 0)
    env.fate = fate
    game = Game(env, "plain", 7)
    found = game.reset()
    steps = 0
    while not (found["terminated"] or found["truncated"]):
        found = game.step([1, 1, 1] if steps == 0 else [0, 1, 1])
        steps += 1
    assert steps == (7 if fate == "limit" else 3)
    assert (found["terminated"], found["truncated"], found["win_rate"]) == (terminated, truncated, won)
    again = game.step([0, 0, 0])
    assert again["reward"] == 0
    assert again["obs"] is found["obs"]


def test_the_modified_view_by_hand():
    env = Standin("5m_vs_6m", 0)
    env.reset()
    env.last_action[1, 4] = env.last_action[0, 1] = 1
    n, a = 5, 12
    seen, whole = modified_view(env, 0, False), modified_view(env, 0, True)
    assert (len(seen), len(whole)) == (124, 156)
    first = seen[:17]  # the nearest ally: seen, distance, place, health, last action
    np.testing.assert_allclose(first, [1, 1 / 9, 1 / 9, 0, 1, *np.eye(a)[4]])
    enemies = seen[4 * 17 : 4 * 17 + 30].reshape(6, 5)
    np.testing.assert_allclose(enemies[0], [1, 5 / 9, 5 / 9, 0, 1], rtol=1e-6)  # in range
    assert not enemies[1:].any()  # 9 away and more: out of sight
    np.testing.assert_allclose(seen[98:], [1, 1, 1, 1, 1, 0, 0, 0, 1, *np.eye(a)[1], *np.eye(n)[0]])
    np.testing.assert_allclose(whole[:20], [1, 1 / 9, 1 / 9, 0, 0.2, 1, -7 / 24, 0, *np.eye(a)[4]], rtol=1e-6)
    far = whole[80 + 8 : 80 + 16]  # out of sight, yet in the state
    np.testing.assert_allclose(far, [0, 1, 1, 0, 0, 1, 1 / 24, 0], rtol=1e-6)
    env.allies[0].health = 0.0
    for dead in (modified_view(env, 0, False), modified_view(env, 0, True)):
        np.testing.assert_array_equal(dead[-n:], np.eye(n)[0])
        assert not dead[:-n].any()
    other = modified_view(env, 1, True)
    assert not other[:20].any()  # the dead are not seen


@pytest.mark.slow
@pytest.mark.parametrize("view", ["plain", "modified"])
def test_specs_hold_in_processes(standin, view, monkeypatch):
    monkeypatch.setattr(Smac, "make_game", staticmethod(Lenient))
    world = make_world("smac", 2, map_name="3m", view=view, episode_limit=5)
    check_env_specs(world)
    world.close()


class Stops:
    """A module whose agents do the first legal thing."""

    n_updates, crashed, dtype = 0, (), torch.float32
    modes = ("greedy",)

    def broken_weights(self):
        return []

    def initial_carry(self, n_seeds, n):
        return None

    def act(self, obs, legal, draws, carry):
        return legal.int().argmax(-1), carry


@pytest.mark.slow
def test_an_evaluation_is_played_in_waves_and_counts_wins(standin, monkeypatch):
    monkeypatch.setattr(Smac, "draw_starts", lambda self, n, g: torch.zeros(n, 1, dtype=torch.int64))  # wins
    evaluator = Evaluator(lambda n: make_world("smac", n, map_name="3m"), [0, 1], 3, ("greedy",), at_once=4)
    assert evaluator.world.batch_size[0] == 4
    played = evaluator.play(Stops())
    evaluator.world.close()
    assert played == {"greedy": {"episode_return": [[12.5] * 3] * 2, "win_rate": [[1.0] * 3] * 2}}


@pytest.mark.slow
def test_a_game_that_fails_is_told_with_its_reason(standin, monkeypatch):
    monkeypatch.setattr(Smac, "make_game", staticmethod(Failing))
    world = make_world("smac", 1, map_name="3m")
    td = world.reset()
    td["action"] = torch.ones(1, 3, dtype=torch.int64)
    with pytest.raises(ReproduceError, match=r"map 3m: the game of world 0 stopped\. RuntimeError: the game is gone"):
        world.step(td)


def test_the_fingerprint_is_the_same_for_every_map():
    assert fingerprint("smac", map_name="3m") == fingerprint("smac", map_name="corridor", view="modified")
