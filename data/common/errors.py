"""Errors that a user can mend. The command prints the message alone and exits with 4."""

from difflib import get_close_matches


class ReproduceError(Exception):
    """Bad input: the message says what was wrong, where, and what to do."""

    exit_code = 4


class DiskFull(ReproduceError):
    """A file could not be written for want of space; what was there before is untouched. A queue waits for room."""


def nearest(word: str, known: list[str], n: int = 3) -> str:
    """` Nearest: a, b.` for messages about unknown names; empty when nothing is near."""
    close = get_close_matches(word, known, n=n, cutoff=0.5)
    return f" Nearest: {', '.join(close)}." if close else ""
