"""What the command says and how it exits: help, globs, check, diff, data, and each kind of bad input."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from data.common.paths import ROOT, outputs_dir, records_dir
from reproduce import records
from reproduce.cli import main
from reproduce.config import row_ids

TINY = ["algo.n_behavior_updates=2", "algo.n_updates=3", "protocol.eval_episodes=2"]
QUICK = [*TINY, "protocol.n_seeds=2"]
ROW = "inspo/xor/ab_ba"


def error_of(capsys, *argv: str) -> str:
    assert main(list(argv)) == 4
    return capsys.readouterr().err


def test_unknown_row_names_the_nearest(capsys):
    assert "inspo/bridge/mix" in error_of(capsys, "inspo/brigde/mix")


def test_planned_row_says_that_it_has_no_config(capsys):
    assert "no config yet" in error_of(capsys, "omar/mpe/spread_expert/bc")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("algo.alhpa=1", "Nearest: algo.alpha"),
        ("algo.lr=fast", "must be a number"),
        ("algo.n_updates=null", "must be a whole number"),
        ("algo.importance=some", "resample, reweight, none"),
        ("algo=bx", "Nearest: bc"),
        ("protocol.n_seeds=0", "at least 1"),
        ("data.kind=mine", "regenerated, official"),
        ("data.id=bridge/mixed", "Nearest: bridge/mix"),
        ("data.id=bridge/mix", "do not belong together"),
        ("task.params.episode_limits=3", "Nearest: task.params.episode_limit"),
        ("run.device=cuda", "no CUDA device"),
        ("run.logger=wandb", "extra"),
        ("=3", "KEY=VALUE"),
    ],
)
def test_bad_overrides(override, words, capsys):
    if override == "run.device=cuda" and torch.cuda.is_available():
        pytest.skip("a CUDA device is present")
    if override == "run.logger=wandb" and find_spec("wandb"):
        pytest.skip("wandb is installed")
    assert words in error_of(capsys, ROW, *QUICK, override)
    assert records.read() == []


def test_bad_usage_exits_with_4_and_not_with_inconclusive(capsys):
    assert "usage" in error_of(capsys, "check")
    assert "nothing is recorded" in error_of(capsys, "check", ROW)
    assert "official" in error_of(capsys, ROW, *QUICK, "data.kind=official")


def test_fewer_seeds_than_a_verdict_needs(capsys):
    assert main([ROW, "protocol.n_seeds=2", *TINY]) == 3
    assert "5 seeds" in capsys.readouterr().out


def test_a_diverging_run_stops_names_the_update_and_loses_nothing(capsys):
    message = error_of(capsys, ROW, *QUICK, "algo.lr=1e38", "algo.n_updates=50")
    assert "diverged in every seed" in message
    assert "update" in message
    record = records.read(ROW, "row")[-1]
    assert record["scores"]["per_seed"] == [-2.0, -2.0]
    assert {c["seed"] for c in record["crashed"]} == {0, 1}


def test_unwritable_outputs(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRODUCE_HOME", str(tmp_path / "file" / "below"))
    assert "cannot write" in error_of(capsys, ROW, *QUICK)


def test_unwritable_records_keep_the_run_for_another_try(capsys, monkeypatch, tmp_path):
    """The folder becomes unwritable while the run is training."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRODUCE_RECORDS", str(tmp_path / "file"))
    with monkeypatch.context() as patch:
        patch.setattr("reproduce.experiment.run.before_training", lambda *_: [])
        error_of(capsys, ROW, *QUICK)
    assert list(outputs_dir().rglob("last.ckpt"))
    monkeypatch.setenv("REPRODUCE_RECORDS", str(tmp_path / "records"))
    assert main([ROW, *QUICK]) == 3
    assert len(records.read()) == 1


def test_record_of_another_schema(capsys):
    main([ROW, *QUICK])
    file = next(records_dir().rglob("*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": 99}))
    capsys.readouterr()
    assert "schema" in error_of(capsys, "check", ROW)


def test_check_judges_again_without_training(capsys):
    assert main([ROW, *QUICK]) == 3
    capsys.readouterr()
    assert main(["check", ROW, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["verdict"]["state"] == "NOT COMPARABLE"


def test_a_glob_runs_all_its_rows_and_prints_one_table(capsys):
    assert main(["inspo/xor/a*", *QUICK]) == 3
    out = capsys.readouterr().out
    assert all(f"inspo/xor/{name}" in out for name in ("ab", "ab_ba", "aa_ab_ba", "all"))
    assert {r["row"] for r in records.read()} == {f"inspo/xor/{n}" for n in ("ab", "ab_ba", "aa_ab_ba", "all")}


def test_diff_shows_both_values_and_the_source(capsys):
    assert main(["diff", ROW, "algo.alpha=0.2", "--json"]) == 0
    entries = {e["key"]: e for e in json.loads(capsys.readouterr().out)[ROW]}
    assert entries["algo.alpha"] == {
        "key": "algo.alpha", "paper": "unknown", "row": 0.05, "used": 0.2, "source": "ours: from a tabular prototype",
    }  # fmt: skip


def test_data_commands(capsys):
    assert main(["data", "list"]) == 0
    assert "bridge/mix" in capsys.readouterr().out
    assert main(["data", "build", "xor/ab"]) == 0
    assert "5000 transitions" in capsys.readouterr().out
    assert main(["data", "show", "xor/ab"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["n_transitions"] == 5000
    assert "bridge/mix" in error_of(capsys, "data", "show", "bridge/mixx")
    assert "`reproduce data build xor/ab_ba` builds it" in error_of(capsys, "data", "show", "xor/ab_ba")
    said = error_of(capsys, "data", "show", "smac/5m_vs_6m-good")
    assert "data.root=DIR" in said
    assert "README of ZhengYinan-AIR/OMIGA" in said
    assert "data build" not in said
    assert main(["data", "show", "xor", "--json"]) == 0  # what is built; the others are named
    captured = capsys.readouterr()
    assert json.loads(captured.out)["id"] == "xor/ab"


def test_a_published_number_without_a_config_runs_no_other_columns(capsys, monkeypatch):
    row, known = "comadice/mujoco/hopper_expert", row_ids()
    monkeypatch.setattr("reproduce.config.row_ids", lambda: [name for name in known if name != row])
    said = error_of(capsys, row)
    assert "no config yet. Other columns of its row run: comadice/mujoco/hopper_expert/bc," in said


def test_data_compare_shows_published_statistics_and_what_is_not_built(capsys):
    assert main(["data", "compare", "omiga/hopper*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 4
    assert "2452 ± 1098 [95, 3763], 1481 episodes" in lines[2]
    assert lines[2].endswith("not built |")
    assert main(["data", "compare", "omiga/ant_2x4-medium", "--json"]) == 0
    official = json.loads(capsys.readouterr().out)["omiga/ant_2x4-medium"]["official"]
    assert (official["mean"], official["cloning"]["mean"]) == (1418.70, 1421.09)
    assert "no dataset named" in error_of(capsys, "data", "compare", "xor/ab")


def test_report_is_written(capsys, tmp_path):
    assert main(["report", "--out", str(tmp_path)]) == 0
    assert all(Path(line).exists() for line in capsys.readouterr().out.split())


@pytest.mark.slow
def test_json_is_the_only_thing_on_stdout():
    env = {**os.environ, "REPRODUCE_HOME": str(outputs_dir()), "REPRODUCE_RECORDS": str(records_dir())}
    command = [sys.executable, "-m", "reproduce", ROW, *QUICK, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 3
    assert json.loads(done.stdout)["row"] == ROW
    assert done.stderr == ""
