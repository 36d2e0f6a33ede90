"""`reproduce compare` and `--sweep` from the command to the record."""

import json
from pathlib import Path

import pytest

from data.common.errors import ReproduceError
from reproduce import records
from reproduce.cli import grid, main
from reproduce.compare import OWN
from reproduce.compare import run as comparing
from reproduce.experiment import run as running

ROW = "inspo/xor/ab_ba"
COMMON = ["protocol.n_seeds=2", "protocol.eval_episodes=2", "algo.n_updates=3"]
BEHAVIOR = "algo.n_behavior_updates=2"


def compared(capsys, *words: str) -> dict:
    assert main(["compare", ROW, *COMMON, *words, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


@pytest.mark.slow
def test_arms_run_once_and_are_recorded(capsys):
    first = compared(capsys, "algo=bc", "algo=inspo", BEHAVIOR)
    assert list(first["arms"]) == ["bc", f"inspo {BEHAVIOR}"]
    assert [arm["reused"] for arm in first["arms"].values()] == [False, False]
    assert first["seeds"] == [0, 1]
    rows = records.read(ROW, "row")
    assert {record["config"]["algo"]["name"] for record in rows} == {"bc", "inspo"}
    assert first["data"]["sha256"] == rows[0]["data"]["sha256"] == rows[1]["data"]["sha256"]
    again = compared(capsys, "algo=bc", "algo=inspo", BEHAVIOR)
    assert [arm["reused"] for arm in again["arms"].values()] == [True, True]
    assert len(records.read(ROW, "row")) == 2
    assert again["differences"] == first["differences"]
    assert len(records.read("comparisons/*", "comparison")) == 2
    three = compared(capsys, "algo=bc", "algo=inspo", BEHAVIOR, "--arm", f"{BEHAVIOR} algo.lr=0.02")
    assert [arm["reused"] for arm in three["arms"].values()] == [True, True, False]
    assert three["judged"] == 2
    assert main(["check", ROW]) == 3  # arms are no answers of the row


def test_the_rows_own_settings_are_the_first_arm_of_one(capsys):
    found = compared(capsys, BEHAVIOR, "--arm", "algo.lr=0.02")
    assert list(found["arms"]) == [OWN, "algo.lr=0.02"]
    assert found["reference"] == OWN
    assert found["overrides"] == [*COMMON, BEHAVIOR]


def test_a_record_on_other_data_is_not_reused(capsys):
    compared(capsys, "algo=bc", "--arm", "algo=bc algo.lr=0.5")
    old = records.read(ROW, "row")[0]
    Path(old.pop("file")).unlink()
    old["data"] = old["data"] | {"sha256": "0" * 64, "n_episodes": 7}
    records.write(old)
    again = compared(capsys, "algo=bc", "--arm", "algo=bc algo.lr=0.5")
    assert sorted(arm["reused"] for arm in again["arms"].values()) == [False, True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["algo=omiga"], "arm 'omiga'"),  # for continuous actions
        (["algo=gaussian_bc"], "arm 'gaussian_bc'"),
        (["algo=bd"], "arm 'bd'"),
        ([], "needs an arm"),
    ],
)
def test_arms_that_cannot_run_are_told_before_any_runs(words, said, capsys):
    assert main(["compare", ROW, "protocol.n_seeds=2", *words, *([] if not words else ["algo=bc"])]) == 4
    assert said in capsys.readouterr().err
    assert records.read() == []


def test_an_arm_that_fails_keeps_what_the_others_recorded(capsys, monkeypatch):
    def fails(settings):
        if settings.algo.name == "inspo":
            raise ReproduceError("no room")
        return running.run_row(settings)

    monkeypatch.setattr(comparing, "run_row", fails)
    assert main(["compare", ROW, *COMMON, "algo=bc", "algo=inspo", BEHAVIOR]) == 4
    assert "no room" in capsys.readouterr().err
    assert [record["config"]["algo"]["name"] for record in records.read(ROW, "row")] == ["bc"]
    assert records.read("comparisons/*") == []


# ---- grids


@pytest.mark.slow
def test_a_grid_is_one_record_per_point_and_a_table(capsys):
    command = [ROW, *COMMON, BEHAVIOR, "--sweep", "algo.lr=0.01,0.02", "--sweep", "algo.tau=0.1,0.2"]
    assert main([*command, "--json"]) == 3
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["point"] for row in rows] == [
        [f"algo.lr={lr}", f"algo.tau={tau}"] for lr in ("0.01", "0.02") for tau in ("0.1", "0.2")
    ]
    settings = [(r["config"]["algo"]["lr"], r["config"]["algo"]["tau"]) for r in records.read(ROW, "row")]
    assert sorted(settings) == [(0.01, 0.1), (0.01, 0.2), (0.02, 0.1), (0.02, 0.2)]
    printed = grid.table(rows).splitlines()
    assert printed[1] == ROW
    assert printed[2].split()[:3] == ["lr", "tau", "ours"]
    assert [line.split()[:2] for line in printed[3:]] == [[a, b] for a in ("0.01", "0.02") for b in ("0.1", "0.2")]
    assert max(map(len, printed)) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sweep", "algo.lr=0.01,fast"], "Nothing was started"),
        (["--sweep", "algo.lr=0.01,-1"], "Nothing was started"),
        (["--sweep", "algo.alhpa=1,2"], "Nearest: algo.alpha"),
        (["--sweep", "algo=bc,bd"], "choose one of"),
        (["--sweep", "budget=short,shrt"], "takes no budget; what it chooses by name: algo, task, protocol"),
        (["budget=short"], "takes no budget"),
        (["--sweep", "algo.lr"], "write --sweep KEY=V1,V2"),
        (["--sweep", "algo.lr=0.1,"], "write --sweep KEY=V1,V2"),
        (["--sweep", "algo.lr=0.1,0.1"], "stands twice"),
        (["--sweep", "algo.lr=0.1", "--sweep", "algo.lr=0.2"], "stated twice"),
        (["algo.lr=0.1", "--sweep", "algo.lr=0.2,0.3"], "stated twice"),
        (["--sweep", "launcher=joblib,ray"], "a launcher carries the grid"),
        (["algo.lr=0.1,0.2"], "`--sweep algo.lr=0.1,0.2`"),
        (["algo.lr=choice(0.1,0.2)"], "--sweep algo.lr="),
        (["protocol=inspo,omsd_mpe"], "`--sweep protocol=inspo,omsd_mpe`"),
        (["algo=bc,inspo"], "`--sweep algo=bc,inspo`"),
    ],
)
def test_grids_are_checked_before_anything_starts(words, said, capsys):
    assert main([ROW, *words]) == 4
    assert said in capsys.readouterr().err
    assert records.read() == []


def test_a_claim_takes_no_grid(capsys):
    assert main(["claims/inspo/monotonic_qre", "--sweep", "algo.lr=1,2"]) == 4
    assert "takes no --sweep" in capsys.readouterr().err


def test_lists_are_one_value():
    assert grid.points(["algo.hidden=[64,64],[128]", "budget='a,b',c"]) == [
        [f"algo.hidden={hidden}", f"budget={budget}"] for hidden in ("[64,64]", "[128]") for budget in ("'a,b'", "c")
    ]


@pytest.mark.slow
def test_grids_and_arms_on_a_launcher(capsys):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    own = ["launcher=joblib", "launcher.cpus=1"]
    assert main([ROW, *COMMON, BEHAVIOR, "--sweep", "algo.lr=0.01,0.02", *own, "--json"]) == 3
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["point"] for row in rows] == [["algo.lr=0.01"], ["algo.lr=0.02"]]
    assert {row["row"] for row in rows} == {ROW}
    assert main(["compare", ROW, *COMMON, *own, "algo=bc", "algo=inspo", BEHAVIOR, "--json"]) == 0
    assert [arm["reused"] for arm in json.loads(capsys.readouterr().out)["arms"].values()] == [False, True]  # lr=0.01
