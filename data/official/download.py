"""One file from the network to disk: resumed where it was cut, checked, and read by nobody before it is whole."""

import http.client
import json
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from data.common.errors import DiskFull, ReproduceError
from data.common.files import NO_SPACE, sha256, write_json
from data.common.web import safe_url

ATTEMPTS = 5
PAUSE_S = 1.0  # before the second attempt, twice as long before each further one
TIMEOUT_S = 60.0
BLOCK = 1 << 20
HEADERS = {"User-Agent": "reproduce-offline-marl", "Accept-Encoding": "identity"}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Remote:
    """A file at an address, with what is known of it; `size` in bytes."""

    url: str
    size: int | None = None
    sha256: str | None = None


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to https alone."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        try:
            safe_url(newurl)
        except ValueError as error:
            raise ReproduceError(f"{req.full_url} leads elsewhere: {error}. Nothing was fetched.") from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = build_opener(_Redirects)


def size_of(url: str) -> int | None:
    """Bytes as the server states them, None where it does not. Raises ReproduceError where there is no such file."""
    try:
        with _OPENER.open(Request(safe_url(url), headers=HEADERS, method="HEAD"), timeout=TIMEOUT_S) as answer:
            return _number(answer.headers.get("Content-Length"))
    except HTTPError as error:
        if error.code in (403, 405, 501):  # a server that answers no HEAD
            return None
        raise _refused(url, error) from error
    except (URLError, OSError, http.client.HTTPException) as error:
        raise ReproduceError(f"{url} cannot be reached: {_why(error)}.") from error


def download(remote: Remote, target: Path, progress: Progress = lambda done, total: None) -> str:
    """Fetch the file into `target` and return its sha256; what is partly there as `<name>.part` goes on.

    A part goes on only where it is the same file: the server's own mark of the version, or a known checksum, says so.
    Raises ReproduceError for an address that does not answer or has another file, DiskFull where it does not fit;
    nothing but the part is left then, and none where its content is wrong.
    """
    part, mark = (target.with_name(f"{target.name}{end}") for end in (".part", ".part.json"))
    target.parent.mkdir(parents=True, exist_ok=True)
    why = "the connection was cut"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            if _receive(remote, part, mark, progress):
                return _finish(remote, part, mark, target)
        except HTTPError as error:
            if error.code == 416:  # the part is longer than the file
                _discard(part, mark)
            elif error.code < 500:
                raise _refused(remote.url, error) from error
            why = f"the server answers {error.code}"
        except OSError as error:
            if not isinstance(error, URLError | ConnectionError | TimeoutError | ssl.SSLError):
                kind = DiskFull if error.errno in NO_SPACE else ReproduceError
                raise kind(f"cannot write {part}: {error.strerror or error}.") from error
            why = _why(error)
            if isinstance(error, URLError) and not part.exists():
                raise ReproduceError(f"{remote.url} cannot be reached: {why}. Nothing was fetched.") from error
        except http.client.HTTPException as error:
            why = _why(error)
    have = part.stat().st_size if part.exists() else 0
    total = f" of {remote.size:,}" if remote.size else ""
    raise ReproduceError(
        f"{remote.url}: {why}, {ATTEMPTS} times; {have:,}{total} bytes are here as {part}. The same command goes on "
        "there."
    )


def _receive(remote: Remote, part: Path, mark: Path, progress: Progress) -> bool:
    """One request, from where the part ends; whether the file is whole now."""
    have, version = _kept(remote, part, mark)
    if have and have == remote.size and remote.sha256:
        return True
    headers = dict(HEADERS)
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    with _OPENER.open(Request(safe_url(remote.url), headers=headers), timeout=TIMEOUT_S) as answer:
        total = _number(answer.headers.get("Content-Length"))
        if answer.status == 206:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != have:
                _discard(part, mark)
                return False
            total = _number(found[3])
        else:  # the whole file: it is another version, or the server knows no ranges
            have = 0
        if remote.size is not None and total not in (None, remote.size):
            _discard(part, mark)
            raise ReproduceError(
                f"{remote.url} has {total:,} bytes, expected {remote.size:,}: it is another file. Nothing was kept."
            )
        total = total if total is not None else remote.size
        _check_space(part, (total or 0) - have)
        write_json(mark, {"url": remote.url, "version": _version(answer.headers)})
        with open(part, "ab" if have else "wb") as file:
            while block := answer.read(BLOCK):
                have += len(block)
                if total is not None and have > total:
                    break
                file.write(block)
                progress(have, total or have)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have > total:
        _discard(part, mark)
        raise ReproduceError(f"{remote.url} sends more than the {total:,} bytes that it states. Nothing was kept.")
    return total is None or have == total


def _kept(remote: Remote, part: Path, mark: Path) -> tuple[int, str | None]:
    """(bytes of the part that may go on, the server's mark of its version)."""
    try:
        stated = json.loads(mark.read_text(encoding="utf-8"))
        version = stated["version"]
        if stated["url"] == remote.url and (version or remote.sha256) and not part.is_symlink():
            have = part.stat().st_size
            if remote.size is None or have <= remote.size:
                return have, version
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _discard(part, mark)
    return 0, None


def _finish(remote: Remote, part: Path, mark: Path, target: Path) -> str:
    found, size = sha256(part), part.stat().st_size
    if remote.size not in (None, size):
        _discard(part, mark)
        raise ReproduceError(f"{remote.url} came as {size:,} bytes, expected {remote.size:,}. Nothing was kept.")
    if remote.sha256 not in (None, found):
        _discard(part, mark)
        raise ReproduceError(
            f"{remote.url} has sha256 {found}, expected {remote.sha256}: it is damaged or another version. Nothing was "
            "kept; the same command fetches it from the start."
        )
    os.replace(part, target)
    mark.unlink(missing_ok=True)
    return found


def _discard(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DiskFull(f"{part.parent} has {free / 1e6:.1f} MB free, the file needs {needed / 1e6:.1f} MB more.")


def _version(headers: Any) -> str | None:
    """What If-Range takes: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _refused(url: str, error: HTTPError) -> ReproduceError:
    gone = "there is no such file any more" if error.code in (404, 410) else f"the server answers {error.code}"
    return ReproduceError(f"{url}: {gone} ({error.reason}). Nothing was fetched.")


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__
