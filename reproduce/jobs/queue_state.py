"""A queue seen from outside: where it keeps its state, what it does, and how it is paused."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from data.common.environment import is_alive
from data.common.errors import ReproduceError
from data.common.paths import outputs_dir
from reproduce.jobs.locks import is_free
from reproduce.jobs.processes import is_stopped

ENDED = ("done", "failed")  # states of a job that is not started again


def folder_of(path: Path) -> Path:
    """The folder in which the queue of this file keeps its state: outputs/queue/<stem>-<hash of the path>."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]
    return outputs_dir().resolve() / "queue" / f"{path.stem}-{digest}"


def queue_status(path: Path) -> dict[str, Any]:
    """{"queue": running, paused or not running, "pid": its process or None, "jobs": lines of the state file}.

    Raises ReproduceError where this queue has never run.
    """
    folder = folder_of(path)
    try:
        text = (folder / "state.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        if not all(isinstance(line, dict) and {"command", "state"} <= line.keys() for line in lines):
            raise ValueError("a line is no job")
    except OSError as error:
        raise ReproduceError(f"the queue of {path} has never run here ({folder} holds no state).") from error
    except ValueError as error:
        raise ReproduceError(
            f"{folder / 'state.jsonl'} is damaged ({error}): `reproduce queue {path}` writes it anew, records and "
            "checkpoints say what is done."
        ) from error
    pid = queue_pid(folder)
    state = "not running" if pid is None else "paused" if is_stopped(pid) else "running"
    return {"queue": state, "pid": pid, "jobs": lines}


def signal_queue(path: Path, which: int) -> None:
    """Send a signal to the queue's process; SIGSTOP stops its jobs too, SIGCONT lets all go on.

    Raises ReproduceError where this queue is not running.
    """
    pid = queue_pid(folder_of(path))
    if pid is None:
        raise ReproduceError(f"the queue of {path} is not running here; `reproduce queue {path}` starts it.")
    os.kill(pid, which)


def queue_pid(folder: Path) -> int | None:
    """The queue's process, as long as it holds the lock."""
    lock = folder / "lock"
    try:
        pid = None if is_free(lock) else int(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return pid if pid and is_alive(pid) else None  # the rows of a killed queue hold the lock for a moment longer
