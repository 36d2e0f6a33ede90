"""Real processes that are told to stop: which code they end with, what they say, and what the same command finds."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from limits import PATIENCE

from data.common.paths import ROOT, outputs_dir, records_dir

SMALL = ["algo.n_behavior_updates=20", "protocol.n_seeds=2", "protocol.eval_episodes=2", "run.chunk_size=5"]
LONG = [*SMALL, "algo.n_updates=100000", "run.checkpoint_every_s=0"]
STOPPED = "stopped; the same command continues"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def start(*arguments: str) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "reproduce", *arguments],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip


def stopped(process: subprocess.Popen, until, number: int) -> str:
    """The output of a process that was told to stop as soon as `until()`."""
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == CODES[number], (out, err)
    assert "Traceback" not in out + err
    return out + err


def has_checkpoint() -> bool:
    return bool(list(outputs_dir().rglob("last.ckpt")))


@pytest.mark.slow
@pytest.mark.parametrize("number", list(CODES))
def test_a_row_and_a_glob_stop_whole(number):
    for rows in ("inspo/xor/ab", "inspo/xor/a*"):
        shutil.rmtree(outputs_dir() / "runs", ignore_errors=True)
        said = stopped(start(rows, *LONG), has_checkpoint, number)
        assert said.count(STOPPED) == 1
        assert said.splitlines()[-1].startswith("reproduce: ")
        assert len(list((outputs_dir() / "runs").glob("inspo/xor/*"))) == 1
    assert not records_dir().exists() or not list(records_dir().rglob("*.json"))


@pytest.mark.slow
def test_a_sweep_and_its_workers_stop():
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    said = stopped(
        start("inspo/xor/ab*", *LONG, "launcher=joblib", "launcher.n_jobs=2"), has_checkpoint, signal.SIGTERM
    )
    assert STOPPED in said
    files = {path: path.stat().st_mtime_ns for path in outputs_dir().rglob("last.ckpt")}
    deadline = time.monotonic() + PATIENCE
    while True:  # workers notice, and nothing is written any more
        time.sleep(3)
        now = {path: path.stat().st_mtime_ns for path in outputs_dir().rglob("last.ckpt")}
        if now == files:
            break
        files = now
        assert time.monotonic() < deadline


@pytest.mark.slow
@pytest.mark.parametrize("number", list(CODES))
def test_a_queue_stops(number, tmp_path):
    path = tmp_path / "queue.yaml"
    path.write_text(json.dumps({"commands": [" ".join(["inspo/xor/ab", *LONG])]}))
    assert STOPPED in stopped(start("queue", str(path), "--nice", "0"), has_checkpoint, number)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["record inspo/bridge/mix", "claims/omsd/conditional_scores", "data build omar/*"])
def test_long_commands_stop(command):
    begun = time.monotonic()
    assert STOPPED in stopped(start(*command.split()), lambda: time.monotonic() > begun + 5, signal.SIGINT)


MAKE = shutil.which("make")
STUB = """#!/bin/sh
echo "$@" >> calls
[ "$1" = report ] && exit 0
{what}
"""
WAIT = "trap 'echo asked; exit 143' TERM; touch begun; while :; do sleep 0.1; done"


@pytest.fixture
def made(tmp_path):
    """made(what): a checkout whose command is a stub, and make working on `reproduce` there; it ends with the test."""
    started: list[subprocess.Popen] = []

    def start_make(what: str) -> subprocess.Popen:
        shutil.copy(ROOT / "Makefile", tmp_path)
        for file in ("requirements.lock", "pyproject.toml"):
            (tmp_path / file).write_text("")
        stub = tmp_path / ".venv" / "bin" / "reproduce"
        stub.parent.mkdir(parents=True)
        stub.write_text(STUB.format(what=what))
        stub.chmod(0o755)
        (tmp_path / ".venv" / ".ready").write_text("")
        started.append(subprocess.Popen(
            ["make", "reproduce"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            process_group=0, env=os.environ | {"MAKEFLAGS": "", "MAKELEVEL": ""},
        ))  # fmt: skip
        return started[-1]

    yield start_make
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.skipif(MAKE is None, reason="needs make")
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 130, 143])
def test_make_passes_the_code_on_and_reports_unless_it_was_stopped(code, made, tmp_path):
    out, err = made(f"exit {code}").communicate(timeout=PATIENCE)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["inspo/*", *(["report"] if code < 128 else [])]
    assert (f"Error {code}" in err) == (code != 0), (out, err)


def begun(tmp_path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(MAKE is None, reason="needs make")
def test_an_interrupt_of_make_alone_lets_the_command_end(made, tmp_path):
    """A terminal interrupts the whole group. What `kill -INT` says to make alone, make tells nobody, and it waits."""
    process = made("touch begun; sleep 1; touch ended; exit 0")
    begun(tmp_path)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert (tmp_path / "ended").exists()
    assert (tmp_path / "calls").read_text().splitlines() == ["inspo/*", "report"]


@pytest.mark.skipif(MAKE is None, reason="needs make")
@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("group", [False, True])
def test_a_signal_to_make_stops_the_command_and_writes_no_report(number, group, made, tmp_path):
    if not group and number == signal.SIGINT:
        pytest.skip("make forwards no interrupt: the next test")
    process = made(WAIT)
    begun(tmp_path)
    (os.killpg if group else os.kill)(process.pid, number)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "asked" in out
    assert (tmp_path / "calls").read_text().splitlines() == ["inspo/*"]
