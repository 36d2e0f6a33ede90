"""What a queue makes of records when the process of a job has ended."""

import json
import subprocess
import sys
from pathlib import Path

from test_records import record

from data.common.errors import ReproduceError
from reproduce import records
from reproduce.jobs import queue
from reproduce.jobs.queue_file import of_this_world, read_queue
from reproduce.records.places import without_places


def written(tmp_path: Path, *commands: str) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text(json.dumps({"commands": list(commands)}))
    return path


def ended(code: int) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", f"import os; os._exit({code})"])
    process.wait()
    return process


def test_a_record_of_another_world_does_not_stand_for_a_job_that_died(tmp_path):
    (job,) = read_queue(written(tmp_path, "inspo/xor/ab"))
    made = record(row="inspo/xor/ab")
    records.write(made | {"config": job.settings.values, "environment": made["environment"] | {"fingerprint": "other"}})
    queued = queue.Queue([job], tmp_path, 0)
    queued._files(job)["log"].write_text("")
    job.process, job.starts, job.began = ended(7), 1, "2998-01-01T00:00:00+00:00"
    queued._look_after(job)
    assert job.state == "waiting"


def test_a_world_that_cannot_be_made_here_ends_no_queue(tmp_path, monkeypatch):
    def absent(*_, **__):
        raise ReproduceError("SMAX needs the package jaxmarl")

    (job,) = read_queue(written(tmp_path, "inspo/xor/ab"))
    monkeypatch.setattr("data.worlds.fingerprint", absent)
    assert not of_this_world(job.settings, {"environment": {"fingerprint": "other"}})


def test_a_changed_config_is_told_of_rows_on_official_data_too(tmp_path, capsys):
    (job,) = read_queue(written(tmp_path, "inspo/bridge/optimal data.kind=official data.root=/srv/a(1)/official"))
    cut = without_places({"overrides": job.settings.overrides})["overrides"]
    records.write(record("2999-01-01T00:00:00+00:00", "inspo/bridge/optimal") | {"overrides": cut})
    queued = queue.Queue([job], tmp_path, 0)
    queued._files(job)["log"].write_text("")
    job.process, job.starts, job.began = ended(3), 1, "2998-01-01T00:00:00+00:00"
    queued._look_after(job)
    assert "configs have changed" in job.note
