"""The allocator of this process."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
GIB, MIB = 2**30, 2**20


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next request, in place of returning it to the system each time.

    An update asks for the same large tensors as the one before, and the system maps and clears their pages anew for
    each request. Other C libraries stay as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2 * GIB - 1), (M_TOP_PAD, 64 * MIB)):
        mallopt(option, value)
