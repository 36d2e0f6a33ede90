"""OMAR's .npy folders: round trips, each kind of bad file, dataset seeds, and rows that run on them."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data.catalog import registry, store
from data.common.errors import ReproduceError
from data.generate import mpe
from data.official import omar_npy
from data.worlds import make_world
from reproduce import records
from reproduce.cli import main

SPREAD = {"name": "mpe", "scenario": "simple_spread", "episode_limit": 25}
CHEETAH = {"name": "mamujoco", "scenario": "HalfCheetah-v2", "agent_conf": "2x3", "episode_limit": 10}
OBS = {"simple_spread": 18, "simple_tag": 14, "simple_world": 22}  # of the last agent
ID, TAG_ID = "omar/simple_spread-random", "omar/simple_tag-random"
TINY = ["algo.n_updates=3", "algo.n_critic_updates=2", "algo.n_score_updates=2", "algo.score_hidden=8"]
TINY += ["algo.batch_size=8", "protocol.eval_episodes=2", "protocol.n_seeds=2"]


def prey_weights(scenario: str, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = {"fc1": (64, OBS[scenario]), "fc2": (64, 64), "fc3": (2, 64)}
    weights = {f"{k}.weight": torch.randn(shape, generator=g) * 0.3 for k, shape in shapes.items()}
    return weights | {f"{k}.bias": torch.randn(shape[0], generator=g) for k, shape in shapes.items()}


def world_of(scenario: str, tmp_path) -> dict:
    world = SPREAD | {"scenario": scenario}
    if scenario != "simple_spread":
        save_file(prey_weights(scenario), tmp_path / "prey.safetensors")
        world["prey"] = str(tmp_path / "prey.safetensors")
    return world


def agent_params(world: dict, episodes: int = 4, seed: int = 0):
    return mpe.random(world, seed, episodes, 26 * episodes)


@pytest.fixture
def folder(tmp_path):
    """Four episodes of simple_spread."""
    path = tmp_path / "datasets" / "simple_spread" / "random" / "seed_2_data"
    omar_npy.write(agent_params(SPREAD), path, SPREAD)
    return path


def change(folder, name: str, edit) -> None:
    """Rewrite a file with what `edit` returns, or leaves, of its array."""
    array = np.load(folder / name).copy()
    edited = edit(array)
    np.save(folder / name, array if edited is None else edited)


# ---- round trips


@pytest.mark.parametrize("scenario", OBS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_come_back(scenario, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(omar_npy, "SLAB", 60)  # several slabs, the last one smaller
    world = world_of(scenario, tmp_path)
    rows = agent_params(world, episodes=5)
    omar_npy.write(rows, tmp_path / "data", world)
    for path in (tmp_path / "data").iterdir():
        np.save(path, np.load(path).astype(dtype))
    back = omar_npy.load(tmp_path / "data", world)
    assert set(back.keys()) == set(rows.keys())
    for key in ("final", "truncated", "terminated", "action", "rewards"):
        assert torch.equal(back[key], rows[key])
    for key in ("features", "reward"):
        torch.testing.assert_close(back[key], rows[key], rtol=0, atol=2e-6)


def test_the_files_have_omars_names_and_shapes_and_the_prey_acts_by_its_policy(tmp_path):
    world = world_of("simple_tag", tmp_path)
    omar_npy.write(agent_params(world), tmp_path / "data", world)
    names = {f"{kind}_{j}.npy" for kind in ("obs", "acs", "rews", "next_obs", "dones") for j in range(4)}
    arrays = {path.name: np.load(path) for path in (tmp_path / "data").iterdir()}
    assert set(arrays) == names
    assert [arrays[f"obs_{j}.npy"].shape for j in range(4)] == [(100, 16)] * 3 + [(100, 14)]
    acted = make_world(n_worlds=1, **world).prey(torch.from_numpy(arrays["obs_3.npy"]).double())
    np.testing.assert_allclose(arrays["acs_3.npy"], acted.numpy(), atol=1e-5)
    for name in ("rews_3.npy", "dones_0.npy"):
        assert arrays[name].shape == (100,)
        assert not arrays[name].any()


def test_episodes_of_another_length_cannot_be_written(tmp_path):
    with pytest.raises(ReproduceError, match="episode 0 has 24 steps; this layout tells episodes by their 25 steps"):
        omar_npy.write(agent_params(SPREAD | {"episode_limit": 24}), tmp_path, SPREAD)


def test_a_view_at_the_very_edge_of_a_forest_is_read(tmp_path):
    world = world_of("simple_world", tmp_path)
    rows = agent_params(world, episodes=1)
    made = make_world(n_worlds=1, **world)
    at = 2 * 2 * made.physics.n_bodies + 6  # the first forest, in every row of the episode
    rows["features"][:, at : at + 2] = rows["features"][0, :2] + torch.tensor([0.375 - 1e-8, 0.0])
    omar_npy.write(rows, tmp_path / "data", world)
    change(tmp_path / "data", "obs_0.npy", lambda a: a[0].__setitem__(-2, -a[0, -2]))
    omar_npy.load(tmp_path / "data", world)
    change(tmp_path / "data", "obs_1.npy", lambda a: a[0].__setitem__(-2, -a[0, -2]))
    with pytest.raises(ReproduceError, match=r"obs_1\.npy is no view of one state .* row 0"):
        omar_npy.load(tmp_path / "data", world)


# ---- bad files


def test_missing_files_and_folders(folder):
    (folder / "next_obs_1.npy").unlink()
    message = (
        r"next_obs_1\.npy is missing, expected float32 or float64 \[M, 18\] with M a multiple of 25.*ling-pan/OMAR"
    )
    with pytest.raises(ReproduceError, match=message):
        omar_npy.load(folder, SPREAD)
    with pytest.raises(ReproduceError, match=r"seed_7_data is missing; .*seed_2_data, published: 0, 1, 2, 3, 4"):
        omar_npy.load(folder.with_name("seed_7_data"), SPREAD)


def test_data_without_the_preys_file(tmp_path):
    world = world_of("simple_tag", tmp_path)
    omar_npy.write(agent_params(world), tmp_path / "data", world)
    (tmp_path / "data" / "obs_3.npy").unlink()
    with pytest.raises(ReproduceError, match=r"obs_3\.npy is missing, expected float32 or float64 \[M, 14\]"):
        omar_npy.load(tmp_path / "data", world)


def set_at(index, value):
    return lambda array: array.__setitem__(index, value)


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        ("obs_2.npy", lambda a: a[:, :16], r"obs_2\.npy is \[100, 16\], expected .*another scenario's file"),
        ("acs_0.npy", lambda a: a[:, :1], r"acs_0\.npy is \[100, 1\]"),
        ("rews_0.npy", lambda a: a[:, None], r"rews_0\.npy is \[100, 1\]"),
        ("obs_1.npy", lambda a: a[:75], r"obs_1\.npy has 75 rows, .*obs_0\.npy has 100"),
        ("acs_0.npy", lambda a: a.astype(int), "acs_0.npy has dtype int64"),
        ("obs_1.npy", set_at((30, 5), np.nan), r"obs_1\.npy is NaN or infinite first in row 30"),
        ("rews_2.npy", set_at(99, np.inf), r"rews_2\.npy is NaN or infinite first in row 99"),
        ("acs_1.npy", set_at((51, 1), 1.01), r"acs_1\.npy leaves \[-1, 1\] first in row 51"),
        ("dones_0.npy", set_at(26, 1), r"dones_0\.npy marks an end before the time limit of 25 steps first in row 26"),
        ("next_obs_1.npy", set_at((7, 3), 9.0), r"obs_1\.npy is not the next state of the row before .* row 8"),
        ("next_obs_1.npy", set_at((49, 6), 9.0), r"next_obs_1\.npy is no view of one state of simple_spread .* row 49"),
        ("obs_2.npy", set_at((25, 9), 9.0), r"obs_2\.npy is no view of one state .* row 25"),
        ("obs_0.npy", set_at((50, 17), 1.0), r"obs_0\.npy is no view of one state .* row 50"),
    ],
)
def test_bad_values(folder, name, edit, words):
    change(folder, name, edit)
    with pytest.raises(ReproduceError, match=words):
        omar_npy.load(folder, SPREAD)


def test_ends_at_the_time_limit_may_be_marked(folder):
    rows = omar_npy.load(folder, SPREAD)
    change(folder, "dones_0.npy", set_at(slice(24, None, 25), 1))
    assert (omar_npy.load(folder, SPREAD) == rows).all()


def test_no_whole_episodes(folder):
    for path in folder.iterdir():
        change(folder, path.name, lambda a: a[:99])
    with pytest.raises(ReproduceError, match="99 rows, expected a multiple of 25"):
        omar_npy.load(folder, SPREAD)


def test_data_of_another_scenario(folder, tmp_path):
    with pytest.raises(ReproduceError, match=r"obs_0\.npy is \[100, 18\], .* for simple_tag"):
        omar_npy.load(folder, world_of("simple_tag", tmp_path))


def test_unreadable_files_are_not_unpickled(folder):
    whole = (folder / "obs_0.npy").read_bytes()
    (folder / "obs_0.npy").write_bytes(whole[:-8])
    with pytest.raises(ReproduceError, match="truncated or damaged"):
        omar_npy.load(folder, SPREAD)
    (folder / "obs_0.npy").write_bytes(pickle.dumps({"obs": 1}))
    with pytest.raises(ReproduceError, match="holds pickled Python objects"):
        omar_npy.load(folder, SPREAD)


# ---- HalfCheetah


@pytest.fixture
def cheetah(tmp_path):
    pytest.importorskip("mujoco")
    g = np.random.default_rng(0)
    state = g.normal(size=(3, 11, 17)).astype(np.float32)  # three episodes of ten steps
    for j in range(2):
        for kind, values in (("states", state), ("obs", state[..., 3 * j : 3 * j + 6])):
            np.save(tmp_path / f"{kind}_{j}.npy", values[:, :-1].reshape(30, -1))
            np.save(tmp_path / f"next_{kind}_{j}.npy", values[:, 1:].reshape(30, -1))
        np.save(tmp_path / f"acs_{j}.npy", g.uniform(-1, 1, (30, 3)).astype(np.float32))
        np.save(tmp_path / f"rews_{j}.npy", np.arange(30, dtype=np.float32))
        np.save(tmp_path / f"dones_{j}.npy", np.zeros(30))
    return tmp_path, torch.from_numpy(state)


def test_halfcheetahs_features_are_its_states(cheetah):
    folder, state = cheetah
    rows = omar_npy.load(folder, CHEETAH)
    assert torch.equal(rows["features"], state.flatten(0, 1))
    assert rows["action"].shape == (33, 2, 3)
    assert rows["reward"].flatten()[:12].tolist() == [*range(10), 0, 10]
    assert rows["truncated"].sum() == rows["final"].sum() == 3
    change(folder, "states_0.npy", set_at((12, 3), 9.0))
    with pytest.raises(ReproduceError, match=r"states_0\.npy is not the next state of the row before .* row 12"):
        omar_npy.load(folder, CHEETAH)
    with pytest.raises(ReproduceError, match="30 rows, expected a multiple of 1000"):
        omar_npy.load(folder, CHEETAH | {"episode_limit": 1000})


# ---- from the store to a verdict


def test_an_official_dataset_is_found_and_described(folder, tmp_path, capsys, monkeypatch):
    found = store.get(ID, "official", tmp_path)
    assert (found.transitions == omar_npy.load(folder, SPREAD)).all()
    assert found.manifest["source_format"] == "omar_npy"
    assert set(found.manifest["files"]) == set(omar_npy.layout(SPREAD))
    assert found.dataset_world_params == {}
    assert main(["data", "show", ID, "--root", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "datasets/simple_spread/random/seed_2_data"
    monkeypatch.setattr("data.catalog.store.build", lambda *_, **__: pytest.fail("it was built"))
    assert main(["data", "build", ID, "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"{ID}  ")


def test_missing_official_data_say_which_seeds_there_are(folder, tmp_path, capsys):
    folder.rename(folder.with_name("seed_3_data"))
    with pytest.raises(ReproduceError, match=r"seed_2_data/obs_0\.npy is missing") as error:
        store.get(ID, "official", tmp_path)
    for said in ("random holds seed_3_data", "Google Drive", "[M, 18]"):
        assert said in str(error.value)
    assert store.get(ID, "official", tmp_path, seed=3).manifest["path"].endswith("seed_3_data")
    assert main(["data", "show", ID, "--root", str(tmp_path), "--seed", "3"]) == 0
    capsys.readouterr()
    with pytest.raises(ReproduceError, match=r"data\.seed=7: OMAR's dataset seeds are 0, 1, 2, 3, 4; .*seed_2_data"):
        store.get(ID, "official", tmp_path, seed=7)
    with pytest.raises(ReproduceError, match=r"data\.seed=1 picks among official datasets"):
        store.get(ID, seed=1)
    with pytest.raises(ReproduceError, match="one official dataset"):
        store.get("bridge/mix", "official", tmp_path, seed=1)


def test_a_row_runs_on_official_data_and_another_seed_is_not_comparable(folder, tmp_path, capsys):
    shutil.copytree(folder, folder.with_name("seed_0_data"))
    row = ["omsd/mpe/cn_random", *TINY, "data.kind=official", f"data.root={tmp_path}", "--json"]
    reasons = {}
    for seed in ("null", 2, 0):
        assert main([*row, f"data.seed={seed}"]) == 3  # too few updates
        printed = json.loads(capsys.readouterr().out)
        reasons[seed] = printed["verdict"]["reasons"]
        assert printed["data"]["kind"] == "official"
        assert printed["data"]["path"] == f"datasets/simple_spread/random/seed_{0 if seed == 0 else 2}_data"
    assert reasons["null"] == reasons[2]
    (more,) = set(reasons[0]) - set(reasons[2])
    place = "datasets/simple_spread/random/seed_{}_data"
    assert more == f"the data are {place.format(0)}, the row's are {place.format(2)}"


@pytest.fixture
def tag(tmp_path, monkeypatch):
    """A registry with official simple_tag data below tmp_path, a prey of our own, and an official one."""
    entries = registry.entries()
    params = {"scenario": "simple_tag", "episode_limit": 25}
    path = "datasets/simple_tag/random/seed_0_data"
    entries[TAG_ID] = entries[ID] | {
        "world": {"name": "mpe", "params": params},
        "official": entries[ID]["official"] | {"path": path},
    }
    monkeypatch.setattr(registry, "_parsed", lambda: entries)
    (tmp_path / "ours").mkdir()
    save_file(prey_weights("simple_tag", seed=1), tmp_path / "ours" / "simple_tag_prey.safetensors")
    monkeypatch.setattr("data.worlds.mpe.PREY", tmp_path / "ours")
    world = world_of("simple_tag", tmp_path)
    omar_npy.write(agent_params(world), tmp_path / path, world)
    official = tmp_path / "datasets" / "simple_tag" / "pretrained_adv_model.pt"
    torch.save({"agent_params": [{}, {}, {}, {"policy": prey_weights("simple_tag")}]}, official)
    return official


def test_official_hunting_data_are_played_against_the_official_prey(tag, tmp_path, capsys, monkeypatch):
    found = store.get(TAG_ID, "official", tmp_path)
    assert found.dataset_world_params == {"prey": str(tag)}
    assert "../../pretrained_adv_model.pt" in found.manifest["files"]
    made, real = [], make_world
    monkeypatch.setattr(
        "reproduce.experiment.build.make_world",
        lambda name, n, *a, **k: made.append(k.get("prey")) or real(name, n, *a, **k),
    )
    row = ["omsd/mpe/cn_random", *TINY, f"data.id={TAG_ID}", "task.params.scenario=simple_tag"]
    assert main([*row, "data.kind=official", f"data.root={tmp_path}"]) == 3
    record = records.read("omsd/mpe/cn_random")[-1]
    assert made == [str(tag)]
    prey = record["environment"]["prey"]
    assert prey["kind"] == "official"
    assert prey["sha256"] == found.manifest["files"]["../../pretrained_adv_model.pt"]
    assert prey["fingerprint"] == found.manifest["fingerprint"] != record["environment"]["fingerprint"]


def test_official_hunting_data_without_the_official_prey(tag, tmp_path, capsys):
    tag.unlink()
    row = ["omsd/mpe/cn_random", *TINY, f"data.id={TAG_ID}", "task.params.scenario=simple_tag"]
    assert main([*row, "data.kind=official", f"data.root={tmp_path}"]) == 4
    said = capsys.readouterr().err
    assert f"{tag} is missing (the official prey, without which simple_tag cannot be played" in said
    assert "ling-pan/OMAR" in said
