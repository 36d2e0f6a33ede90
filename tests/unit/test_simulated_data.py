"""Simulated datasets: committed behavior policies, small builds, official files found and refused."""

import json
import multiprocessing
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from data.behavior.policies import actor_network, layers
from data.behavior.train import LEARNERS, recipe_of
from data.catalog import registry, store
from data.common.errors import ReproduceError
from data.common.paths import CONFIGS, ROOT
from data.generate import mixture, processes
from data.generate.scripts import check_script
from data.official import omiga_hdf5, omiga_vault
from data.statistics import episode_returns, trajectory_episodes, trajectory_statistics
from data.worlds import make_world
from data.worlds.mamujoco import MultiAgentMujoco
from reproduce.cli import main

TASKS = sorted(str(p.relative_to(mixture.WEIGHTS).with_suffix("")) for p in mixture.WEIGHTS.rglob("*.safetensors"))
RECIPES = sorted(str(p.relative_to(CONFIGS / "behavior").with_suffix("")) for p in CONFIGS.rglob("behavior/*/*.yaml"))
HOPPER = "omiga/hopper_3x1-medium"
REAL = registry.entries()
SIMULATED = [name for name, entry in REAL.items() if entry["world"]["name"] == "mamujoco"]


@pytest.fixture(autouse=True)
def entries(monkeypatch):
    """Small datasets: one episode of each policy, at most 60 steps long."""
    made = registry.entries()
    for name in SIMULATED:
        made[name]["acceptance"] = {}
        made[name]["world"]["params"]["episode_limit"] = 60
        for part in made[name]["generator"]["params"]["parts"]:
            if isinstance(part, dict):
                part["episodes"] = 1
                part.pop("returns", None)
    monkeypatch.setattr(registry, "_parsed", lambda: made)
    return made


@pytest.mark.parametrize("name", TASKS)
def test_committed_policies_fit_their_worlds_and_their_recipes(name):
    _, recipe = recipe_of(name)
    if not name.endswith("_prey"):
        world = make_world(n_worlds=1, **recipe.world)
        lead = (3,) if name.startswith("omar/") else ()  # weights of each agent's own
        for weights in mixture.snapshots(name).values():
            assert [tuple(w.shape) for w in weights[::2]] == [
                (*lead, recipe.cells, world.obs_size), (*lead, recipe.cells, recipe.cells),
                (*lead, world.action_size, recipe.cells),
            ]  # fmt: skip
    story = json.loads((mixture.WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    assert story["recipe"] == vars(recipe)
    assert story["curve"]


def test_the_weights_are_small_together():
    assert sum(path.stat().st_size for path in mixture.WEIGHTS.rglob("*.safetensors")) < 5_000_000


def test_every_policy_that_a_dataset_names_is_committed():
    for name in (name for name, entry in REAL.items() if "parts" in entry["generator"]["params"]):
        params = REAL[name]["generator"]["params"]
        for part in params["parts"]:
            if isinstance(part, str):
                assert part in REAL
            elif "script" in part:
                check_script(part["script"])
            else:
                assert part["snapshot"] in mixture.snapshots(part.get("weights", params.get("weights")))


def test_a_snapshot_acts_as_the_network_it_was_taken_from():
    torch.manual_seed(0)
    network = actor_network(14, 2, 3, 16)
    obs = torch.randn(5, 3, 14)
    saved = layers(network)
    weights = [saved[f"{kind}{k}"] for k in range(3) for kind in ("weight", "bias")]
    torch.testing.assert_close(mixture.act(weights, obs), network(obs))
    own = actor_network(14, 2, 3, 16, share=False)
    saved = layers(own)
    weights = [saved[f"{kind}{k}"] for k in range(3) for kind in ("weight", "bias")]
    torch.testing.assert_close(mixture.act(weights, obs), own(obs))


WORLDS_OF: dict[str, dict] = {"matd3": {"scenario": "simple_tag"}, "mappo": {"name": "bridge", "params": {}}}


@pytest.mark.parametrize("learner", list(LEARNERS))
def test_learners_train_and_repeat(learner):
    module = LEARNERS[learner]
    common = {
        **WORLDS_OF.get(learner, {"scenario": "Hopper-v2", "agent_conf": "3x1"}),
        "seed": 3,
        "n_worlds": 2,
        "cells": 8,
        "lr": 1e-3,
        "gamma": 0.9,
    }
    own = {
        "td3": {"n_steps": 60, "random_steps": 20, "updates_per_step": 0.5, "batch_size": 8, "critic_cells": 8}
        | {"tau": 0.1, "noise": 0.1, "snapshot_every": 20},
        "matd3": {"n_steps": 120, "random_steps": 20, "updates_per_step": 0.2, "batch_size": 8, "critic_cells": 8}
        | {"tau": 0.1, "noise": 0.1, "snapshot_every": 40, "prey": "learning", "reward_scale": 0.1},
        "ppo": {"n_iterations": 2, "horizon": 16, "n_epochs": 1, "minibatch_size": 8, "gae_lambda": 0.9, "clip": 0.2}
        | {"entropy": 0.0, "initial_scale": 0.5, "reward_scale": 1.0, "snapshot_every": 1},
        "mappo": {"n_iterations": 2, "horizon": 16, "n_epochs": 1, "minibatch_size": 8, "gae_lambda": 0.9, "clip": 0.2}
        | {"entropy": 0.01, "reward_scale": 1.0, "snapshot_every": 1},
    }[learner]
    points = []
    first = module.train(module.Recipe(**common, **own), points.append)
    again = module.train(module.Recipe(**common, **own), lambda point: None)
    assert list(first) == list(again) == [point["steps"] for point in points]
    assert all(torch.equal(first[steps][key], again[steps][key]) for steps in first for key in first[steps])
    early, late = first[points[0]["steps"]], first[points[-1]["steps"]]
    assert not torch.equal(early["weight0"], late["weight0"])


def test_a_build_repeats_bit_for_bit(entries):
    sums = [store.build(HOPPER, force=True)["sha256"] for _ in range(2)]
    assert sums[0] == sums[1]
    rows = store.get(HOPPER).transitions
    assert trajectory_statistics(rows)["n_episodes"] == len(entries[HOPPER]["generator"]["params"]["parts"])


def test_medium_expert_is_the_concatenation_and_builds_its_parts():
    task = HOPPER.removesuffix("-medium")
    manifest = store.build(f"{task}-medium-expert")
    parts = [store.get(f"{task}-{quality}").transitions for quality in ("medium", "expert")]
    whole = store.get(f"{task}-medium-expert").transitions
    assert all(torch.equal(whole[key], torch.cat(parts)[key]) for key in whole.keys())  # noqa: SIM118
    assert manifest["statistics"]["n_rows"] == len(whole)
    assert manifest["published"]["n_rows"] == 1919782


@pytest.mark.parametrize("name", SIMULATED)
def test_disk_space_is_checked_before_building(name, monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1_000_000}))
    with pytest.raises(ReproduceError, match=r"needs up to [\d.]+ MB, 1\.0 MB are free"):
        store.build(name)
    assert not store.folder_of(name).exists()


def test_a_dataset_of_a_million_transitions_is_small():
    for name in SIMULATED:
        if name.startswith("omiga/halfcheetah") and "medium-expert" not in name:
            params = REAL[name]["generator"]["params"]
            assert params["rows"] == 1_001_000
            assert store.size_on_disk(name) <= 150e6


@pytest.mark.parametrize("source", ["omiga_hdf5", "omiga_vault"])
def test_official_files_are_found_where_they_lie(source, tmp_path, capsys):
    if source == "omiga_vault":
        pytest.importorskip("tensorstore")
    rows, official = store.get(HOPPER).transitions, REAL[HOPPER]["official"]
    path = official["path"] if source == "omiga_hdf5" else official["also"][0]["path"]
    writer = {"omiga_hdf5": omiga_hdf5, "omiga_vault": omiga_vault}[source]
    writer.write(rows, tmp_path / path, REAL[HOPPER]["world"]["params"])
    found = store.get(HOPPER, "official", tmp_path)
    assert torch.equal(found.transitions["action"], rows["action"])
    assert found.manifest["source_format"] == source
    assert all(len(digest) == 64 for digest in found.manifest["files"].values())
    assert main(["data", "show", HOPPER, "--root", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "official"


def test_missing_official_files_name_file_and_sources(tmp_path):
    with pytest.raises(ReproduceError) as error:
        store.get(HOPPER, "official", tmp_path)
    for said in ("Hopper-v2-3x1-medium.hdf5 is missing", "ZhengYinan-AIR/OMIGA", "Hugging Face", "3hopper.vlt/Medium"):
        assert said in str(error.value)
    with pytest.raises(ReproduceError, match=r"needs data\.root=DIR"):
        store.get(HOPPER, "official")


def test_a_dataset_of_another_scenario_is_refused(tmp_path):
    rows = store.get(HOPPER).transitions
    path = tmp_path / REAL["omiga/ant_2x4-medium"]["official"]["path"]
    omiga_hdf5.write(rows, path, REAL[HOPPER]["world"]["params"])
    with pytest.raises(ReproduceError, match="another scenario"):
        store.get("omiga/ant_2x4-medium", "official", tmp_path)


def test_a_range_of_returns_keeps_whole_episodes_within_it(entries, monkeypatch):
    params = entries[HOPPER]["generator"]["params"]
    world = {"name": "mamujoco", **entries[HOPPER]["world"]["params"]}
    part = params["parts"][0] | {"episodes": 5}
    free = returns_of(mixture.mixture(world, 0, [part | {"episodes": 50}], 1, params["weights"]))
    low, high = free.quantile(0.3).item(), free.quantile(0.7).item()
    rows = mixture.mixture(world, 0, [part | {"returns": [low, high]}], 1, params["weights"])
    kept = returns_of(rows)
    assert len(kept) == 5
    assert low <= kept.min() <= kept.max() <= high
    monkeypatch.setattr(MultiAgentMujoco, "wave", 2)
    with pytest.raises(ReproduceError, match="hardly ever returns"):
        mixture.mixture(world, 0, [part | {"returns": [1e6, 2e6]}], 1, params["weights"])


@pytest.mark.slow
def test_processes_make_what_one_makes(entries, monkeypatch):
    params = entries[HOPPER]["generator"]["params"]
    world = {"name": "mamujoco", **entries[HOPPER]["world"]["params"]}
    part, wide = params["parts"][0], {"returns": [-1e6, 1e6]}
    parts = [part | {"episodes": 5}, part | {"episodes": 3} | wide, part | {"episodes": 4, "scale": 0.5}]
    monkeypatch.setattr(MultiAgentMujoco, "wave", 2)
    one = mixture.mixture(world, 0, parts, 1, params["weights"])
    monkeypatch.setattr(processes, "WORTH", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    many = mixture.mixture(world, 0, parts, 1, params["weights"])
    assert int(many["final"].sum()) == 12
    assert (one == many).all()


def test_a_daemon_does_the_work_itself(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with processes.side_by_side(processes.WORTH) as each:
        assert list(each(os.getpid, [()])) == [os.getpid()]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_work(monkeypatch):
    monkeypatch.setattr(processes, "WORTH", 2)
    with pytest.raises(ReproduceError, match="one of 2 processes was killed"), processes.side_by_side(2) as each:
        list(each(os._exit, [(3,)]))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_processes_do_not_run_the_script_that_starts_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from data.generate import processes\nprint('runs')\nprocesses.WORTH = 2\n"
        "with processes.side_by_side(2) as each:\n    print(list(each(divmod, [(7, 2), (9, 4)])))\n"
    )
    alone = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, script], env=alone, capture_output=True)
    assert run.stdout.decode().splitlines() == ["runs", "[(3, 1), (2, 1)]"], run.stderr.decode()


def test_a_scaled_part_multiplies_the_actions_of_its_policy(entries):
    params = entries[HOPPER]["generator"]["params"]
    world = {"name": "mamujoco", **entries[HOPPER]["world"]["params"]}
    part = {"snapshot": params["parts"][0]["snapshot"], "episodes": 2, "noise": 0.0}
    whole, same, half = (
        mixture.mixture(world, 0, [part | more], 1, params["weights"]) for more in ({}, {"scale": 1.0}, {"scale": 0.5})
    )
    assert torch.equal(whole["action"], same["action"])
    torch.testing.assert_close(half["action"][0], 0.5 * whole["action"][0])  # both start alike


def returns_of(rows) -> torch.Tensor:
    return episode_returns(rows.select("reward").set("episode", trajectory_episodes(rows["final"])))


def test_damaged_policies_and_unknown_snapshots(tmp_path, monkeypatch, entries):
    entries[HOPPER]["generator"]["params"]["parts"][0]["snapshot"] = 7
    with pytest.raises(ReproduceError, match="no snapshot 7"):
        store.build(HOPPER)
    monkeypatch.setattr(mixture, "WEIGHTS", tmp_path)
    mixture.snapshots.cache_clear()
    (tmp_path / "omiga").mkdir()
    (tmp_path / "omiga" / "hopper_3x1.safetensors").write_text("no weights")
    with pytest.raises(ReproduceError, match="restore the file from git"):
        store.build(HOPPER)
    mixture.snapshots.cache_clear()


def test_committed_weights_are_plain_tensors():
    for path in mixture.WEIGHTS.rglob("*.safetensors"):
        assert all(value.dtype == torch.float32 and value.isfinite().all() for value in load_file(path).values())
