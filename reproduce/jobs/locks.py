"""Locks on files: they go with their process, however it ends."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from data.common.errors import ReproduceError


@contextmanager
def hold(path: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock of a file in this process alone. Raises ReproduceError(`otherwise`) when another holds it."""
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:  # an OSError too
        raise ReproduceError(otherwise) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


# filelock keeps the lock's descriptor to itself. The locks below stay on fcntl: children inherit some of them through
# `pass_fds`, so that a lock is free only when parent and children have ended, and others are looked at without being
# taken.


@contextmanager
def hold_with_children(path: Path, otherwise: str, patience_s: float = 0.0) -> Iterator[IO[str]]:
    """Hold the lock of a file in this process and in the children that inherit the open file.

    Raises ReproduceError(`otherwise`) if it is taken, and still taken `patience_s` seconds later.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(path, error) from error
    with file:
        if not take(file):
            time.sleep(patience_s)
            if not take(file):
                raise ReproduceError(otherwise)
        yield file


def take(file: IO[str]) -> bool:
    """Take the lock of an open file if it is free; whether this process has it now."""
    return _flock(file, fcntl.LOCK_EX)


def wait_for(file: IO[str]) -> None:
    """Take the lock of an open file as soon as it is free."""
    fcntl.flock(file, fcntl.LOCK_EX)


def is_free(path: Path | str) -> bool:
    """Whether nobody holds the lock of a file; several processes may ask at once."""
    with open(path, encoding="utf-8") as file:
        return _flock(file, fcntl.LOCK_SH)


def _flock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unwritable(path: Path, error: OSError) -> ReproduceError:
    return ReproduceError(f"cannot write {path}: {error.strerror or error}; REPRODUCE_HOME moves it.")
