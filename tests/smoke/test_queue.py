"""The queue of long runs: order, failures, kills, pauses and full disks, with real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from limits import PATIENCE

from data.common.errors import DiskFull, ReproduceError
from data.common.paths import CONFIGS, ROOT, outputs_dir, records_dir
from reproduce import records
from reproduce.cli import main
from reproduce.jobs import queue
from reproduce.jobs.processes import PARENT, is_stopped
from reproduce.jobs.queue_file import of_this_world, read_queue
from reproduce.jobs.queue_state import folder_of, queue_pid

TINY = "algo.n_behavior_updates=2 algo.n_updates=3 protocol.eval_episodes=2 protocol.n_seeds=2"
LONG = "algo.n_behavior_updates=20 algo.n_updates=100000 run.chunk_size=5 run.checkpoint_every_s=0 protocol.n_seeds=2"
in_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


def written(tmp_path: Path, *commands: str) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text(json.dumps({"commands": list(commands)}))
    return path


def start(path: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "reproduce", "queue", str(path), "--nice", "0", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def state_of(path: Path) -> list[dict]:
    try:
        lines = (folder_of(path) / "state.jsonl").read_text().splitlines()
    except OSError:
        return []
    return [json.loads(line) for line in lines]


def wait(until, process: subprocess.Popen, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the cores are not shared out by session here")
@pytest.mark.parametrize(("niceness", "found"), [(19, "nice 19"), (0, "nice 0")])
def test_a_queue_without_a_terminal_gives_way_with_its_session(niceness, found):
    shown = "print(open('/proc/self/autogroup').read())"
    run = [sys.executable, "-c", f"from reproduce.jobs.processes import give_way; give_way({niceness}); {shown}"]
    ended = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True, start_new_session=True)
    assert ended.stdout.strip().endswith(found)
    command = [*run[:-1], f"import subprocess, sys; subprocess.run({run!r}, check=True); {shown}"]
    after = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, start_new_session=True)
    assert after.stdout.split("\n\n")[-2].endswith("nice 0")  # what runs in the session afterwards has its share again


def job_processes() -> list[int]:
    """Of this test's queues."""
    mine, found = f"REPRODUCE_HOME={outputs_dir()}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_job = b"reproduce.cli.job import job" in (folder / "cmdline").read_bytes()
            if is_job and mine in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("commands: [", "cannot be read as YAML"),
        ("commands: [inspo/xor/ab]\ncommands: [inspo/xor/all]", "the key commands stands twice, on lines 1 and 2"),
        ("- inspo/xor/ab", "expected `commands:`"),
        ("commands: []", "expected `commands:`"),
        ("commands: inspo/xor/ab", "must be a list"),
        ("comands: [inspo/xor/ab]", "unknown key comands. Nearest: commands"),
        ("commands: [inspo/xor/ab]\ncomands: []", "unknown key comands. Nearest: commands"),
        (
            "commands: [inspo/xor/ab, inspo/xor/abb]",
            "command 2, 'inspo/xor/abb': no row or claim named 'inspo/xor/abb'",
        ),
        ("commands: [inspo/xor/ab algo.alfa=1]", "unknown setting 'algo.alfa'"),
        ("commands: [inspo/xor/ab algo.alpha=much]", "algo.alpha"),
        ("commands: [inspo/xor/ab launcher=joblib]", "unknown setting 'launcher'"),
        ("commands: [inspo/xor/ab algo.lr=0.001, inspo/xor/ab algo.lr=1e-3]", "is the experiment of"),
        ("commands: [inspo/xor/ab, inspo/xor/ab run.threads=2]", "is the experiment of inspo/xor/ab;"),
        ("commands: [inspo/xor/ab, 'inspo/xor/*']", "command 2, 'inspo/xor/*': inspo/xor/ab is there already"),
        (
            "commands: [{row: inspo/xor/ab}]",
            "commands.0: {'row': 'inspo/xor/ab'}: expected a row and",
        ),
        ('commands: ["inspo/xor/ab \'algo"]', "expected a row and its overrides in one string"),
    ],
)
def test_bad_files_are_refused_before_anything_starts(text, words, tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert main(["queue", str(path)]) == 4
    assert words in capsys.readouterr().err
    assert not (outputs_dir() / "queue").exists()


def test_two_dataset_seeds_are_two_experiments(tmp_path):
    row = f"omar/mpe/tag_expert data.kind=official data.root={tmp_path}"
    assert len(read_queue(written(tmp_path, f"{row} data.seed=1", f"{row} data.seed=2"))) == 2


def test_a_broken_record_ends_a_queue_before_anything_starts(tmp_path, capsys):
    path = records_dir() / "inspo/xor/ab" / "20260101T000000Z-abcdef.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"broken')
    assert main(["queue", str(written(tmp_path, f"inspo/xor/ab {TINY}")), "--nice", "0"]) == 4
    assert "restore it from git, or delete it" in capsys.readouterr().err


def test_a_row_whose_config_changed_while_it_ran_is_not_run_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(queue, "recorded", lambda *_, **__: None)  # of the settings that the queue read
    assert main(["queue", str(written(tmp_path, f"inspo/xor/ab {TINY}")), "--nice", "0"]) == 4
    said = capsys.readouterr().out
    assert "the row's configs have changed; start the queue again" in said
    assert said.count("starts (1 of 1)") == 1
    assert len(records.read("inspo/xor/ab")) == 1


def test_a_run_in_another_world_than_the_rows_is_done_only_where_this_is_that_world(tmp_path):
    (job,) = read_queue(written(tmp_path, "inspo/xor/ab"))
    for found, here in ((job.settings.task.fingerprint, True), ("another", False)):
        assert of_this_world(job.settings, {"environment": {"fingerprint": found}}) is here


def test_a_job_whose_parent_ended_before_it_looked_ends_too():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    code = "from reproduce.jobs.processes import follow_parent; follow_parent(); import time; time.sleep(600)"
    job = [sys.executable, "-c", code]
    ended = subprocess.run(job, cwd=ROOT, env=os.environ | {PARENT: str(gone.pid)}, timeout=PATIENCE, check=False)
    assert ended.returncode == 1


@pytest.mark.parametrize("text", ["null\n", "{}\n", '{"command": "a'])
def test_a_damaged_state_is_told_as_such(text, tmp_path, capsys):
    path = written(tmp_path, "inspo/xor/ab")
    state = folder_of(path) / "state.jsonl"
    state.parent.mkdir(parents=True)
    state.write_text(text)
    assert main(["queue", str(path), "--status"]) == 4
    assert "state.jsonl is damaged" in capsys.readouterr().err


def test_what_never_ran_cannot_be_asked_or_paused(tmp_path, capsys):
    path = written(tmp_path, "inspo/xor/ab")
    for option, words in (
        ("--status", "has never run here"),
        ("--pause", "is not running"),
        ("--resume", "not running"),
    ):
        assert main(["queue", str(path), option]) == 4
        assert words in capsys.readouterr().err
    assert main(["queue", str(tmp_path / "none.yaml")]) == 4
    assert "cannot be read" in capsys.readouterr().err
    for option, value in (("--jobs", "0"), ("--nice", "20"), ("--nice", "-1")):
        assert main(["queue", str(path), option, value]) == 4


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((CONFIGS / "queue").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_queues_of_this_project_can_run(path):
    jobs = read_queue(path)
    assert all(job.settings.values["run"]["threads"] == 1 for job in jobs)
    changed = [job.command for job in jobs if " algo" in job.command]  # another algorithm, or a setting of its own
    assert [job.command for job in jobs if job.settings.differs] == changed  # the rest is judged


@pytest.mark.slow
def test_a_queue_goes_on_after_a_failure_and_skips_what_is_recorded(tmp_path):
    path = written(
        tmp_path, f"inspo/xor/ab {TINY}", f"inspo/xor/ab {TINY} data.kind=official", f"inspo/xor/ab_b* {TINY}"
    )
    process = start(path)
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4
    assert "2 of 3 rows are recorded, these failed:" in printed
    assert "official data needs data.root=DIR" in printed.splitlines()[-1]
    states = state_of(path)
    assert [line["command"].split()[0] for line in states] == ["inspo/xor/ab", "inspo/xor/ab", "inspo/xor/ab_ba"]
    assert [line["state"] for line in states] == ["done", "failed", "done"]
    assert states[2]["note"] == "NOT COMPARABLE"
    record = records.read("inspo/xor/ab", "row")[-1]
    assert record is not None
    assert record["provenance"]["machine"]["threads"] == 1

    again = start(path)
    printed, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 4  # what failed is tried again
    assert len(records.read("*")) == 2
    assert printed.count("starts (") == 1


@pytest.mark.slow
@in_proc
def test_a_killed_queue_takes_its_job_along_and_goes_on_from_the_checkpoint(tmp_path, capsys):
    path = written(tmp_path, f"inspo/xor/ab {LONG}")
    process = start(path)
    wait(lambda: list(outputs_dir().rglob("last.ckpt")) and any(s["update"] for s in state_of(path)), process)
    (line,) = state_of(path)
    assert line["state"] == "running"
    assert 0 < line["update"] < line["n_updates"] == 100020
    assert line["updates_per_s"] > 0
    assert line["hours_left"] > 0
    assert main(["queue", str(path)]) == 4  # a second one
    assert "is running already" in capsys.readouterr().err

    (job,) = job_processes()
    assert main(["queue", str(path), "--pause"]) == 0
    wait(lambda: is_stopped(job), process)
    assert main(["queue", str(path), "--status"]) == 0
    assert f"{path}: paused, process {process.pid}" in capsys.readouterr().out
    assert main(["queue", str(path), "--resume"]) == 0
    wait(lambda: not is_stopped(job), process)

    os.kill(process.pid, signal.SIGSTOP)
    wait(lambda: is_stopped(job), process)
    process.kill()  # while it is paused
    process.communicate()
    deadline = time.monotonic() + PATIENCE
    while job_processes() or queue_pid(folder_of(path)):  # a stopped job too ends with its queue
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert main(["queue", str(path), "--status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queue"] == "not running"

    again = start(path)
    logs = list(folder_of(path).glob("*.log"))
    wait(lambda: "resumes at update" in logs[0].read_text(), again)
    again.send_signal(signal.SIGINT)
    printed, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 130
    assert "the same command continues" in printed
    assert state_of(path)[0]["state"] == "waiting"


def ended(code: int) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    process.wait()
    return process


def test_a_full_disk_pauses_the_queue_until_there_is_room(tmp_path, monkeypatch, capsys):
    (job, other) = read_queue(written(tmp_path, f"inspo/xor/ab {TINY}", f"inspo/xor/all {TINY}"))
    queued = queue.Queue([job, other], tmp_path, 0)
    queued._files(job)["log"].write_text("")
    free = {"bytes": 2_000_000}
    usage = type("Usage", (), {"free": property(lambda self: free["bytes"])})()
    monkeypatch.setattr(queue.shutil, "disk_usage", lambda path: usage)
    job.process, job.starts = ended(queue.NO_ROOM), 1
    queued._look_after(job)
    assert (job.state, job.process) == ("no room", None)
    assert f"{tmp_path} is full: inspo/xor/ab" in capsys.readouterr().out
    assert state_of_folder(tmp_path)[0]["note"] == f"the disk of {tmp_path} is full"

    begun, finished = [], ended(0)
    monkeypatch.setattr(queue.subprocess, "Popen", lambda command, **rest: begun.append(command[5]) or finished)
    queued._begin(job, 1)
    queued._begin(other, 2)  # which would fill the disk again
    assert begun == []
    free["bytes"] += queue.MORE_ROOM
    queued._files(job)["progress"].write_text('{"unit": "updates", "done": 9, "total": 9, "per_s": 1}')
    queued._begin(job, 1)
    assert begun == ["inspo/xor/ab"]
    assert state_of_folder(tmp_path)[0]["update"] is None  # what an earlier process wrote is not this one's
    assert job.starts == 1  # waiting for room is no failure of the row


def state_of_folder(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "state.jsonl").read_text().splitlines()]


def test_a_job_that_dies_on_a_full_disk_waits_too(tmp_path, monkeypatch):
    (job,) = read_queue(written(tmp_path, f"inspo/xor/ab {TINY}"))
    queued = queue.Queue([job], tmp_path, 0)
    queued._files(job)["log"].write_text("")  # nothing could be written there
    usage = type("Usage", (), {"free": 0})()
    monkeypatch.setattr(queue.shutil, "disk_usage", lambda path: usage)
    job.process, job.starts = ended(1), 1
    queued._look_after(job)
    assert (job.state, job.starts) == ("no room", 0)


def test_a_row_whose_process_dies_is_started_once_more_then_fails(tmp_path, capsys):
    (job,) = read_queue(written(tmp_path, f"inspo/xor/ab {TINY}"))
    queued = queue.Queue([job], tmp_path, 0)
    queued._files(job)["log"].write_text("MemoryError\n")
    job.process, job.starts = ended(9), 1
    queued._look_after(job)
    assert job.state == "waiting"
    job.process, job.starts = ended(9), 2
    queued._look_after(job)
    assert (job.state, job.note) == ("failed", "its process died 2 times, exit code 9; MemoryError")


def test_a_queue_survives_a_state_file_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (job,) = read_queue(written(tmp_path, f"inspo/xor/ab {TINY}"))

    def full(path, text):
        raise DiskFull("cannot write state.jsonl: No space left on device.")

    monkeypatch.setattr(queue, "write_text", full)
    queued = queue.Queue([job], tmp_path, 0)
    queued._write_state()
    queued._write_state()
    assert capsys.readouterr().out.count("No space left") == 1


def test_errors_of_libraries_on_a_full_disk_are_errors_of_space(tmp_path, monkeypatch):
    from data.common import files

    def broken(partial):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    with pytest.raises(ReproduceError) as caught:
        files.write_with(tmp_path / "a", broken)
    assert not isinstance(caught.value, DiskFull)
    usage = type("Usage", (), {"free": 4096})()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match="file write failed"):
        files.write_with(tmp_path / "a", broken)
