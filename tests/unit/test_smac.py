"""StarCraft II's world against a stand-in with smac's interface: sizes, ends, views, processes, what is missing."""

import numpy as np
import pytest
import torch
from fights import Failing, Lenient, Standin
from torchrl.envs.utils import check_env_specs

from data.common.errors import ReproduceError
from data.worlds import absent, fingerprint, layout_for, make_world, smac
from data.worlds.smac import Smac
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
    with pytest.raises(ReproduceError, match=r"needs the package smac: `pip install -e '\.\[smac\]'`\. task=smax"):
        make_world("smac", 1, map_name="3m")
    assert absent("smac", map_name="3m").startswith("StarCraft II needs the package smac")
    assert absent("smax", map_name="3m") == ""  # an extra brings it
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
