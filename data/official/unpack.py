"""Archives of unknown origin: plain files below one folder, or nothing at all."""

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from data.common.errors import DiskFull, ReproduceError
from data.common.web import safe_name

MOST_FILES = 100_000
MOST_BYTES = 500 * 10**9
MOST_RATIO = 200  # unpacked to packed bytes of a whole archive
IGNORED = ("__MACOSX/",)  # what one system adds
BLOCK = 1 << 20


def unpack_zip(archive: Path, folder: Path, wanted: str) -> list[str]:
    """Unpack into `folder` and return the names at its top; `wanted` is a path that must be among them.

    Raises ReproduceError, with nothing unpacked, for a damaged archive, for names that lead out of the folder, links,
    encrypted or absurdly large content, for what is there already, and where `wanted` is missing.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = _checked(archive, zipped, wanted)
            top = sorted({member.filename.split("/")[0] for member in members})
            if taken := next((name for name in top if (folder / name).exists()), None):
                raise ReproduceError(f"{folder / taken} is there already: move it away, or choose another folder.")
            staged = folder / f".{archive.name}.unpacking"
            shutil.rmtree(staged, ignore_errors=True)
            try:
                for member in members:
                    _extract(zipped, member, staged)
                for name in top:
                    (staged / name).replace(folder / name)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
            return top
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,
        EOFError,
        RuntimeError,
        UnicodeError,
    ) as error:
        raise ReproduceError(f"{archive} is damaged or no zip archive ({error}). Nothing was unpacked.") from error
    except OSError as error:
        raise ReproduceError(f"{archive} cannot be unpacked into {folder}: {error.strerror or error}.") from error


def _checked(archive: Path, zipped: zipfile.ZipFile, wanted: str) -> list[zipfile.ZipInfo]:
    members = [member for member in zipped.infolist() if not member.filename.startswith(IGNORED)]
    if len(members) > MOST_FILES:
        raise ReproduceError(f"{archive} holds {len(members):,} files: refused.")
    seen: set[str] = set()
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        try:
            safe_name(member.filename.rstrip("/"))
        except ValueError as error:
            raise ReproduceError(f"{archive}: {error}. Nothing was unpacked.") from None
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ReproduceError(f"{archive}: {member.filename} is a link or a device. Nothing was unpacked.")
        if member.flag_bits & 1:
            raise ReproduceError(f"{archive}: {member.filename} is encrypted. Nothing was unpacked.")
        if (name := member.filename.rstrip("/").lower()) in seen:
            raise ReproduceError(f"{archive}: {member.filename} stands twice. Nothing was unpacked.")
        seen.add(name)
    size, packed = sum(member.file_size for member in members), archive.stat().st_size
    if size > min(MOST_BYTES, MOST_RATIO * packed):
        raise ReproduceError(f"{archive} would unpack {packed:,} bytes to {size:,}: refused.")
    if size > (free := shutil.disk_usage(archive.parent).free):
        raise DiskFull(f"unpacking {archive} needs {size / 1e6:.1f} MB, {free / 1e6:.1f} MB are free.")
    names = [member.filename.rstrip("/") for member in members]
    if not any(name == wanted or name.startswith(f"{wanted}/") for name in names):
        top = ", ".join(sorted({"/".join(name.split("/")[:2]) for name in names})[:10]) or "nothing"
        raise ReproduceError(f"{archive} holds no {wanted}, but {top}. Nothing was unpacked.")
    return members


def _extract(zipped: zipfile.ZipFile, member: zipfile.ZipInfo, staged: Path) -> None:
    place = staged / member.filename
    if member.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    left = member.file_size
    with zipped.open(member) as packed, open(place, "xb") as file:
        while block := packed.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise ReproduceError(f"{member.filename} is longer than the archive states. Nothing was unpacked.")
            file.write(block)
