"""How the command ends: stopped by a signal, by a fault in the program, or because nobody reads its output.

Exit codes 0 to 3 are verdicts, 4 is ReproduceError. A fault in the program is 5. A signal ends with 128 plus its
number: 130 for an interrupt (Ctrl-C), 143 for SIGTERM, 129 for a terminal that closed.
"""

import os
import platform
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from data.common.errors import ReproduceError
from data.common.files import write_text
from data.common.paths import outputs_dir

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_arrived: int | None = None
_kept = ""
_finished: list[Path] | None = None


class Stopped(BaseException):
    """A signal asked the process to end. It is no Exception, so that libraries hand it on."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Fault(ReproduceError):
    """A fault in the program, whose trace is in a file."""

    exit_code = 5


@contextmanager
def signals() -> Iterator[None]:
    """Within it these signals raise Stopped. A signal that the process was started to ignore stays ignored."""
    global _arrived, _kept
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _arrived, _kept = None, ""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        _arrived = None  # it stopped what was within
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def check() -> None:
    """Raises Stopped if a signal arrived: the exception is lost where it met a destructor or a callback of C code."""
    if _arrived is not None:
        raise Stopped(_arrived)


def keeps(text: str) -> None:
    """Say what a repeated command finds, should this one be stopped."""
    global _kept
    _kept = text


@contextmanager
def together() -> Iterator[None]:
    """Within it the checkpoints of finished runs stay until the outermost block ends as it should.

    A command of several runs that was stopped finds them when it is repeated, and trains none of them again.
    """
    global _finished
    if _finished is not None:
        yield
        return
    _finished = []
    try:
        yield
        for path in _finished:
            path.unlink(missing_ok=True)
    finally:
        _finished = None


def is_finished(checkpoint: Path) -> None:
    """Nothing is lost by removing this checkpoint, now or when all runs of the command are finished."""
    if _finished is None:
        checkpoint.unlink(missing_ok=True)
    else:
        _finished.append(checkpoint)


def stopped_line() -> str:
    """The line of a stopped command."""
    return "stopped; the same command continues" + (f": {_kept}" if _kept else "")


def fault(error: BaseException) -> Fault:
    """The error of an unforeseen exception; its trace is written under outputs/faults, or to a temporary file."""
    trace = "".join(traceback.format_exception(error))
    now = datetime.now(UTC)
    about = (
        f"{now.isoformat(timespec='seconds')}\n{sys.argv}\nPython {platform.python_version()}, {platform.platform()}"
    )
    name = f"{now:%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    what = f"{type(error).__name__}{f': {first}' if first else ''}"
    for folder in (lambda: outputs_dir() / "faults", lambda: Path(tempfile.mkdtemp(prefix="reproduce-fault-"))):
        with suppress(Exception):  # a full or read-only disk must not hide the fault
            path = folder() / name
            write_text(path, f"{about}\n\n{trace}")
            return Fault(f"a fault in the program, {what}; its trace is in {path}")
    return Fault(f"a fault in the program, {what}; its trace could not be written anywhere")


def as_error(error: Exception) -> ReproduceError:
    """The exception as an error with a message and an exit code: 4 where the user can mend it, else a fault, 5.

    Raises Stopped where a signal arrived: the exception is what a library made of it.
    """
    check()
    if isinstance(error, ReproduceError):
        return error
    if isinstance(error, OSError):
        return ReproduceError(f"{error}. Mend it and repeat the command: nothing half-written is read.")
    return fault(error)


def _stop(number: int, frame: FrameType | None) -> None:
    global _arrived
    _arrived = number
    raise Stopped(number)
