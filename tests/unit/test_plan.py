"""Estimates: what is measured once, what is derived from it, and how many seeds a verdict takes."""

import json
import math

import pytest

from data.catalog import store
from data.common.paths import outputs_dir, records_dir
from reproduce import records
from reproduce.cli import format, main
from reproduce.config import compose
from reproduce.cost import Cost, Timing, dry_run, estimate, estimates
from reproduce.cost.dataset_size import dataset_files
from reproduce.jobs import launchers
from reproduce.judge import Bound, judge, seeds_for_verdict

XOR = ["inspo/xor/ab", "inspo/xor/ab_ba"]
COST = Cost(
    update_s={"behavior": Timing(0.01, 0.0), "round": Timing(0.1, 0.2), "train": Timing(0.1, 0.2)},
    step_s=Timing(2.0, 0.0),
    peak=10**8,
    chunk=5000,
    timed_chunk=1000,
    weights=100,
    checkpoint=300,
    numbers=10,
    buffer_row=7,
)


@pytest.fixture
def measured(monkeypatch):
    """The settings measured, in order; measuring takes no time and always gives COST."""
    seen = []
    monkeypatch.setattr(estimate, "measure", lambda settings, seconds: seen.append((settings.row, seconds)) or COST)
    return seen


def test_rows_of_one_cost_share_a_measurement_and_the_time_is_divided(measured):
    found = estimates([compose(row) for row in [*XOR, "inspo/m_ne/balanced"]], 30)
    assert [e.row for e in found] == [*XOR, "inspo/m_ne/balanced"]
    assert [seconds for _, seconds in measured] == [15, 15]
    assert (
        len({estimate._cost_key(compose(XOR[0], [o])) for o in ("run.threads=1", "algo.lr=1", "protocol.n_seeds=9")})
        == 3
    )
    assert estimate._cost_key(compose(XOR[0], ["run.logger=wandb"])) == estimate._cost_key(compose(XOR[0]))


def test_each_phase_and_each_evaluation_is_counted(measured):
    overrides = ["algo.n_behavior_updates=20", "algo.n_updates=30", "protocol.eval_every=10", "run.chunk_size=5"]
    (e,) = estimates([compose(XOR[0], overrides)])
    assert e.n_updates == 50
    assert e.train_s == pytest.approx(20 * 0.01 + 30 * 0.1)
    assert e.evaluations == 5  # at 20, 30, 40 and 50, then of the final weights
    assert e.evaluate_s == pytest.approx(5 * 1 * 2.0)  # the game lasts one step
    assert e.spread == pytest.approx(3.0 * 0.2 / e.total_s)
    assert e.run_bytes == 2 * 300 + 100 + 10 * 10 * estimate.LOG_BYTES_PER_NUMBER


def test_a_phase_without_updates_costs_nothing():
    (e,) = estimates([compose(XOR[0], ["algo.n_behavior_updates=0", "algo.n_updates=10"])], 0.5)
    assert e.n_updates == 10
    assert 0 < e.train_s < 10


def test_data_count_as_loaded_and_as_buffered_and_unbuilt_ones_say_so(measured):
    settings = compose(XOR[0])
    before = estimates([settings])[0]
    assert not before.dataset_built
    assert any("not built" in note for note in before.notes)
    assert not (outputs_dir() / "data").exists()
    manifest = store.build("xor/ab")
    after = estimates([settings])[0]
    file = store.folder_of("xor/ab") / store.TRANSITIONS
    assert after.dataset_bytes == {"xor/ab": file.stat().st_size}
    assert after.dataset_built
    row = sum(t.element_size() * t[0].numel() for t in store.get("xor/ab").transitions.flatten_keys(".").values())
    n = manifest["statistics"]["n_transitions"]
    assert after.memory_bytes == 10**8 + n * (row + 7) + 4000
    streamed = estimates([compose(XOR[0], ["data.storage=memmap"])])[0]
    assert streamed.memory_bytes == after.memory_bytes - n * 7
    assert before.dataset_bytes["xor/ab"] >= after.dataset_bytes["xor/ab"]  # an upper bound


def test_a_dataset_of_parts_counts_the_parts_that_must_be_built_too():
    parts = [f"omiga/hopper_3x1-{name}" for name in ("medium", "expert")]
    files, built = dataset_files("omiga/hopper_3x1-medium-expert")
    assert not built
    assert set(files) == {"omiga/hopper_3x1-medium-expert", *parts}
    assert files["omiga/hopper_3x1-medium-expert"] == sum(files[part] for part in parts)


def test_a_calibration_measures_the_real_module_and_leaves_nothing_behind():
    overrides = ["protocol.n_seeds=2", "protocol.eval_episodes=2"]
    (e,) = estimates([compose("inspo/bridge/mix", overrides)], 1.0)
    assert e.train_s > 0
    assert e.evaluate_s > 0
    assert e.spread >= 0
    assert e.memory_bytes is None or 1e8 < e.memory_bytes < 1e10
    assert not list(outputs_dir().rglob("*"))
    assert not list(records_dir().rglob("*"))


def test_seeds_that_diverge_on_made_up_data_are_estimated_all_the_same():
    (e,) = estimates([compose("inspo/xor/ab", ["algo.lr=1e30", "protocol.n_seeds=2"])], 0.5)
    assert e.evaluate_s > 0


def test_a_calibration_of_rows_of_a_simulated_world():
    pytest.importorskip("mujoco")
    (e,) = estimates([compose("omiga/mujoco/hopper_expert", ["protocol.n_seeds=2"])], 1.0)
    assert e.evaluations == 201
    assert e.train_s > e.n_updates * 1e-4
    assert e.run_bytes > 1e5


def test_a_million_updates_are_not_listed_one_by_one(monkeypatch):
    """Memory of the plan would be the calibration's own."""
    from lit_modules.common import seed_module

    lengths = []
    original = seed_module.make_plan
    monkeypatch.setattr(seed_module, "make_plan", lambda *a: lengths.append(len(found := original(*a))) or found)
    estimates([compose("inspo/xor/ab", ["algo.n_updates=100000"])], 0.5)
    assert max(lengths) < 5000


def test_timing_and_units():
    steady = Timing.of([1.0, 1.01, 0.99, 1.0, 9.0])
    assert steady.seconds == 1.0
    assert format.spread(steady.spread) == ""
    assert format.spread(Timing.of([1.0, 1.0, 2.0, 2.0]).spread) == " ± 33 %"
    assert math.isnan(Timing.of([1.0]).spread)
    assert [format.duration(s) for s in (0.0, 0.012, 34, 340, 28000, 10**6)] == [
        "0 s",
        "0.012 s",
        "34 s",
        "5.7 min",
        "7.8 h",
        "12 days",
    ]
    assert [format.size(n) for n in (None, 1_230_000, 2_340_000_000)] == ["unknown", "1.2 MB", "2.3 GB"]


def test_seeds_for_a_verdict_agree_with_what_judge_prints():
    bound = Bound(mean=10.0, std=1.0, n=5, std_kind="sample", decimals=2, delta=2.0)
    scores = [8.0, 9.0, 10.5, 12.5, 12.0]
    verdict = judge(scores, bound)
    assert verdict.state == "INCONCLUSIVE"
    assert seeds_for_verdict(bound, scores)[0] == verdict.seeds_needed
    assert seeds_for_verdict(bound, [10.0, 10.1, 9.9, 10.0, 10.2])[0] == 5
    assert seeds_for_verdict(bound)[0] == 5
    assert "the paper's spread" in seeds_for_verdict(bound)[1]


def test_seeds_are_unknown_or_impossible_where_they_are():
    wide = Bound(mean=10.0, std=8.0, n=3, std_kind="sample", delta=2.0)
    assert seeds_for_verdict(wide)[0] == "impossible"
    assert "n_p" in seeds_for_verdict(wide)[1]
    assert seeds_for_verdict(Bound(mean=10.0, delta=1.0)) == (
        None,
        "no spread is known: nothing is recorded and the paper prints none",
    )
    assert seeds_for_verdict(Bound())[0] is None
    assert "margin" in seeds_for_verdict(Bound(mean=1.0, std=1.0))[1]
    optimum = Bound(optimum=1.0, delta=0.1)
    assert seeds_for_verdict(optimum)[0] is None
    assert seeds_for_verdict(optimum, [1.0] * 5)[0] == 5
    few = [0.9, 0.95, 1.0, 0.92, 0.97]
    assert seeds_for_verdict(optimum, few)[0] == 5
    assert seeds_for_verdict(optimum, [0.85, 0.95, 1.0, 0.9, 0.97])[0] > 5


def test_recorded_spread_is_used_and_named(measured, capsys):
    tiny = ["algo.n_behavior_updates=2", "algo.n_updates=3", "protocol.eval_episodes=2"]
    assert main([XOR[1], *tiny]) == 3
    assert len(records.read()) == 1
    same = estimates([compose(XOR[1], tiny)])[0]
    assert any("NOT COMPARABLE" in note for note in same.notes)
    assert same.seeds_basis == "the spread of 5 recorded seeds"
    other = estimates([compose(XOR[1])])[0]
    assert other.seeds_basis == "no spread is known: nothing is recorded and the paper prints none"  # other settings
    assert estimates([compose(XOR[0])])[0].seeds_for_verdict is None


def test_plan_prints_one_json_document_or_a_table(measured, capsys):
    assert main(["plan", "inspo/xor/ab*", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in printed["rows"]] == XOR
    assert printed["rows"][0]["seeds_for_verdict"] is None
    assert printed["total"]["total_s"] == pytest.approx(sum(row["total_s"] for row in printed["rows"]))
    disk = sum(sum(row["dataset_bytes"].values()) + row["run_bytes"] for row in printed["rows"])
    assert printed["total"]["disk_bytes"] == disk
    assert printed["total"]["memory_bytes"] == max(row["memory_bytes"] for row in printed["rows"])
    assert main(["plan", "inspo/xor/ab*"]) == 0
    shown = capsys.readouterr().out
    assert all(row in shown for row in XOR)
    assert "unknown" in shown
    assert main(["plan", "inspo/xor/ab*", "algo.alhpa=1"]) == 4
    assert "Nearest: algo.alpha" in capsys.readouterr().err
    assert main(["plan", "claims/*"]) == 4


def test_parts_of_several_datasets_take_their_disk_once(measured, capsys):
    pytest.importorskip("mujoco")
    assert main(["plan", "omiga/mujoco/hopper_*", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    sets = {name: n for row in printed["rows"] for name, n in row["dataset_bytes"].items()}
    assert len(sets) == 4
    assert printed["total"]["disk_bytes"] == sum(sets.values()) + sum(row["run_bytes"] for row in printed["rows"])


def test_a_dry_run_says_what_would_run_and_launches_nothing(measured, capsys, monkeypatch):
    monkeypatch.setattr(launchers, "_installed", lambda module: True)
    assert main(["inspo/xor/ab*", "--dry-run", "launcher=joblib", "launcher.n_jobs=2", "launcher.cpus=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("inspo/xor/ab  5 seeds  500 updates  ")
    assert "launcher joblib: one job per row, 2 at a time, 3 threads each, retries 1" in lines[2]
    assert main(["*inspo*", "--dry-run", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["launcher"] is None
    assert {"row": "claims/inspo/coordination"} in printed["jobs"]
    assert printed["at_least_s"] == pytest.approx(sum(job.get("total_s", 0) for job in printed["jobs"]))
    assert main(["inspo/xor/ab", "--sweep", "algo.lr=0.1,0.2", "--dry-run", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [point["point"] for point in printed["points"]] == [["algo.lr=0.1"], ["algo.lr=0.2"]]
    assert all(point["jobs"][0]["row"] == "inspo/xor/ab" for point in printed["points"])
    assert not list(outputs_dir().rglob("*"))


def test_two_jobs_at_a_time_take_at_least_half_the_time_and_the_longest(measured):
    found, printed = dry_run(XOR, ["run.threads=1"], 2)
    assert printed["at_least_s"] == pytest.approx(printed["jobs"][0]["total_s"])
    assert [e.threads for e in found] == [1] * len(XOR)
