"""The allocator of this process."""

import ctypes
import sys
from typing import Any

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
GIB, MIB = 2**30, 2**20


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next request, in place of returning it to the system each time.

    An update asks for the same large tensors as the one before, and the system maps and clears their pages anew for
    each request. Other C libraries stay as they are.
    """
    if mallopt := _of_glibc("mallopt"):
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2 * GIB - 1), (M_TOP_PAD, 64 * MIB)):
            mallopt(option, value)


def return_freed_memory() -> None:
    """Give the system what is free now, once, where much of it will not be asked for again: a dataset's parts."""
    if malloc_trim := _of_glibc("malloc_trim"):
        malloc_trim(0)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
