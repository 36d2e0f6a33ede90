"""Every test writes to its own folders, never to the project's outputs/ or records/."""

import contextlib
import copy
import importlib
import os
import signal
import subprocess

import hypothesis
import pytest
import torch

# The same examples every time: a test that may fail by chance says nothing about a commit.
hypothesis.settings.register_profile("fixed", derandomize=True, database=None)
hypothesis.settings.load_profile("fixed")

# A shell starts commands in the background with interrupts ignored, nohup with hangups; their children inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("REPRODUCE_HOME", str(tmp_path_factory.mktemp("outputs")))
    monkeypatch.setenv("REPRODUCE_RECORDS", str(tmp_path_factory.mktemp("records")))


@pytest.fixture(autouse=True)
def _no_process_is_left(monkeypatch):
    """What a test started and did not wait for ends with it, also where it fails."""
    started: list[subprocess.Popen] = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    yield
    for process in started:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                leads = os.getpgid(process.pid) == process.pid
                (os.killpg if leads else os.kill)(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(autouse=True, scope="session")
def _rows_are_composed_once():
    """Hydra takes a seventh of a second for a row of the project's own files, and the tests ask hundreds of times."""
    module = importlib.import_module("reproduce.config.compose")  # as an attribute the name is the function's
    hydra, own, kept = module._hydra, module.CONFIGS, {}

    def composed(row, overrides):
        if own != module.CONFIGS:
            return hydra(row, overrides)
        key = (row, *overrides)
        if key not in kept:
            kept[key] = hydra(row, overrides)
        return copy.deepcopy(kept[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_hydra", composed)
        yield
