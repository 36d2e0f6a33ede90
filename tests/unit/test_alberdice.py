"""The AlberDICE loader: on the released arrays where they are at hand, and on every way a folder can be wrong."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
import written

from data.common.errors import ReproduceError
from data.common.paths import ROOT
from data.generate import bridge, generate
from data.official import alberdice
from data.statistics import return_statistics
from data.worlds import make_world
from data.worlds.bridge import Bridge, table

RELEASE = ROOT.parent / "shared" / "data" / "alberdice"
released = pytest.mark.skipif(not RELEASE.is_dir(), reason="AlberDICE's released buffers are not at hand")
WORLD = {"name": "bridge", "start_adjacent": True, "episode_limit": 50, "zero_last_reward": True}
XOR = {"name": "matrix", "payoff": [[0, 1], [1, -2]]}


def joint_states(state):
    """[n, 8] -> [n] index."""
    rows = state[:, [0, 1, 4, 5]].long().tolist()
    return torch.tensor([table().index[(r0, c0), (r1, c1)] for r0, c0, r1, c1 in rows])


@pytest.fixture(scope="module")
def mix():
    """Bridge episodes of both kinds of end."""
    return generate("bridge_mix", WORLD, 0, {"episodes": 12})[0]


@pytest.fixture
def folder(mix, tmp_path):
    written.alberdice(mix, tmp_path / "buffer", "bridge")
    return tmp_path / "buffer"


def change(folder, name, edit):
    """Load a file, edit the array (in place or by a returned one), save it."""
    array = np.load(folder / name)
    edited = edit(array)
    np.save(folder / name, array if edited is None else edited)


@released
def test_released_bridge_obeys_our_world():
    transitions = alberdice.load(RELEASE / "bridge_from_start" / "buffer_optimal", "bridge")
    game, action = table(), transitions["action"]
    now, after = joint_states(transitions["state"]), joint_states(transitions["next", "state"])
    assert torch.equal(game.next[now, action[:, 0], action[:, 1]], after)
    expected = game.reward[now, action[:, 0], action[:, 1]]
    assert (expected - transitions["reward"].squeeze(-1)).abs().max() < 1e-6
    assert torch.equal(transitions["terminated"].squeeze(-1), after == game.end)


@released
def test_released_bridge_statistics():
    transitions = alberdice.load(RELEASE / "bridge_from_start" / "buffer_optimal", "bridge")
    found = return_statistics(transitions)
    assert (found["n_transitions"], found["n_episodes"]) == (4000, 500)
    assert (found["n_terminated"], found["n_truncated"]) == (500, 0)
    expected = {"mean": -1.26202, "std": 0.02274, "min": -1.29040, "p5": -1.29040, "p25": -1.29040}
    expected |= {"p50": -1.25906, "p75": -1.23545, "p95": -1.23545, "max": -1.23545}
    assert found["return"] == pytest.approx(expected, abs=6e-6)
    measures = bridge.optimal_measures(transitions)
    assert (measures["distinct_paths"], measures["left_first"]) == (16, 241)
    counts = [torch.bincount(a, minlength=5).tolist() for a in transitions["action"].unbind(-1)]
    assert counts == [[330, 168, 1018, 2170, 314], [318, 970, 159, 359, 2194]]


@released
def test_behavior_cloning_values_of_the_release():
    """Tabular maximum likelihood, unseen joint states uniform: joint -1.262, factored -3.282 (limit 20)."""
    transitions = alberdice.load(RELEASE / "bridge_from_start" / "buffer_optimal", "bridge")
    counts = torch.zeros(184, 5, 5, dtype=torch.float64)
    action, one = transitions["action"], torch.ones(len(transitions), dtype=torch.float64)
    counts.index_put_((joint_states(transitions["state"]), action[:, 0], action[:, 1]), one, accumulate=True)
    counts[counts.sum((1, 2)) == 0] = 1
    joint = counts / counts.sum((1, 2), keepdim=True)
    factored = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True)
    assert Bridge.exact_return(joint) == pytest.approx(-1.262, abs=5e-4)
    assert Bridge.exact_return(factored) == pytest.approx(-3.282, abs=5e-4)
    assert Bridge.exact_return(factored, episode_limit=50) == pytest.approx(-5.546, abs=5e-4)


@released
@pytest.mark.parametrize(
    ("buffer", "counts", "mean", "std"),
    [
        ("02", {(0, 1): 5000}, 50, 0),
        ("02_20", {(0, 1): 2464, (1, 0): 2536}, 50, 0),
        ("00_02_20", {(0, 0): 1671, (0, 1): 1651, (1, 0): 1678}, 33.29, 3.38),
        ("random", {(0, 0): 1271, (0, 1): 1281, (1, 0): 1210, (1, 1): 1238}, 0.15, 9.09),
    ],
)
def test_released_xor(buffer, counts, mean, std):
    transitions = alberdice.load(RELEASE / "mmdp_game_1_from_start" / f"buffer_{buffer}", "matrix")
    joint, found = transitions["action"].unique(dim=0, return_counts=True)
    assert dict(zip(map(tuple, joint.tolist()), found.tolist(), strict=True)) == counts
    statistics = return_statistics(transitions)
    assert statistics["return"]["mean"] == pytest.approx(mean, abs=1e-6)
    assert statistics["return"]["std"] == pytest.approx(std, abs=5e-3)
    assert (statistics["n_terminated"], statistics["n_truncated"]) == (0, 100)
    payoff = torch.tensor(XOR["payoff"], dtype=torch.float32)
    assert torch.equal(transitions["reward"].squeeze(-1), payoff[tuple(transitions["action"].unbind(-1))])


@released
def test_entry_t_of_the_release_is_never_a_transition(tmp_path):
    """Our export of the release equals it everywhere but in the unexecuted actions."""
    source = RELEASE / "bridge_from_start" / "buffer_optimal"
    written.alberdice(alberdice.load(source, "bridge"), tmp_path, "bridge")
    for name in alberdice.layout("bridge", 500):
        ours, theirs = np.load(tmp_path / name), np.load(source / name)
        assert ours.dtype == theirs.dtype
        if name.startswith("actions"):
            ours, theirs = ours[:, :8], theirs[:, :8]
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert (tmp_path / name).stat().st_size == (source / name).stat().st_size


def test_round_trip_bridge(mix, folder):
    again = alberdice.load(folder, "bridge")
    assert (again == mix).all()
    assert mix["truncated"].any()
    assert mix["terminated"].any()
    filled, terminated = np.load(folder / "filled.npy"), np.load(folder / "terminated.npy")
    lengths = mix["episode"].unique(return_counts=True)[1].numpy()
    np.testing.assert_array_equal(filled.sum((1, 2)), lengths + 1)
    np.testing.assert_array_equal(terminated.sum((1, 2)), 1)  # the format marks both kinds of end alike


@pytest.mark.parametrize("horizon", [1, 50])
def test_round_trip_matrix(tmp_path, horizon):
    world = XOR | {"episode_limit": horizon}
    params = {"episodes": 6, "actions": [[0, 1], [1, 0], [1, 1]]}
    transitions, _ = generate("matrix_joint_actions", world, 0, params)
    written.alberdice(transitions, tmp_path, "matrix", horizon)
    again = alberdice.load(tmp_path, "matrix", horizon)
    assert (again == transitions).all()
    assert again["terminated"].any() == (horizon == 1)
    assert again["truncated"].any() == (horizon == 50)


def test_next_is_the_following_entry(mix, folder):
    change(folder, "actions.npy", lambda a: a.__setitem__((slice(None), 8), 4))  # entry T of the planner's episodes
    change(folder, "actions_onehot.npy", lambda a: a.__setitem__((slice(12, None), 8), [0, 0, 0, 0, 1]))
    with pytest.raises(ReproduceError, match="disagrees with actions"):
        alberdice.load(folder, "bridge")  # entry 8 is a transition of the uniform episodes
    written.alberdice(mix, folder, "bridge")
    change(folder, "actions.npy", lambda a: a.__setitem__((slice(12, None), 8), 4))
    change(folder, "actions_onehot.npy", lambda a: a.__setitem__((slice(12, None), 8), [0, 0, 0, 0, 1]))
    assert (alberdice.load(folder, "bridge") == mix).all()


@pytest.mark.parametrize("name", [*alberdice.layout("bridge", 1), "meta.json"])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(ReproduceError, match=rf"{name} is missing.*dematsunaga/alberdice"):
        alberdice.load(folder, "bridge")


@pytest.mark.parametrize("left", [0, 40, 128, 1000])
def test_truncated_file(folder, left):
    path = folder / "reward.npy"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ReproduceError, match=rf"reward.npy .*\({left} bytes\), expected float32 \[24, 51, 1\]"):
        alberdice.load(folder, "bridge")


def test_pickled_objects_are_never_loaded(folder):
    np.save(folder / "reward.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ReproduceError, match=r"reward.npy holds pickled"):
        alberdice.load(folder, "bridge")


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_bare_pickle_is_not_run(folder):
    (folder / "reward.npy").write_bytes(pickle.dumps(Trap(folder / "sprung")))
    with pytest.raises(ReproduceError, match=r"reward.npy holds pickled"):
        alberdice.load(folder, "bridge")
    assert not (folder / "sprung").exists()


def test_an_archive_is_not_an_array(folder):
    np.savez(folder / "x.npz", a=np.zeros(3))
    (folder / "x.npz").rename(folder / "reward.npy")
    with pytest.raises(ReproduceError, match=r"reward.npy is an archive"):
        alberdice.load(folder, "bridge")


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("state.npy", lambda a: a[:, :50], r"state.npy is float32 \[24, 50, 8\], expected float32 \[24, 51, 8\]"),
        ("obs.npy", lambda a: a[:5], r"obs.npy is float32 \[5, 51, 2, 8\]"),
        ("reward.npy", lambda a: a.astype("float64"), r"reward.npy is float64"),
        ("actions.npy", lambda a: a.astype("int32"), r"actions.npy is int32"),
        (
            "reward.npy",
            lambda a: a.__setitem__((3, 7), np.nan),
            "reward.npy is NaN or infinite first in episode 3, entry 7",
        ),
        (
            "obs.npy",
            lambda a: a.__setitem__((4, 0, 1, 2), np.inf),
            "obs.npy is NaN or infinite first in episode 4, entry 0",
        ),
        ("actions.npy", lambda a: a.__setitem__((2, 3, 1), 5), r"first in episode 2 an action is 5, expected 0..4"),
        ("actions.npy", lambda a: a.__setitem__((2, 3, 1), -1), r"first in episode 2 an action is -1"),
        ("actions_onehot.npy", lambda a: np.roll(a, 1, -1), "disagrees with actions.npy"),
        ("terminated.npy", lambda a: a.__setitem__(6, 0), r"first in episode 6 there are 0 ends"),
        ("terminated.npy", lambda a: a.__setitem__((6, 0), 1), r"first in episode 6 there are 2 ends"),
        ("filled.npy", lambda a: a.__setitem__((5, 3), 0), r"filled.npy: first in episode 5"),
        ("filled.npy", lambda a: a.__setitem__(20, 1), r"filled.npy: first in episode 20"),
        ("avail_actions.npy", lambda a: a.__setitem__((5, 3), 0), r"leaves an agent without any action first in row"),
    ],
)
def test_bad_arrays(folder, name, edit, message):
    change(folder, name, edit)
    with pytest.raises(ReproduceError, match=message):
        alberdice.load(folder, "bridge")


def test_an_end_at_the_extra_entry_has_no_final_state(folder):
    def late(a):
        a[0] = 0
        a[0, 50] = 1

    change(folder, "terminated.npy", late)
    with pytest.raises(ReproduceError, match=r"filled.npy: first in episode 0"):
        alberdice.load(folder, "bridge")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"episodes_in_buffer": 0}', '{"episodes_in_buffer": "24"}'])
def test_bad_meta(folder, text):
    (folder / "meta.json").write_text(text)
    with pytest.raises(ReproduceError, match=r"meta.json"):
        alberdice.load(folder, "bridge")


def test_meta_that_disagrees_names_the_shapes(folder):
    (folder / "meta.json").write_text(json.dumps({"episodes_in_buffer": 10**12}))
    with pytest.raises(ReproduceError, match=r"state.npy is float32 \[24, 51, 8\], expected float32 \[1000000000000"):
        alberdice.load(folder, "bridge")


def test_loaded_data_is_in_the_schema(folder):
    make_world("bridge", 1).layout.check(alberdice.load(folder, "bridge"))
