"""Sweeps on real launchers: results as in this process, and a killed worker's row resumed by the repeated command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from limits import PATIENCE

from data.common.paths import ROOT, outputs_dir, records_dir
from reproduce import records
from reproduce.cli import main

GLOB = "inspo/xor/ab*"  # ab and ab_ba
ROWS = ["inspo/xor/ab", "inspo/xor/ab_ba"]
TINY = ["algo.n_behavior_updates=2", "algo.n_updates=3", "protocol.eval_episodes=2", "protocol.n_seeds=2"]
LONGER = ["algo.n_behavior_updates=20", "algo.n_updates=40", "run.chunk_size=5", "run.checkpoint_every_s=0", *TINY[2:]]
SAME = ("row", "scores", "seeds", "weights_sha256", "exit_code", "verdict", "data")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc"),
]


def outcome(printed: str) -> list[dict]:
    return [{key: row.get(key) for key in SAME} for row in json.loads(printed)["rows"]]


def in_process(capsys, overrides: list[str]) -> list[dict]:
    assert main([GLOB, *overrides, "run.threads=1", "--json"]) == 3
    return outcome(capsys.readouterr().out)


def process_of(row: str) -> int | None:
    """The process of a row of this test's sweep."""
    mine = f"REPRODUCE_HOME={outputs_dir()}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_row = b"import row" in b" ".join(words[:4]) and row.encode() in words
            if is_row and mine in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except OSError:  # it ended meanwhile
            continue
    return None


def kill_worker_of(row: str) -> None:
    """SIGKILL to the launcher's worker of a row that has written a checkpoint."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if list((outputs_dir() / "runs" / row).rglob("last.ckpt")) and (process := process_of(row)):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            os.kill(int(fields[1]), signal.SIGKILL)
            return
        time.sleep(0.005)


def test_joblib_with_a_killed_worker_then_the_same_command(capsys):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = [GLOB, *LONGER, "launcher=joblib", "launcher.retries=0", "launcher.cpus=1", "--json"]
    killer = threading.Thread(target=kill_worker_of, args=[ROWS[1]])
    killer.start()
    assert main(command) == 4
    killer.join()
    captured = capsys.readouterr()
    failed = [row["row"] for row in json.loads(captured.out)["rows"] if "error" in row]
    assert ROWS[1] in failed
    assert "its process ended 1 times without a result" in captured.err
    assert main(command) == 3
    repeated = outcome(capsys.readouterr().out)
    assert sorted(r["row"] for r in records.read()) == ROWS  # what was finished did not run again
    resumed = [p.name for p in (outputs_dir() / "runs" / ROWS[1]).rglob("metrics_from_*")]
    assert len(resumed) == 2
    assert "metrics_from_0" in resumed
    assert not list((outputs_dir() / "sweeps").iterdir())
    assert repeated == in_process(capsys, LONGER)
    threads = {r["provenance"]["machine"]["threads"] for r in records.read()}
    assert threads == {1}


def test_submitit_on_this_machine(capsys):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    own = ["launcher=submitit_local", "launcher.cpus=1"]
    assert main([GLOB, *TINY, *own, "--json"]) == 3
    assert outcome(capsys.readouterr().out) == in_process(capsys, TINY)


def test_ray_on_this_machine(capsys):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    pytest.importorskip("ray")
    env = {**os.environ, "REPRODUCE_HOME": str(outputs_dir()), "REPRODUCE_RECORDS": str(records_dir())}
    command = [sys.executable, "-m", "reproduce", ROWS[0], *TINY, "launcher=ray", "launcher.cpus=1", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 3, done.stderr
    printed = {key: json.loads(done.stdout)[key] for key in SAME}
    assert printed == in_process(capsys, TINY)[0]


def test_a_claim_is_a_job_too(capsys):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert main(["claims/inspo/monotonic_qre", "launcher=joblib", "launcher.cpus=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
