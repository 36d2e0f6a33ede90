"""Files are written whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from data.common.errors import DiskFull, ReproduceError
from data.common.partials import in_the_making
from data.common.paths import outputs_dir, records_dir

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
FULL = 1 << 20  # bytes left, below which a failure to write is one of space


def is_full(path: Path, error: BaseException | None = None) -> bool:
    """Whether the disk or quota of `path` is full, as `error` of writing there says; libraries do not always say so."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return getattr(error, "errno", None) in NO_SPACE or shutil.disk_usage(there).free < FULL


def write_with(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, force it to disk, then move it into place.

    Raises ReproduceError when the folder is not writable, DiskFull when there is no room; `path` is then as it was.
    """
    partial = in_the_making(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        mode = partial.stat().st_mode
        write(partial)
        os.chmod(partial, mode)  # safetensors' files are their owner's alone
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch.save raises the second
        raise (DiskFull if is_full(path.parent, error) else ReproduceError)(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}. Free some space or make the folder "
            f"writable{_moved(path)}."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _moved(path: Path) -> str:
    """How the folder is chosen, where a variable does."""
    ours = {"REPRODUCE_HOME": outputs_dir(), "REPRODUCE_RECORDS": records_dir()}
    names = [name for name, folder in ours.items() if path.absolute().is_relative_to(folder.absolute())]
    return f"; {names[-1]} moves what is written there" if names else ""


def write_text(path: Path, text: str) -> None:
    """Atomic write_text."""

    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    write_with(path, write)


def write_json(path: Path, document: Any) -> None:
    """Atomic JSON, strict: NaN is refused (ValueError), so that every reader can parse it."""
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
