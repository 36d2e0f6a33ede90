"""Files in the making: those of processes that are gone are swept, others are left alone."""

import os
import signal
import subprocess
import sys
import time

import pytest
from limits import PATIENCE

from data.common.files import write_text
from data.common.partials import NAME, in_the_making, sweep
from data.common.paths import ROOT

GONE = 2**22 + 7  # beyond what Linux numbers processes with
HERE = os.uname().nodename


@pytest.mark.parametrize(
    ("name", "age_s", "left"),
    [
        (f".a.json.{GONE}@{HERE}.partial", 0, False),
        (f".a.json.{GONE}@{HERE}.new", 0, False),
        (f".a.json.{os.getpid()}@{HERE}.partial", 10**6, True),
        (f".a.json.{GONE}@another-machine.partial", 0, True),
        (f".a.json.{GONE}@another-machine.partial", 2 * 86400, False),
        (f".a.json.{GONE}.partial", 0, True),
        (f".a.json.{GONE}.partial", 120, False),
        (".0123456789abcdef.new", 0, True),
        (".0123456789abcdef.new", 2 * 86400, False),
        (f".a.{10**30}@{HERE}.partial", 0, False),
        ("a.json", 10**7, True),
        ("a.partial", 10**7, True),
    ],
    ids=[str(k) for k in range(12)],  # alike in every process of the tests
)
def test_who_is_swept(name, age_s, left, tmp_path):
    path = tmp_path / name
    path.write_text("half")
    os.utime(path, (time.time() - age_s,) * 2)
    sweep(tmp_path)
    assert path.exists() == left


def test_folders_and_what_lies_in_them_are_left_alone(tmp_path):
    inner = tmp_path / f".folder.{GONE}@{HERE}.partial"
    inner.mkdir()
    (inner / f".a.{GONE}@{HERE}.partial").write_text("")
    sweep(tmp_path)
    sweep(tmp_path / "missing")
    assert len(list(inner.iterdir())) == 1


def test_alone_in_a_folder_all_are_left_over(tmp_path):
    (tmp_path / f".a.{os.getpid()}@{HERE}.partial").write_text("")
    (tmp_path / ".b.new").write_text("")
    (tmp_path / "last.ckpt").write_text("")
    sweep(tmp_path, alone=True)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_killed_writer_is_swept_and_a_live_one_is_not(tmp_path):
    code = "import sys, time; from pathlib import Path; from data.common.files import write_with\n"
    code += "write_with(Path(sys.argv[1]), lambda p: (p.write_text('half'), print(flush=True), time.sleep(1000)))"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x")], stdout=subprocess.PIPE, env=env)
    assert process.stdout
    process.stdout.readline()
    (partial,) = tmp_path.iterdir()
    assert NAME.fullmatch(partial.name)
    sweep(tmp_path)
    assert partial.exists()
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    sweep(tmp_path)
    assert not partial.exists()


def test_names_stay_beside_their_file(tmp_path):
    path = in_the_making(tmp_path / "a.json")
    assert path.parent == tmp_path
    assert NAME.fullmatch(path.name)
    write_text(tmp_path / "a.json", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
