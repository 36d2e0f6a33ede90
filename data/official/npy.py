"""Opening .npy files of unknown origin."""

import warnings
from pathlib import Path

import numpy as np

from data.common.errors import ReproduceError
from data.common.foreign import check_regular


def opened(path: Path, wanted: str, published: str) -> np.ndarray:
    """The array, mapped, so that a header that lies about the size allocates nothing. Never unpickles.

    Raises ReproduceError for a file that is missing, no file at all, outside its folder, damaged, pickled or an
    archive; it ends in what was `wanted` and where that is `published`.
    """
    try:
        check_regular(path, path.parent)
    except FileNotFoundError:
        raise ReproduceError(f"{path} is missing, {wanted}. Published in {published}.") from None
    try:
        shape, dtype, start, fortran = _header(path)
        promised, size = start + dtype.itemsize * _product(shape), path.stat().st_size
        if promised != size:
            raise ValueError(f"its header promises {promised} bytes for {dtype} {list(shape)}")
        if not _product(shape):
            return _empty(shape, dtype)
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    except Exception as error:  # numpy raises a dozen kinds for a header that is nonsense
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReproduceError(
            f"{path} {_fault(path)}: {why} ({path.stat().st_size} bytes), {wanted}. Fetch it again from {published}."
        ) from error


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    """(shape, dtype, where the numbers start, Fortran order). Raises for anything but plain numbers."""
    read = np.lib.format
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        version = read.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"it is of version {version}")
        shape, fortran, dtype = (read.read_array_header_1_0 if version == (1, 0) else read.read_array_header_2_0)(file)
        start = file.tell()
    if dtype.hasobject or dtype.kind not in "fbiu":
        raise ValueError(f"it holds {'pickled Python objects' if dtype.hasobject else dtype}, not plain numbers")
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"its header says shape {list(shape)}")
    return shape, dtype, start, fortran


def _product(shape: tuple[int, ...]) -> int:
    """In whole numbers of any size."""
    product = 1
    for size in shape:
        product *= size
    return product


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array without numbers cannot be mapped."""
    if max(shape) > 1 << 40:
        raise ValueError(f"its header says shape {list(shape)}")
    return np.empty(shape, dtype)


def _fault(path: Path) -> str:
    """The kind of file that it is instead."""
    with open(path, "rb") as file:
        start = file.read(256)
    if start.startswith(b"PK"):
        return "is an archive"
    if (start.startswith(b"\x93NUMPY") and b"'|O'" in start) or start[:1] == b"\x80":
        return "holds pickled Python objects"
    return "is truncated or damaged"
