"""Standard output and error of the command, which never end a run: a reader may leave, an encoding may lack letters."""

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

REPLACED = {"±": "+-", "…": "...", "–": "-", "—": "-", "×": "x", "≤": "<=", "≥": ">=", "·": ".", "→": "->", "−": "-"}


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(REPLACED.get(letter, "?") for letter in text), error.end


codecs.register_error("reproduce.replace", _replace)


class _Raw(io.FileIO):
    """A descriptor that drops what nobody reads. `lost`: why something else could not be written."""

    def __init__(self, descriptor: int):
        super().__init__(descriptor, "w", closefd=False)
        self.gone = False
        self.lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        if not self.gone:
            try:
                return super().write(data)  # type: ignore[return-value]
            except BrokenPipeError:
                self.gone = True
            except OSError as error:
                self.gone, self.lost = True, error
        return len(data)


@contextmanager
def lasting() -> Iterator[None]:
    """Within it the process's own stdout and stderr last as long as the command.

    Raises the OSError of an output that could not be written, a full disk say, once all else is done.
    """
    changed = [stream for stream in (_changed("stdout"), _changed("stderr")) if stream]
    try:
        yield
    finally:
        for name, before, raw in changed:
            with suppress(OSError, ValueError):
                getattr(sys, name).flush()
            if not raw.gone:
                setattr(sys, name, before)
    for name, _, raw in changed:
        if name == "stdout" and raw.lost:
            raise raw.lost


def _changed(name: str) -> tuple[str, Any, _Raw] | None:
    stream = getattr(sys, name)
    if stream is None or stream is not getattr(sys, f"__{name}__"):
        return None
    try:
        stream.flush()
        raw = _Raw(stream.fileno())
    except (OSError, ValueError):
        return None
    buffer, encoding, direct = io.BufferedWriter(raw), stream.encoding, stream.line_buffering
    new = io.TextIOWrapper(buffer, encoding, "reproduce.replace", line_buffering=direct)
    setattr(sys, name, new)
    return name, stream, raw
