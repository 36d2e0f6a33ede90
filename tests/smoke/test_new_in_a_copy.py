"""`reproduce new` in a copy of the checkout: the new algorithms train on rows, and their tests pass."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.common.paths import ROOT
from reproduce.cli import main
from reproduce.new.algorithms import FILES

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "outputs", "build", "__pycache__", ".*cache", "*.egg-info", "records"
)
TINY = ["algo.n_updates=3", "protocol.n_seeds=2", "protocol.eval_episodes=2", "--json"]
ROWS = {"continuous": "omsd/bandit/two_mode", "discrete": "inspo/xor/ab_ba"}


@pytest.fixture
def call(tmp_path):
    """A call of this Python in a copy of the checkout."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    own = {"PYTHONPATH": str(copy), "REPRODUCE_HOME": str(tmp_path / "out"), "REPRODUCE_RECORDS": str(tmp_path / "rec")}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, cwd=copy, env=os.environ | own, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_new_algorithms_train_on_rows_and_their_tests_pass(call):
    names = {actions: f"mine_{actions}" for actions in ROWS}
    for actions, row in ROWS.items():
        made = call("reproduce", "new", "algorithm", names[actions], "--actions", actions)
        assert made.returncode == 0, made.stderr
        assert made.stdout.splitlines()[:4] == [path.format(name=names[actions]) for path in FILES.values()]
        ran = call("reproduce", row, f"algo={names[actions]}", *TINY)
        assert ran.returncode == 3, ran.stderr
        record = json.loads(Path(json.loads(ran.stdout)["file"]).read_text(encoding="utf-8"))
        assert (record["config"]["algo"]["name"], record["n_updates"]) == (names[actions], 3)
        assert record["deviations"][0].startswith("D1")
        again = call("reproduce", "new", "algorithm", names[actions])
        assert again.returncode == 4
        assert "is taken" in again.stderr
    own = [f"tests/unit/test_{name}.py" for name in names.values()]
    shared = ["tests/unit/test_invariants.py", "tests/parity/test_plain.py", "tests/unit/test_config.py"]
    tests = call("pytest", "-q", "-p", "no:cacheprovider", *own, *shared, "-k", "mine or every_algorithm or schemas")
    assert tests.returncode == 0, tests.stdout
    passed = int(tests.stdout.split(" passed")[0].split()[-1]) if " passed" in tests.stdout else tests.stdout.count(".")
    assert passed >= 20


def test_words_and_errors_of_the_command(capsys):
    for argv, words in (
        (["new"], "Choose algorithm or paper"),
        (["new", "algorithm"], "missing argument 'NAME'"),
        (["new", "algorithm", "omiga"], "'omiga' is taken: lit_modules/omiga.py exists"),
        (["new", "algorithm", "mine", "--actions", "both"], "choose continuous or discrete"),
        (["new", "paper", "omsd"], "the paper 'omsd' is there already"),
    ):
        assert main(argv) == 4
        assert words in capsys.readouterr().err
