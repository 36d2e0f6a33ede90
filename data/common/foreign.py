"""Files of unknown origin: only regular files are opened, none outside the folder that they came in."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
MOST_JSON = 1 << 30  # bytes


def check_regular(path: Path, within: Path | None = None) -> None:
    """Nothing for a regular file, or a link to one, that lies below the folder `within` when all links are followed.

    Raises FileNotFoundError where there is none, else ReproduceError: a pipe would be waited for, a link out of the
    folder would read what nobody published.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise ReproduceError(f"{path} is a link to {os.readlink(path)}, which is not there.") from None
        raise
    except OSError as error:  # also of a link to itself, and of a name that is too long
        raise ReproduceError(f"{path} cannot be read ({error.strerror}).") from error
    if not stat.S_ISREG(mode):
        raise ReproduceError(f"{path} is {KINDS.get(stat.S_IFMT(mode), 'no file')}, expected a file.")
    if within is not None and not path.resolve().is_relative_to(within.resolve()):
        raise ReproduceError(
            f"{path} leads out of its folder, to {path.resolve()}: refused. Put the file itself into {within}."
        )


def check_tree(folder: Path) -> None:
    """Raises ReproduceError for a link below `folder` that leads out of it, and for what is neither file nor folder."""
    root = folder.resolve()
    for place, folders, names in os.walk(root, onerror=_refuse):
        for name in folders:
            path = Path(place, name)
            if path.is_symlink():
                raise ReproduceError(f"{path} is a link to the folder {os.readlink(path)}: refused. Copy the folder.")
        for name in names:
            check_regular(Path(place, name), root)


def _refuse(error: OSError) -> None:
    raise ReproduceError(f"{error.filename} cannot be read ({error.strerror}).") from error


def read_json(path: Path) -> Any:
    """What the file holds. Raises FileNotFoundError, and ReproduceError for what is no readable, modest JSON file."""
    check_regular(path)
    try:
        if path.stat().st_size > MOST_JSON:
            raise ValueError(f"{path.stat().st_size} bytes are too many")
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ReproduceError(f"{path} is no readable JSON: it is nested too deeply.") from None
    except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise ReproduceError(f"{path} is no readable JSON: {error}.") from error
