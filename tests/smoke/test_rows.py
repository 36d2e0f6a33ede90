"""Every row config runs end to end on a tiny budget, whatever its verdict; adding a config adds its test."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from turns import rows_by_turn

from data.catalog import registry
from data.common.errors import ReproduceError
from reproduce import published, records
from reproduce.cli import main
from reproduce.config import claim_ids, compose, expand, flat, row_ids, sources
from reproduce.config.schema import ProtocolSettings

TINY = ["algo.n_updates=3", "protocol.eval_episodes=2", "protocol.n_seeds=2"]
# What the rows of a paper need to be tiny too, and how many updates they make then.
ALSO = {
    "inspo": (["algo.n_behavior_updates=2"], 5),
    "omiga": (["task.params.episode_limit=100"], 3),  # as many steps as a simulated world's fingerprint takes
    "cfcql": (["algo.batch_size=8"], 3),
    "comadice": (["task.params.episode_limit=100"], 3),
    "omar": (["algo.batch_size=8"], 3),
    "omsd": (["algo.n_critic_updates=2", "algo.n_score_updates=2", "algo.score_hidden=8", "algo.batch_size=8"], 7),
}


def tiny(row: str) -> tuple[list[str], int]:
    """(overrides of a tiny run of the row, how many updates it makes)."""
    also, n_updates = ALSO[row.split("/")[0]]
    simulated = ALSO["omiga"][0] if "/mujoco/" in row else []
    return [*TINY, *dict.fromkeys([*also, *simulated])], n_updates


def shrink(entries: dict) -> dict:
    """Simulated datasets of one short episode of each behavior policy; any statistics are accepted."""
    for entry in entries.values():
        world, params = entry["world"], entry["generator"]["params"]
        if world["name"] not in ("bandit", "mpe", "mamujoco"):
            continue
        entry["acceptance"] = {}
        params |= {key: few for key, few in (("rows", 400), ("episodes", 8)) if key in params}
        if world["name"] == "mamujoco":
            world["params"]["episode_limit"] = 100
        for part in params.get("parts", []):
            if isinstance(part, dict):
                part["episodes"] = 1
                part.pop("returns", None)
    return entries


@pytest.fixture(autouse=True)
def _tiny_data(monkeypatch):
    entries = shrink(registry.entries())
    monkeypatch.setattr(registry, "_parsed", lambda: entries)


@pytest.mark.parametrize("row", rows_by_turn(played=True))
def test_row_runs_from_command_to_record(row, capsys):
    overrides, n_updates = tiny(row)
    code = main([row, *overrides, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert code == printed["exit_code"] == 3  # fewer updates than the row's: NOT COMPARABLE
    record = records.read(row, "row")[-1]
    assert record["n_updates"] == n_updates
    assert record["environment"]["fingerprint"] == record["environment"]["expected"]
    played = [mode for mode in published.MODES if mode in record["evaluation"]]
    assert played == (["greedy", "sampled"] if row.startswith("inspo/") else ["greedy"])
    for mode in played:
        assert [len(episodes) for episodes in record["evaluation"][mode]] == [2, 2]
        assert len(record["curve"][mode][-1]) == 2
    assert record["diagnostics"]
    for quantities in record["diagnostics"].values():
        assert any(name.startswith("loss/") for name in quantities)
        assert all(len(seeds) == 2 for seeds in quantities.values())
    assert {d["key"] for d in record["differs"]} >= {"algo.n_updates"}


@pytest.mark.parametrize("row", rows_by_turn())
def test_row_file_is_complete_and_every_value_has_a_source(row):
    settings = compose(row)
    assert settings.row == row == settings.values["row"]
    assert settings.differs == []
    assert settings.fingerprint == settings.row_fingerprint
    stated = sources(row)
    kept = ("algo.", "protocol.", "task.")
    missing = [k for k in flat(settings.values) if k.startswith(kept) and k != "algo.name" and k not in stated]
    assert missing == []


def test_rows_with_a_config_are_published_rows_and_planned_ones_say_so(capsys):
    known = published.rows()
    assert set(row_ids()) <= set(known)
    assert main(["list", "--json"]) == 0
    listed = {entry["row"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(known) | set(claim_ids())
    assert {row for row, entry in listed.items() if entry["can_run"]} == set(row_ids()) | set(claim_ids())
    inspo = [row for row in known if row.startswith("inspo/")]
    assert sorted(inspo) == expand("inspo/*", row_ids())


@pytest.mark.parametrize(
    "override", ["algo=bc", "algo.importance=reweight", "algo.importance=none", "algo.entropy=false"]
)
def test_switches_run(override):
    small = TINY if override == "algo=bc" else [*TINY, *ALSO["inspo"][0]]
    assert main(["inspo/xor/ab_ba", *small, override]) == 3


def test_memmap_storage_and_joint_cloning_run():
    assert main(["inspo/bridge/optimal", *TINY, *ALSO["inspo"][0], "data.storage=memmap"]) == 3
    assert main(["inspo/bridge/optimal", *TINY, "algo=bc", "algo.joint=true"]) == 3


def test_cloning_and_memmap_storage_run_on_simulated_data():
    assert (
        main(["omiga/mujoco/hopper_expert", *TINY, *ALSO["omiga"][0], "algo=gaussian_bc", "data.storage=memmap"]) == 3
    )


def test_an_algorithm_for_the_other_kind_of_actions_is_refused(capsys):
    assert main(["omiga/mujoco/hopper_expert", *TINY, "algo=bc"]) == 4
    assert "bc is for discrete actions" in capsys.readouterr().err
    assert main(["inspo/xor/ab", *TINY, "algo=gaussian_bc"]) == 4
    assert "gaussian_bc is for continuous actions" in capsys.readouterr().err


def test_the_short_budget_is_a_setting_like_any_other():
    settings = compose("omiga/mujoco/ant_medium", ["budget=short"])
    assert settings.values["algo"]["n_updates"] < settings.row_values["algo"]["n_updates"]
    assert {d["key"] for d in settings.differs} == {"algo.n_updates"}  # when to look is free


@pytest.mark.parametrize("row", ["inspo/bridge/optimal", "omiga/mujoco/hopper_expert", "omsd/mpe/cn_medium"])
def test_when_a_run_is_looked_at_changes_the_curve_and_not_the_score(row, capsys):
    checkpoint = ProtocolSettings.model_fields["checkpoint"].annotation
    assert get_args(checkpoint) == ("last",)  # of the best of several looks this would not be true
    found, overrides = {}, [*tiny(row)[0], "algo.n_updates=7", "run.chunk_size=2"]
    overrides += ["algo.dropout=0.1"] if row.startswith("omsd") else []  # noise that a chunk's length decides
    for every in (1, 3, 100):
        main([row, *overrides, f"protocol.eval_every={every}", "--json"])
        printed = json.loads(capsys.readouterr().out)
        found[every] = printed, json.loads(Path(printed["file"]).read_text())  # all three may be of one second
    assert len({record["weights_sha256"] for _, record in found.values()}) == 1
    assert len({record["config_fingerprint"] for _, record in found.values()}) == 1
    for printed, record in found.values():
        assert printed["scores"] == found[1][0]["scores"]
        assert record["evaluation"] == found[1][1]["evaluation"]
        assert "protocol.eval_every" not in {d["key"] for d in record["differs"]}
    start = found[100][1]["n_updates"] - 7  # of the last phase
    curves = {
        every: [n - start for n in record["curve"]["n_updates"] if n > start] for every, (_, record) in found.items()
    }
    assert curves == {1: [2, 4, 6, 7], 3: [4, 6, 7], 100: [7]}


def test_a_run_is_shown_beside_the_data_and_recorded_cloning(capsys):
    row = "omiga/mujoco/hopper_medium"
    assert main([row, *TINY, *ALSO["omiga"][0], "algo=gaussian_bc", "--json"]) == 3
    cloned = json.loads(capsys.readouterr().out)
    assert cloned["behavior_cloning"] is None
    assert main([row, *TINY, *ALSO["omiga"][0], "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["behavior_cloning"] == cloned["scores"]["per_seed"]
    assert main(["check", row]) == 3
    line = capsys.readouterr().out
    assert f"data {cloned['data']['return']['mean']:.5g}" in line
    assert f"behavior cloning {sum(cloned['scores']['per_seed']) / 2:.5g}" in line
    assert main(["list", row]) == 0
    assert "not run (2 others)" in capsys.readouterr().out


def test_cloning_recorded_after_a_run_counts_when_it_is_checked(capsys):
    row = "omiga/mujoco/hopper_medium"
    assert main([row, *TINY, *ALSO["omiga"][0]]) == 3
    capsys.readouterr()
    assert main(["check", row]) == 3
    assert "behavior cloning" not in capsys.readouterr().out
    assert main([row, *TINY, *ALSO["omiga"][0], "algo=gaussian_bc", "--json"]) == 3
    cloned = json.loads(capsys.readouterr().out)
    assert main(["check", row]) == 3
    assert f"behavior cloning {sum(cloned['scores']['per_seed']) / 2:.5g}" in capsys.readouterr().out


def test_a_budget_that_the_row_calls_as_good_as_its_own_is_judged_and_a_variant_is_not():
    row = "omsd/mpe/pp_medium"
    full = compose(row, ["budget=omsd_full"])
    assert full.differs == []
    assert full.values["algo"]["n_score_updates"] == 2_000_000
    assert compose(row).values["algo"]["n_score_updates"] == 20_000
    assert compose("omsd/mpe/cn_expert", ["data.id=omar/simple_spread-expert-one-team"]).differs == []
    assert compose("omsd/mpe/cn_expert", ["data.id=omar/simple_spread-random"]).differs != []
    low_noise = compose("omsd/mpe/cn_expert", ["budget=omsd_long", "variant=low_noise"])
    assert low_noise.differs == []
    assert (low_noise.values["algo"]["t_high"], low_noise.values["algo"]["n_updates"]) == (0.1, 50_000)
    keys = {d["key"] for d in compose(row, ["budget=omsd_full", "variant=bootstrap"]).differs}
    its_own = {"beta", "expectile", "gamma", "lr", "subtract_noise", "team_reward"}  # minibatches are the budget's
    assert keys == {f"algo.{key}" for key in its_own} | {"protocol.time_limits"}


def test_scores_against_our_prey_are_normalized_by_its_references_and_say_so(capsys):
    row = "omsd/mpe/world_expert"
    assert main([row, *tiny(row)[0]]) == 3
    assert "normalized by random and expert returns against our prey, -3.824 and 86.03" in capsys.readouterr().out
    record = records.read(row, "row")[-1]
    low, high = (record["scores"]["references"][end] for end in ("random", "expert"))
    for episodes, score in zip(record["evaluation"]["greedy"], record["scores"]["per_seed"], strict=True):
        assert score == pytest.approx(100 * (sum(episodes) / 2 - low) / (high - low))
    assert main(["omsd/mpe/cn_expert", *tiny("omsd/mpe/cn_expert")[0]]) == 3
    assert records.read("omsd/mpe/cn_expert", "row")[-1]["scores"]["references"] is None


def test_the_probe_tells_which_team_actors_follow(capsys):
    from data.common.paths import outputs_dir
    from reproduce.claims.programs.team_alignment import STEPS, followed

    row, mixture = "omsd/mpe/cn_expert", "data.id=omar/simple_spread-expert"
    main([row, *tiny(row)[0], mixture])
    (weights,) = outputs_dir().glob("runs/omsd/mpe/cn_expert/*/weights.safetensors")
    with pytest.raises(ReproduceError, match=f"one team; {mixture} mixes"):
        followed(row, weights)
    found = followed(row, weights, [mixture])
    assert [line["step"] for line in found] == list(STEPS)
    for line in found:
        assert 0 < line["to_nearest_team"] < 2
        assert 0 <= line["same_team"] <= 1
        assert line["teams_apart"] > 0.3  # teams trained apart


@pytest.mark.slow
def test_madiffs_clones_are_played_in_all_four_ways():
    from reproduce.claims.programs.madiff_cloning import Uniform, scores

    data = np.random.default_rng(0).normal(size=(1000, 2, 3)).astype(np.float32)
    data[:, 1, 2] = 7.0  # a number that never varies stays as it is
    uniform = Uniform(data)
    seen = uniform(data)
    assert np.array_equal(np.sort(seen[:, 0, 0]), np.float32(np.arange(1, 1001) / 500 - 1))
    assert (seen[:, 1, 2] == 7).all()
    np.testing.assert_allclose(uniform.inverse(seen), data, atol=1e-5)
    assert np.abs(uniform(data * 100)[:, 0]).max() == 1  # beyond the data: the ends
    found = scores("omar/mpe/spread_expert", 2, 1e-3, 50)
    assert list(found) == [(1, False), (1, True), (2, False), (2, True)]
    assert len(set(found.values())) == 4
    assert found == scores("omar/mpe/spread_expert", 2, 1e-3, 50)


def test_a_budget_states_the_source_of_what_it_sets():
    stated = sources("omsd/mpe/cn_expert")
    assert stated["algo.batch_size"] == "ours; dev: 512"
    assert stated["protocol.eval_every"] == "ours; dev: 500"
    assert stated["algo.beta"] == "dev: chosen"
    chosen = sources("omsd/mpe/cn_expert", ["budget=omsd_critic"])  # which builds on the row's own budget
    assert chosen["algo.batch_size"] == "dev"
    assert chosen["protocol.eval_every"] == "ours; dev: 500"
