"""Files in the making: their names tell who makes them, and those of processes that are gone are swept."""

import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path

from data.common.environment import is_alive

NAME = re.compile(r"\..*\.(?P<pid>\d+)(@(?P<host>[^/]+))?\.(partial|new)")
KINDS = ("partial", "new")
OLD_S = 24 * 3600.0  # of a file whose maker is not known to be gone, on another machine say
STILL_S = 60.0  # the same, where the maker's number is no process here


def in_the_making(path: Path, kind: str = "partial") -> Path:
    """The name beside `path` of a file that this process fills before it takes that name."""
    return path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}.{kind}")


def sweep(folder: Path, alone: bool = False) -> None:
    """Remove the files in the making that lie in `folder` itself and whose processes are gone.

    `alone`: no other process writes there (the caller holds its lock), so that all of them are left over.
    """
    with suppress(OSError):
        for path in [path for kind in KINDS for path in folder.glob(f".*.{kind}")]:
            if alone or _left_over(path):
                with suppress(OSError):
                    path.unlink()


def _left_over(path: Path) -> bool:
    age, made_by = time.time() - path.lstat().st_mtime, NAME.fullmatch(path.name)
    if made_by is None or made_by["host"] not in (None, socket.gethostname()):
        return age > OLD_S
    if is_alive(int(made_by["pid"])):
        return False
    return made_by["host"] is not None or age > STILL_S
