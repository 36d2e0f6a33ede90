"""Processes that start rows, and the rows that end, stop and go on with them."""

import atexit
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from data.common.paths import ROOT

POLL_S = 0.2
PARENT = "REPRODUCE_PARENT"  # the variable of `as_parent`
NO_ROOM = 75  # exit code of a job that found the disk full (EX_TEMPFAIL: repeating it later may work)


def python(code: str, *arguments: str) -> list[str]:
    """The command of a Python process that runs `code`; the current folder is not on its path."""
    return [sys.executable, "-P", "-c", code, *arguments]


def python_path() -> str:
    """PYTHONPATH of a process that imports this checkout."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def thread_variables(n_threads: int) -> dict[str, str]:
    """The environment in which numerical libraries use so many threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))


def give_way(niceness: int) -> None:
    """Leave the cores to others from now on, this process and those it starts.

    Where Linux shares cores out by session, niceness alone counts within the session only: without a terminal, whose
    other programs it would slow down, the session gives way too, until this process ends.
    """
    if not niceness:
        return
    os.nice(niceness)
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        with suppress(OSError, IndexError):
            session = Path("/proc/self/autogroup")  # "/autogroup-25 nice 0"
            before = session.read_text(encoding="utf-8").split()[-1]
            session.write_text(str(niceness), encoding="utf-8")
            atexit.register(_restore, session, before)


def _restore(session: Path, niceness: str) -> None:
    with suppress(OSError):
        session.write_text(niceness, encoding="utf-8")


def as_parent() -> dict[str, str]:
    """The environment by which a child that starts knows this process, should it end before the child looks."""
    return {PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """End this process when its parent has ended."""
    _watch_parent(stop_too=False)


def follow_parent() -> None:
    """End this process when its parent has ended, and stop it while the parent is stopped; the parent wakes it."""
    _watch_parent(stop_too=True)


def _watch_parent(stop_too: bool) -> None:
    parent = int(os.environ.pop(PARENT, os.getppid()))  # children of this process have another

    def watch() -> None:
        while os.getppid() == parent:
            if stop_too and is_stopped(parent):
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped; False where /proc does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False
