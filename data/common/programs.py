"""Programs beside the command, `python -m data.behavior.train` and the like."""

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from data.common.errors import ReproduceError

N = TypeVar("N", int, float)


def ended(name: str, work: Callable[..., Any], words: Sequence[str]) -> int:
    """The exit code of work(*words): 0, or that of an error, whose text goes to stderr; one word too many is one."""
    try:
        try:
            inspect.signature(work).bind(*words)
        except TypeError as error:
            raise ReproduceError(f"{error}: {' '.join(words)}") from None
        work(*words)
    except (ReproduceError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return ReproduceError.exit_code
    return 0


def number(kind: type[N], word: str, what: str) -> N:
    """Raises ReproduceError for a word that is no such number."""
    try:
        return kind(word)
    except ValueError:
        raise ReproduceError(f"{what} is {word!r}, not a number.") from None
