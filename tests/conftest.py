"""Every test writes to its own folders, never to the project's outputs/ or records/."""

import signal

import pytest
import torch

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
