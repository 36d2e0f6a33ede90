"""Opening HDF5 files of unknown origin: all numbers lie in the file itself, and no foreign code decodes them."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data.common.environment import without
from data.common.errors import ReproduceError
from data.common.extras import needed
from data.common.foreign import check_regular

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # those that h5py brings along
MOST_CHUNK = 1 << 28  # bytes
RATIO = 1100  # gzip makes at most 1032 bytes of one
T = TypeVar("T")


class Hdf5:
    """The root of an open file; every look at it is guarded."""

    def __init__(self, path: Path, file: Any, published: str):
        self.path, self._file, self.published = path, file, published
        self._sets: dict[str, Any] = {}

    def names(self) -> list[str]:
        return sorted(self._guarded(lambda: list(self._file.keys())))

    def describe(self, name: str) -> tuple[tuple[int, ...] | None, np.dtype] | None:
        """(shape, dtype) of a dataset, shape None where it holds nothing at all; None where there is no such dataset.

        Raises ReproduceError for numbers that lie elsewhere, are packed by an unknown filter, or are fewer than the
        shape promises.
        """
        found = self._guarded(lambda: self._found(name))
        if found is None:
            return None
        self._sets[name] = found
        return self._guarded(lambda: (found.shape, found.dtype))

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a described dataset, in this machine's byte order."""
        part = self._guarded(lambda: self._sets[name][start:stop])
        return np.ascontiguousarray(part, part.dtype.newbyteorder("="))

    def _found(self, name: str) -> Any:
        h5py = needed("h5py", "HDF5 files")
        link = self._file.get(name, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.SoftLink):  # another name for a neighbor
            near = link.path.removeprefix("/")
            if "/" in near or not isinstance(self._file.get(near, getlink=True), h5py.HardLink):
                raise ReproduceError(f"{self.path}: {name} is a link to {link.path!r}: refused. {self._cure}")
        found = self._file[name]
        if not isinstance(found, h5py.Dataset):
            return None
        self._check_storage(name, found)
        return found

    def _check_storage(self, name: str, found: Any) -> None:
        h5d = needed("h5py", "HDF5 files").h5d
        made = found.id.get_create_plist()
        if made.get_layout() == h5d.VIRTUAL:
            raise ReproduceError(
                f"{self.path}: {name} is a virtual dataset, whose numbers lie in other files: refused."
            )
        if made.get_external_count():
            where = made.get_external(0)[0].decode(errors="replace")
            raise ReproduceError(f"{self.path}: the numbers of {name} lie in another file, {where!r}: refused.")
        filters = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
        if unknown := [number for number in filters if number not in FILTERS]:
            known = ", ".join(FILTERS.values())
            raise ReproduceError(
                f"{self.path}: {name} is packed by the filter {unknown[0]}; known: {known}. {self._cure}"
            )
        if found.shape is None:
            return
        promised = found.dtype.itemsize
        for size in found.shape:
            promised *= size
        stored = min(found.id.get_storage_size(), self.path.stat().st_size)
        if promised > stored * (RATIO if filters else 1):
            raise ReproduceError(
                f"{self.path}: {name} promises {promised} bytes, shape {list(found.shape)}, and stores {stored}: it is "
                f"damaged, or was never written to its end. Fetch it again from {self.published}."
            )
        chunk = found.dtype.itemsize
        for size in found.chunks or ():
            chunk *= size
        wanted = math.prod(-(-size // step) for size, step in zip(found.shape, found.chunks or (), strict=False))
        if found.chunks and (there := found.id.get_num_chunks()) != wanted:
            raise ReproduceError(
                f"{self.path}: {name} has {there} of its {wanted} chunks, and the others would be read as zeros: it "
                f"was never written to its end. Fetch it again from {self.published}."
            )
        if chunk > max(MOST_CHUNK, promised):
            raise ReproduceError(f"{self.path}: {name} has chunks of {chunk} bytes: damaged. {self._cure}")

    @property
    def _cure(self) -> str:
        return f"Fetch the file again from {self.published}, or write the numbers into it plainly."

    def _guarded(self, look: Callable[[], T]) -> T:
        try:
            return look()
        except ReproduceError:
            raise
        except Exception as error:  # h5py raises a dozen kinds for damage
            raise ReproduceError(
                f"{self.path} is damaged ({_told(error)}). Fetch it again from {self.published}."
            ) from error


@contextmanager
def opened(path: Path, published: str) -> Iterator[Hdf5]:
    """The file, to be read by a loader. It is where every HDF5 file of strangers is opened.

    Refused are external links anywhere, links out of the root, virtual datasets, external raw storage, user blocks and
    foreign filters; variables of the environment that load plugins or choose drivers are left out.
    Raises ReproduceError for them, and for a file that is missing, no file or no HDF5.
    """
    try:
        check_regular(path)
    except FileNotFoundError:
        raise ReproduceError(f"{path} is missing. Published in {published}.") from None
    size = path.stat().st_size
    with without("HDF5_", keep=("HDF5_USE_FILE_LOCKING",)):
        os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # the library's own way to switch plugins off
        h5py = needed("h5py", "HDF5 files")
        while h5py.h5pl.size():
            h5py.h5pl.remove(0)
        try:
            file = h5py.File(path, "r", driver="sec2")
        except Exception as error:
            raise ReproduceError(
                f"{path} is truncated or no HDF5 file ({size} bytes): {_told(error)}. Fetch it again from {published}."
            ) from error
        with file:
            found = Hdf5(path, file, published)
            found._guarded(lambda: _check_file(path, file))
            yield found


def _check_file(path: Path, file: Any) -> None:
    if file.userblock_size:
        raise ReproduceError(
            f"{path} begins with {file.userblock_size} bytes that are no HDF5 (a user block): refused."
        )
    h5l = needed("h5py", "HDF5 files").h5l

    def leads_out(name: bytes, info: Any) -> bytes | None:
        return None if info.type in (h5l.TYPE_HARD, h5l.TYPE_SOFT) else name

    if (found := file.id.links.visit(leads_out, info=True)) is not None:
        raise ReproduceError(f"{path}: {found.decode(errors='replace')} is a link to another file: refused.")


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
