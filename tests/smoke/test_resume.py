"""A run killed with SIGKILL at any moment ends, repeated, with bitwise the same weights and scores."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from limits import PATIENCE

from data.common.paths import ROOT

ARGS = ["inspo/bridge/optimal", "algo.n_behavior_updates=60", "algo.n_updates=60", "protocol.eval_every=25"]
ARGS += ["protocol.n_seeds=2", "protocol.eval_episodes=3", "run.chunk_size=5", "run.checkpoint_every_s=0", "--json"]


def start(home: Path) -> subprocess.Popen:
    env = {
        **os.environ,
        "REPRODUCE_HOME": str(home),
        "REPRODUCE_RECORDS": str(home / "records"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "reproduce", *ARGS]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint_after(home: Path, process: subprocess.Popen, since: float, n: int) -> None:
    """Until the checkpoint was replaced n times after `since`, so that the kill falls anywhere in between."""
    seen, last = 0, since
    while seen < n and process.poll() is None:
        found = [p.stat().st_mtime for p in home.rglob("last.ckpt")]
        if found and found[0] > last:
            seen, last = seen + 1, found[0]
        time.sleep(0.001)


@pytest.mark.slow
def test_killed_and_repeated_equals_uninterrupted(tmp_path):
    whole = json.loads(start(tmp_path / "whole").communicate(timeout=PATIENCE)[0])
    killed = 0
    for n in (3, 9):
        process = start(tmp_path / "killed")
        wait_for_checkpoint_after(tmp_path / "killed", process, time.time(), n)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.communicate()
    assert killed == 2
    assert not list((tmp_path / "killed" / "records").rglob("*.json"))
    out, err = start(tmp_path / "killed").communicate(timeout=PATIENCE)
    repeated = json.loads(out)
    assert repeated["weights_sha256"] == whole["weights_sha256"], err
    assert repeated["scores"] == whole["scores"]
    records = [json.loads(next((tmp_path / n / "records").rglob("*.json")).read_text()) for n in ("whole", "killed")]
    for key in ("evaluation", "curve", "diagnostics", "seeds", "n_updates"):
        assert records[0][key] == records[1][key]
