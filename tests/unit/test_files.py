"""Files are written whole or not at all, also when the disk is full."""

import errno
import os

import pytest
import torch
from safetensors.torch import save_file

from data.common import files
from data.common.errors import ReproduceError
from data.common.paths import outputs_dir
from reproduce.cli import main


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ReproduceError, match="No space left"):
        files.write_json(path, {"new": 2})
    assert path.read_text() == '{\n "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_files_are_readable_by_whom_the_umask_lets(tmp_path):
    """safetensors writes files for their owner alone."""
    before = os.umask(0o022)
    try:
        files.write_with(tmp_path / "a", lambda partial: save_file({"x": torch.zeros(1)}, partial))
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_the_variable_that_moves_a_file_is_named_where_there_is_one(tmp_path, monkeypatch):
    def full(partial):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    with pytest.raises(ReproduceError, match="REPRODUCE_HOME moves what is written there"):
        files.write_with(outputs_dir() / "a", full)
    with pytest.raises(ReproduceError, match=r"make the folder writable\.$"):
        files.write_with(tmp_path / "a", full)


def test_a_failing_writer_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_other_disk_errors_end_with_a_message(monkeypatch, capsys):
    import reproduce.config

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.csv")

    monkeypatch.setattr(reproduce.config, "row_ids", full)
    assert main(["inspo/xor/ab"]) == 4
    assert "No space left" in capsys.readouterr().err
