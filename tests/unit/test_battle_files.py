"""Official StarCraft files: round trips, files of every kind of pickle, and what is refused with its reason."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import written
from fights import experience
from safetensors.torch import load_file, save_file
from tensordict import TensorDict

from data.catalog import store
from data.catalog.dataset import layout_of
from data.catalog.schema import WorldEntry
from data.common.errors import ReproduceError
from data.common.paths import ROOT, outputs_dir
from data.official import SOURCES, battles, madt, smac_h5
from data.statistics import trajectory_statistics
from data.worlds import layout_for

MADE_UP = ROOT.parent / "shared" / "data" / "madt_like"
PLAIN = {"name": "smac", "map_name": "3m"}
MODIFIED = PLAIN | {"view": "modified"}
KINDS = ("lists", "lists_legacy", "numpy1_bool", "numpy2_bool", "arrays_numpy1", "arrays_numpy2")


def same(one: TensorDict, other: TensorDict) -> None:
    assert set(one.keys()) == set(other.keys())
    for key in set(one.keys()):
        assert torch.equal(one[key], other[key]), key


# ---- MADT


def test_a_folder_of_pickles_comes_back_and_is_read_once(tmp_path, monkeypatch):
    rows, folder = experience(MODIFIED), tmp_path / "3m" / "good"
    written.madt(rows, folder)
    assert len(list(folder.iterdir())) == 3
    same(SOURCES["madt"].load(folder, MODIFIED), rows)
    stated = trajectory_statistics(rows, layout_for("smac", map_name="3m").spec.win_reward)
    assert (stated["n_terminated"], stated["n_truncated"], stated["win_rate"]) == (2, 1, 1 / 3)
    monkeypatch.setattr(madt, "read_episode", lambda path: 1 / 0)
    same(madt.load(folder, MODIFIED), rows)
    (folder / "00003").write_bytes((folder / "00000").read_bytes())  # another folder now
    with pytest.raises(ZeroDivisionError):
        madt.load(folder, MODIFIED)


def test_what_is_kept_of_pickles_is_theirs_and_sound(tmp_path, monkeypatch):
    rows, folder = experience(MODIFIED), tmp_path / "good"
    written.madt(rows, folder)
    madt.load(folder, MODIFIED)
    (kept,) = (outputs_dir() / "cache" / "madt").iterdir()
    columns = load_file(kept)
    columns["obs"][3] = float("nan")
    save_file(columns, kept)
    same(madt.load(folder, MODIFIED), rows)  # read again
    path = folder / "00001"
    before = path.stat()
    other = tmp_path / "other"
    written.madt(rows.clone().set("reward", rows["reward"] * 2), other)
    path.write_bytes((other / "00001").read_bytes())  # another file of the same size and time
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert not torch.equal(madt.load(folder, MODIFIED)["reward"], rows["reward"])


def test_an_illegal_action_is_made_legal_where_it_was_taken_alone(monkeypatch):
    monkeypatch.setattr(battles, "MOST_ILLEGAL", 0.1)
    rows = experience(MODIFIED)
    columns = dict(rows.clone().items())
    at, agent = 10, 1
    columns["legal_actions"][at, agent, columns["action"][at, agent]] = False
    expected = rows["legal_actions"].clone()
    columns["legal_actions"][columns["final"].squeeze(-1), :, 0] = False
    expected[columns["final"].squeeze(-1), :, 0] = False
    assert torch.equal(battles.rows_of("it", columns, MODIFIED)["legal_actions"], expected)


def test_a_state_that_a_limit_ends_in_allows_something():
    rows = experience(MODIFIED)
    limit, won = (
        rows["truncated"].squeeze(-1).nonzero().item() + 1,
        rows["terminated"].squeeze(-1).nonzero()[0].item() + 1,
    )
    rows["legal_actions"][won] = False
    layout_for("smac", map_name="3m", view="modified").check(rows)
    rows["legal_actions"][limit] = False
    with pytest.raises(ReproduceError, match=rf"legal_actions leaves an agent without any action first in row {limit}"):
        layout_for("smac", map_name="3m", view="modified").check(rows)


@pytest.mark.skipif(not MADE_UP.is_dir(), reason="the made-up episodes of shared/data/madt_like are not there")
@pytest.mark.parametrize(
    "name", ["lists", "lists_legacy", "numpy1_bool", "numpy2_bool", "arrays_numpy1", "arrays_numpy2"]
)
def test_pickles_of_every_kind_are_read_without_running_anything(name):
    path = MADE_UP / name
    found = madt.arrays_of(path, madt.read_episode(path))
    assert found is not None
    shapes = {part: array.shape for part, array in found.items()}
    assert shapes == {
        "state": (3, 2, 4), "obs": (3, 2, 3), "action": (3, 2, 1), "reward": (3, 2, 1), "done": (3, 2),
        "legal_actions": (3, 2, 2),
    }  # fmt: skip
    assert (found["action"] == 1).all()
    assert (found["reward"] == 0.5).all()
    assert found["done"].tolist() == [[0, 0], [0, 0], [1, 1]]


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_classes_are_refused_and_nothing_is_run(tmp_path, zipped):
    run, path = tmp_path / "run", tmp_path / "episode"
    if zipped:
        torch.save([[Evil(run)]], path)
    else:
        path.write_bytes(pickle.dumps([[Evil(run)]]))
    with pytest.raises(ReproduceError, match="cannot be read as an episode of numbers"):
        madt.read_episode(path)
    assert not run.exists()


def test_what_is_wrong_with_a_folder_of_pickles_is_named(tmp_path):
    def folder_of(change, name):
        folder = tmp_path / name
        written.madt(experience(MODIFIED), folder)
        episode = madt.read_episode(folder / "00001")
        change(episode)
        torch.save(episode, folder / "00001")
        return folder

    def refused(said, change, world=MODIFIED):
        with pytest.raises(ReproduceError, match=said):
            madt.load(folder_of(change, str(len(list(tmp_path.iterdir())))), world)

    refused(r"00000: obs of a step is \[64\]|another map", lambda e: None, MODIFIED | {"map_name": "5m_vs_6m"})
    refused(r"in 1 of 3 files the agents have unequal lengths", lambda e: e[0].pop())
    refused(r"the agents' rewards differ", lambda e: e[1][3].__setitem__(3, [7.0]))
    refused(
        r"actions are not among the available ones, first",
        lambda e: [a[t].__setitem__(2, [1]) for a in e for t in range(9)],
    )
    refused(r"obs is NaN or infinite", lambda e: e[0][2][1].__setitem__(0, float("nan")))
    refused(r"expected a list over agents", lambda e: e[0].__setitem__(2, "a"))
    refused(r"do not have one entry per step", lambda e: [s.__setitem__(3, [0.0, 0.0]) for a in e for s in a])
    refused(r"do not have one entry per step", lambda e: [s.__setitem__(2, [0, 0]) for a in e for s in a])
    refused(r"legal_actions holds 0.5, expected 0 or 1", lambda e: e[0][2][5].__setitem__(0, 0.5))
    refused(r"str where a number belongs", lambda e: e[0][2].__setitem__(4, "1"))
    refused(r"done holds 0.5, expected 0 or 1", lambda e: e[0][2].__setitem__(4, 0.5))
    refused(r"an action is 1.9, expected a whole number", lambda e: e[0][2].__setitem__(2, [1.9]))
    refused(
        r"1000000000 numbers where the first step has 81",
        lambda e: e[0][2].__setitem__(0, torch.zeros(1).expand(10**9)),
    )

    def within_itself(episode):
        loop = []
        loop += [loop] * 81
        episode[0][2][0] = loop

    def one_step_many_times(episode):
        step = [[0.0] * 10**5, *episode[0][0][1:]]
        episode[:] = [[step] * 60 for _ in episode]

    refused(r"3 agents, 60 steps and \d+ numbers of each: more than any map has", one_step_many_times)

    refused(r"list where a number belongs", within_itself)
    refused(r"00001: an episode of 61 steps, the map's limit is 60", lambda e: [a.append(a[-1]) for a in e])

    def pad(episode):
        for agent in episode:
            state, obs, _, _, done, legal = agent[-1]
            agent[-1] = [[0.0] * len(state), [0.0] * len(obs), [0], [0.0], done, [0] * len(legal)]

    refused(r"step 64 allows an agent nothing: padding", pad)
    cut = tmp_path / "cut"
    written.madt(experience(MODIFIED), cut)
    (cut / "00002").write_bytes((cut / "00002").read_bytes()[:500])
    with pytest.raises(ReproduceError, match=r"00002 cannot be read as an episode of numbers"):
        madt.load(cut, MODIFIED)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ReproduceError, match="holds no files"):
        madt.load(empty, MODIFIED)


# ---- HDF5


@pytest.mark.parametrize(("source", "onehot"), [("cfcql_h5", False), ("icq_h5", True)])
def test_an_h5_file_comes_back(tmp_path, source, onehot):
    rows = experience(PLAIN)
    written.smac_h5(rows, tmp_path / "3m.h5", PLAIN, onehot)
    found = SOURCES[source].load(tmp_path / "3m.h5", PLAIN)
    same(found, rows)
    layout_of(WorldEntry(name="smac", params={"map_name": "3m"})).check(found)


def test_the_catalog_finds_and_describes_official_files(tmp_path):
    rows = experience(PLAIN | {"map_name": "3s_vs_5z"})
    written.smac_h5(rows, tmp_path / "3s_vs_5z_medium_replay.h5", PLAIN | {"map_name": "3s_vs_5z"})
    found = store.get("smac/3s_vs_5z-cfcql-medium-replay", "official", tmp_path)
    same(found.transitions, rows)
    assert found.manifest["statistics"]["win_rate"] == 1 / 3
    with pytest.raises(ReproduceError, match=r"the authors' alone: use data\.kind=official"):
        store.get("smac/3s_vs_5z-cfcql-medium-replay")


def test_what_is_wrong_with_an_h5_file_is_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "3m_good.h5"

    def refused(said, change, world=PLAIN, onehot=True):
        path.unlink(missing_ok=True)
        written.smac_h5(experience(PLAIN), path, PLAIN, onehot)
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(ReproduceError, match=said):
            smac_h5.load(path, world)

    def put(key, where, value):
        def change(file):
            file[key][where] = value

        return change

    refused(r"state has shape .* Is it another map's file", lambda f: None, PLAIN | {"map_name": "5m_vs_6m"})
    refused(r"dataset 'reward' is missing", lambda f: f.__delitem__("reward"))
    refused(r"episode 2: the episode has no end", put("terminated", (2, 6), 0))
    refused(r"episode 0: terminated does not stand in the last step", put("terminated", (0, 1), 1))
    refused(r"episode 0: filled is not 1", put("filled", (0, 2), 0))

    def fill(file):
        file["filled"][0, 0:8] = 1
        file["terminated"][0, 0:8, 0] = [0, 0, 0, 0, 0, 0, 1, 0]

    refused(r"step 5 allows an agent nothing: padding", fill)
    refused(r"obs is NaN or infinite first in episode 1", put("obs", (1, 3, 0, 0), np.nan))
    refused(r"episode 1: avail_actions holds other numbers than 0 and 1", put("avail_actions", (1, 2, 0, 0), 7))
    refused(r"episode 2: filled holds other numbers", put("filled", (2, 1), -1))

    def recast(key, make):
        def change(file):
            values = make(file[key][:])
            del file[key]
            file[key] = values

        return change

    refused(r"episode 0: actions are not whole numbers", recast("actions", lambda a: a + 0.5))
    refused(r"obs has dtype float16", recast("obs", lambda x: x.astype("f2")))
    refused(r"reward has dtype float128", recast("reward", lambda x: x.astype("g")))
    refused(r"actions_onehot disagrees", put("actions", (1, 3, 0), 4))
    refused(r"actions are not among the available ones", put("actions", (1, slice(0, 9)), 1), onehot=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ReproduceError, match="truncated or no HDF5 file"):
        smac_h5.load(path, PLAIN)
    with pytest.raises(ReproduceError, match=r"is missing\. Published in the Google Drive"):
        smac_h5.load(tmp_path / "nowhere.h5", PLAIN)
