"""Rows that take days: `reproduce queue FILE` works through them in order, at low priority, beside other work.

Each row runs in a process of its own, on one thread. It ends when the queue does and stops while the queue is stopped
(SIGSTOP, or `--pause`), so a killed queue loses what is younger than the last checkpoint. What records/ holds is
finished: a row recorded with exactly these settings is skipped, however often the queue is started.
"""

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from data.common.errors import DiskFull, ReproduceError, nearest
from data.common.files import is_full, write_text
from data.common.paths import ROOT, outputs_dir
from reproduce import records
from reproduce.config import Settings, compose, expand, row_ids
from reproduce.core import console
from reproduce.jobs.sweep import hold, taken

POLL_S = 0.2
STATE_S = 15.0  # between two versions of the state file
NO_ROOM = 75  # exit code of a job that found the disk full (EX_TEMPFAIL: repeating it later may work)
RETRY_S = 600.0  # a job that waits for room is tried again, or as soon as there is more
MORE_ROOM = 100_000_000  # bytes
STARTS = 2  # of a job whose process dies
ENDED = ("done", "failed")


@dataclass
class Job:
    """One row of the queue. state: waiting, running, no room, done, failed; note: the verdict, or what went wrong."""

    command: str
    row: str
    settings: Settings
    state: str = "waiting"
    note: str = ""
    starts: int = 0
    process: subprocess.Popen | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    free: int = 0  # bytes of disk when there was no room
    again_at: float = 0.0

    def line(self) -> dict[str, Any]:
        """The job's line of the state file; None = unknown."""
        told = self.progress if self.progress.get("unit") == "updates" else {}
        building = "" if told else self.progress.get("text", "")
        line = {
            "command": self.command,
            "state": self.state,
            "update": told.get("done"),
            "n_updates": told.get("total"),
        }
        line |= {"updates_per_s": None, "hours_left": None, "note": self.note or building}
        if self.state == "done":
            line["update"] = line["n_updates"]
        elif self.state == "running" and told and told["per_s"]:
            hours = (told["total"] - told["done"]) / told["per_s"] / 3600
            line |= {"updates_per_s": round(told["per_s"], 2), "hours_left": round(hours, 2)}
        return line


def read_queue(path: Path) -> list[Job]:
    """The jobs of a queue file, {"commands": ["ROW KEY=VALUE ..", ..]}, globs of rows expanded, all settings composed.

    Raises ReproduceError naming the command for whatever could not run: nothing has started then.
    """
    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ReproduceError(f"queue file {path} cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise ReproduceError(f"queue file {path} is not YAML: {error}") from error
    if not isinstance(stated, dict) or not isinstance(stated.get("commands"), list) or not stated["commands"]:
        raise ReproduceError(f"queue file {path}: expected `commands:` and a list of rows with their overrides.")
    for key in stated:
        if key != "commands":
            raise ReproduceError(f"queue file {path}: unknown key {key!r}.{nearest(str(key), ['commands'])}")
    jobs: dict[str, Job] = {}
    for number, command in enumerate(stated["commands"], 1):
        where = f"queue file {path}, command {number}, {command!r}"
        try:
            target, *overrides = shlex.split(command) if isinstance(command, str) else []
        except ValueError as error:
            raise ReproduceError(f"{where}: expected a row and its overrides in one string.") from error
        if not any(o.startswith(("run.threads=", "threads=")) for o in overrides):
            overrides.append("run.threads=1")
        try:
            settings = [compose(row, overrides) for row in expand(target, row_ids())]
        except ReproduceError as error:
            raise ReproduceError(f"{where}: {error} Nothing was started.") from error
        for one in settings:
            text = shlex.join([one.row, *shlex.split(command)[1:]])
            if text in jobs:
                raise ReproduceError(f"{where}: {text} is there already; one of the two has to go.")
            jobs[text] = Job(text, one.row, one)
    return list(jobs.values())


def recorded(settings: Settings) -> dict[str, Any] | None:
    """The newest record of exactly these settings, seeds and kind of data; None where there is none."""
    protocol, data = settings.values["protocol"], settings.values["data"]
    seeds = list(range(protocol["first_seed"], protocol["first_seed"] + protocol["n_seeds"]))
    for record in reversed(records.read(settings.row, "row")):
        used = record["config"]["data"]
        same = all(used.get(key) == data[key] for key in ("kind", "seed"))
        if same and record["config_fingerprint"] == settings.fingerprint and record["seeds"] == seeds:
            return record
    return None


def folder_of(path: Path) -> Path:
    """Where the queue of this file keeps its state: outputs/queue/<stem>-<hash of the path>."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]
    return outputs_dir().resolve() / "queue" / f"{path.stem}-{digest}"


# ---- the queue


def run_queue(path: Path, n_jobs: int = 1, niceness: int = 19) -> int:
    """Work until every row is recorded or has failed; 0 if all are recorded, else 4. `niceness` 19: only what others
    leave of the cores.

    Raises ReproduceError for a bad file, or when this file's queue is running already.
    """
    if n_jobs < 1 or not 0 <= niceness <= 19:
        raise ReproduceError(f"--jobs {n_jobs} --nice {niceness}: at least one job, and a niceness from 0 to 19.")
    jobs, folder = read_queue(path), folder_of(path)
    otherwise = f"the queue of {path} is running already; `reproduce queue {path} --status` asks it."
    with hold(folder / "lock", otherwise, patience_s=2.0) as lock:  # a killed queue's jobs hold it until they notice
        with suppress(OSError):
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        os.nice(niceness)
        queue = _Queue(jobs, folder, lock.fileno())
        try:
            queue.work(n_jobs)
        finally:
            queue.stop()
    failed = [job for job in jobs if job.state == "failed"]
    _say(f"{len(jobs) - len(failed)} of {len(jobs)} rows are recorded" + (", these failed:" if failed else ""))
    for job in failed:
        _say(f"  {job.command}: {job.note}")
    return ReproduceError.exit_code if failed else 0


class _Queue:
    def __init__(self, jobs: list[Job], folder: Path, lock: int):
        self.jobs, self.folder, self.lock = jobs, folder, lock
        self.written_at = float("-inf")
        self.full = False  # said already

    def work(self, n_jobs: int) -> None:
        for job in self.jobs:  # a record that cannot be read ends the queue here and not in a week
            recorded(job.settings)
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
        if job.starts == 0 and (record := recorded(job.settings)):
            return self._end(job, "done", f"{record['verdict']['headline']}, recorded {record['created'][:10]}")
        job.starts += 1
        job.state, job.note, job.progress = "running", "", {}
        _say(f"{job.command} starts ({number} of {len(self.jobs)})")
        files = self._files(job)
        files["progress"].unlink(missing_ok=True)  # an earlier process's
        code = "from reproduce.jobs.queue import job; job()"
        command = [sys.executable, "-P", "-c", code, str(files["progress"]), job.row, *job.settings.overrides]
        env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
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
            if _stopped(job.process.pid):  # it stopped with the queue, which goes on now
                os.kill(job.process.pid, signal.SIGCONT)
            return
        job.process = None
        try:
            record = recorded(job.settings)
        except ReproduceError as error:
            return self._end(job, "failed", str(error))
        if record:
            return self._end(job, "done", record["verdict"]["headline"])
        last = (self._files(job)["log"].read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
        last = last.removeprefix("reproduce: ")
        if code == NO_ROOM or (code and is_full(self.folder)):  # a log on a full disk says nothing of the cause
            job.state, job.note, job.starts = "no room", f"the disk of {self.folder} is full", job.starts - 1
            job.free, job.again_at = shutil.disk_usage(self.folder).free, time.monotonic() + RETRY_S
            _say(f"{job.note}: {job.command} waits for room and goes on from its checkpoint")
            return self._write_state()
        if code == ReproduceError.exit_code:
            return self._end(job, "failed", last)
        if job.starts >= STARTS:
            return self._end(job, "failed", f"its process died {job.starts} times, {_how(code)}; {last}")
        job.state = "waiting"
        _say(f"{job.command}: its process died ({_how(code)}); it is started again from its checkpoint")

    def _has_room(self, job: Job) -> bool:
        """Where a job found the disk full: whether there is more by now, or it is time to try. Others wait for it."""
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


# ---- asking and pausing


def ask(path: Path, as_json: bool) -> int:
    """`--status`: the state file, and whether the queue is running, paused or not running."""
    folder = folder_of(path)
    try:
        text = (folder / "state.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise ReproduceError(f"the queue of {path} has never run here ({folder} holds no state).") from error
    pid = _pid(folder)
    state = "not running" if pid is None else "paused" if _stopped(pid) else "running"
    if as_json:
        print(json.dumps({"queue": state, "pid": pid, "jobs": lines}, indent=1))
        return 0
    print(f"{path}: {state}" + (f", process {pid}" if pid else ""))
    for line in lines:
        how = [line["state"] if state != "not running" or line["state"] in ENDED else "waiting"]
        how += [f"update {line['update']:,} of {line['n_updates']:,}"] if line["update"] is not None else []
        how += [f"{line['updates_per_s']:g}/s"] if line["updates_per_s"] else []
        how += [f"{line['hours_left']:g} h left"] if line["hours_left"] is not None else []
        print("  ".join([f"  {line['command']}", ", ".join(how), line["note"]]).rstrip())
    return 0


def send(path: Path, which: int) -> int:
    """`--pause` and `--resume`: stops the queue's process and with it its jobs, or lets them go on."""
    pid = _pid(folder_of(path))
    if pid is None:
        raise ReproduceError(f"the queue of {path} is not running here; `reproduce queue {path}` starts it.")
    os.kill(pid, which)
    return 0


def _pid(folder: Path) -> int | None:
    """The queue's process, as long as it holds the lock."""
    try:
        with open(folder / "lock") as file:
            return None if taken(file) else int(file.read())
    except (OSError, ValueError):
        return None


# ---- a job


def job() -> None:
    """The process of a row: PROGRESS ROW OVERRIDES.. Exits as the command does, or with NO_ROOM."""
    from reproduce.cli.app import run_one

    progress, row, *overrides = sys.argv[1:]
    _follow_parent()
    console.report_to(Path(progress))
    try:
        code, error = run_one(row, overrides)["exit_code"], None
    except (ReproduceError, OSError) as raised:
        full = isinstance(raised, DiskFull) or (isinstance(raised, OSError) and is_full(outputs_dir(), raised))
        code, error = NO_ROOM if full else ReproduceError.exit_code, raised
    with suppress(OSError):  # the log may lie on the full disk
        if error:
            print(f"reproduce: {error}", file=sys.stderr, flush=True)
    os._exit(code)  # without a last flush, which would fail there and change the code


def _follow_parent() -> None:
    """End when the queue has ended, stop while it is stopped; the queue wakes its jobs when it goes on."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            if _stopped(parent):
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _stopped(pid: int) -> bool:
    """Whether a process is stopped; False where /proc does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False
