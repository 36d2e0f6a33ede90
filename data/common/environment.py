"""Variables of the environment that libraries read behind our back (docs/environment.md)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*prefixes: str, keep: tuple[str, ...] = ()) -> Iterator[None]:
    """Within, no variable that begins with one of `prefixes` is set, but for those of `keep`; then all are again."""
    before = {key: value for key, value in os.environ.items() if key.startswith(prefixes) and key not in keep}
    for key in before:
        del os.environ[key]
    try:
        yield
    finally:
        for key in [key for key in os.environ if key.startswith(prefixes) and key not in keep]:
            del os.environ[key]
        os.environ.update(before)
