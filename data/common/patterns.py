"""Names, prefixes and globs: the one reading of a PATTERN on the command line."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

GLOB = frozenset("*?[")


def as_glob(pattern: str, known: Iterable[str]) -> str:
    """The glob that a pattern stands for: a prefix such as `inspo/xor` is `inspo/xor/*`.

    A known name is itself and nothing below it. What is neither a known name, a glob nor a prefix comes back as it is.
    """
    if GLOB & set(pattern):
        return pattern
    names, stem = list(known), pattern.rstrip("/")
    below = stem and pattern not in names and any(name.startswith(f"{stem}/") for name in names)
    return f"{stem}/*" if below else pattern


def matching(pattern: str, known: Iterable[str]) -> list[str]:
    """The known names that a name, a prefix or a glob stands for, in their order."""
    names = list(known)
    glob = as_glob(pattern, names)
    return [name for name in names if name == pattern or fnmatchcase(name, glob)]
