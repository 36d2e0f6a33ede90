"""Commands that stand in a file or an option: a row and its overrides, split as a shell does."""

import shlex

from data.common.errors import ReproduceError


def words_of(text: str, where: str, write: str) -> list[str]:
    """The words of a command. Raises ReproduceError that names `where` and says what to `write` instead."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ReproduceError(f"{where}: {error}; {write}.") from error
    if not words:
        raise ReproduceError(f"{where} sets nothing; {write}.")
    return words
