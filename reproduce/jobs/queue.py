"""Rows that take days: `reproduce queue FILE` works through them in order, at low priority, beside other work.

Each row runs in a process of its own, on one thread. It ends when the queue does and stops while the queue is stopped
(SIGSTOP, or `--pause`), so a killed queue loses what is younger than the last checkpoint. A row that records/ holds is
finished: a row recorded with exactly these settings is skipped, however often the queue is started.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from data.common.errors import DiskFull, ReproduceError
from data.common.files import is_full, write_text
from reproduce.core.ending import Fault, keeps
from reproduce.jobs.locks import hold_with_children
from reproduce.jobs.processes import (
    NO_ROOM,
    POLL_S,
    as_parent,
    give_way,
    is_stopped,
    python,
    python_path,
    thread_variables,
)
from reproduce.jobs.queue_file import Job, of_this_world, read_queue, recorded
from reproduce.jobs.queue_state import ENDED, folder_of
from reproduce.records import of_rows, read, read_sound
from reproduce.records.places import without_places

STATE_S = 15.0  # between two versions of the state file
RETRY_S = 600.0  # a job that waits for room is tried again, or as soon as there is more
MORE_ROOM = 100_000_000  # bytes
STARTS = 2  # of a job whose process dies
ROW = "from reproduce.cli.job import job; job()"  # named in text: a job is the command, which imports this room


def run_queue(path: Path, n_jobs: int = 1, niceness: int = 19, further: Sequence[str] = ()) -> int:
    """Work until every row is recorded or has failed; 0 if all are recorded, 5 after a fault in the program, else 4.
    `niceness` 19: only what others leave of the cores. `further` overrides hold for all rows.

    Raises ReproduceError for a bad file, or when this file's queue is running already.
    """
    if n_jobs < 1 or not 0 <= niceness <= 19:
        raise ReproduceError(f"--jobs {n_jobs} --nice {niceness}: at least one job, and a niceness from 0 to 19.")
    jobs, folder = read_queue(path, further), folder_of(path)
    otherwise = f"the queue of {path} is running already; `reproduce queue {path} --status` asks it."
    with hold_with_children(
        folder / "lock", otherwise, patience_s=2.0
    ) as lock:  # a killed queue's jobs hold it until they notice
        with suppress(OSError):
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        give_way(niceness)
        keeps("rows in progress have their checkpoints, the others their records")
        queue = Queue(jobs, folder, lock.fileno())
        try:
            queue.work(n_jobs)
        finally:
            queue.stop()
    failed = [job for job in jobs if job.state == "failed"]
    _say(f"{len(jobs) - len(failed)} of {len(jobs)} rows are recorded" + (", these failed:" if failed else ""))
    for job in failed:
        _say(f"  {job.command}: {job.note}")
    return max((job.code for job in failed), default=0)


class Queue:
    """The jobs of a queue while it runs; `lock` is the descriptor of its lock, which the jobs' processes inherit."""

    def __init__(self, jobs: list[Job], folder: Path, lock: int):
        self.jobs, self.folder, self.lock = jobs, folder, lock
        self.written_at = float("-inf")
        self.full = False  # said already

    def work(self, n_jobs: int) -> None:
        for job in self.jobs:  # a record that cannot be read ends the queue here: its run would be repeated
            broken: dict[Path, str] = {}
            read(job.row, "row", broken)
            for path in of_rows(broken):
                raise ReproduceError(broken[path])
        while any(job.state not in ENDED for job in self.jobs):
            for number, job in enumerate(self.jobs, 1):
                if job.process is not None:
                    self._look_after(job)
                elif sum(other.process is not None for other in self.jobs) < n_jobs:
                    self._begin(job, number)
            if time.monotonic() - self.written_at >= STATE_S:
                self._write_state()
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Rows in progress go on from their checkpoints when the queue is started again."""
        for job in self.jobs:
            if job.process is not None:
                job.process.kill()
                job.process.wait()
                job.process, job.state = None, "waiting"
        self._write_state()

    def _begin(self, job: Job, number: int) -> None:
        if job.state in ENDED or not self._has_room(job):
            return
        if job.starts == 0 and (record := recorded(job.settings, where=partial(of_this_world, job.settings))):
            return self._end(job, "done", f"{record['verdict']['headline']}, recorded {record['created'][:10]}")
        job.starts += 1
        job.began = datetime.now(UTC).isoformat(timespec="seconds")
        job.state, job.note, job.progress = "running", "", {}
        _say(f"{job.command} starts ({number} of {len(self.jobs)})")
        files = self._files(job)
        files["progress"].unlink(missing_ok=True)  # an earlier process's
        command = python(ROW, str(files["progress"]), job.row, *job.settings.overrides)
        env = os.environ | thread_variables(1) | {"PYTHONPATH": python_path()} | as_parent()
        with open(files["log"], "ab") as log:
            job.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                process_group=0,  # a Ctrl-C is the queue's; stopped jobs of a killed queue are ended by the kernel
                pass_fds=[self.lock],  # the lock is free when queue and jobs have ended
            )
        self._write_state()

    def _look_after(self, job: Job) -> None:
        assert job.process is not None
        code = job.process.poll()
        with suppress(OSError, ValueError):
            job.progress = json.loads(self._files(job)["progress"].read_text(encoding="utf-8"))
        if code is None:
            if is_stopped(job.process.pid):  # it stopped with the queue, which goes on now
                os.kill(job.process.pid, signal.SIGCONT)
            return
        job.process = None
        if record := recorded(job.settings, where=partial(of_this_world, job.settings)):
            return self._end(job, "done", record["verdict"]["headline"])
        asked = without_places({"overrides": job.settings.overrides})["overrides"]
        made = [record for record in read_sound(job.row, "row") if record["created"] >= job.began]
        if any(record["overrides"] == asked for record in made):
            why = "it was recorded with other settings than the queue read as it began: the row's configs have changed"
            return self._end(job, "failed", f"{why}; start the queue again")
        lines = self._files(job)["log"].read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = [line for line in lines if line.startswith("reproduce: ")]  # libraries warn after it
        last = (said or lines or [""])[-1].removeprefix("reproduce: ")
        if code == NO_ROOM or (code and is_full(self.folder)):  # a log on a full disk says nothing of the cause
            job.state, job.note, job.starts = "no room", f"the disk of {self.folder} is full", job.starts - 1
            job.free, job.again_at = shutil.disk_usage(self.folder).free, time.monotonic() + RETRY_S
            _say(f"{job.note}: {job.command} waits for room and goes on from its checkpoint")
            return self._write_state()
        if code in (ReproduceError.exit_code, Fault.exit_code):
            job.code = code
            return self._end(job, "failed", last)
        if job.starts >= STARTS:
            return self._end(job, "failed", f"its process died {job.starts} times, {_how(code)}; {last}")
        job.state = "waiting"
        _say(f"{job.command}: its process died ({_how(code)}); it is started again from its checkpoint")

    def _has_room(self, job: Job) -> bool:
        """Whether the disk has room again, or it is time to try, for the job that found it full. Others wait for it."""
        if job.state != "no room":
            return all(other.state != "no room" for other in self.jobs)
        return time.monotonic() >= job.again_at or shutil.disk_usage(self.folder).free >= job.free + MORE_ROOM

    def _end(self, job: Job, state: str, note: str) -> None:
        job.state, job.note = state, note
        _say(f"{job.command}  {note}" if state == "done" else f"{job.command} failed: {note}")
        self._write_state()

    def _files(self, job: Job) -> dict[str, Path]:
        stem = f"{job.row.replace('/', '-')}-{hashlib.sha256(job.command.encode()).hexdigest()[:6]}"
        return {kind: self.folder / f"{stem}.{kind}" for kind in ("log", "progress")}

    def _write_state(self) -> None:
        self.written_at = time.monotonic()
        try:
            write_text(self.folder / "state.jsonl", "".join(json.dumps(job.line()) + "\n" for job in self.jobs))
            self.full = False
        except DiskFull as error:
            if not self.full:
                _say(str(error))
            self.full = True


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _say(text: str) -> None:
    with suppress(OSError):  # the output may lie on the full disk, or nobody reads it any more
        print(f"{datetime.now():%Y-%m-%d %H:%M}  {text}", flush=True)
