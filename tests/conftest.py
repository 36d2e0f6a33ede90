"""Every test writes to its own folders, never to the project's outputs/ or records/."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("REPRODUCE_HOME", str(tmp_path_factory.mktemp("outputs")))
    monkeypatch.setenv("REPRODUCE_RECORDS", str(tmp_path_factory.mktemp("records")))
