"""Ids of rows and claims that can run, and the prefixes and globs over them."""

from collections.abc import Sequence

from data.common.errors import ReproduceError, nearest
from data.common.paths import CONFIGS
from data.common.patterns import matching
from reproduce.config.tables import column_ids


def row_ids() -> list[str]:
    """Rows that have a config, hence can run: a file of their own, or a column of their table."""
    root = CONFIGS / "rows"
    files = {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml")}
    return sorted(files | column_ids(files, CONFIGS))


def claim_ids() -> list[str]:
    root = CONFIGS / "claims"
    return sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def expand(pattern: str, known: Sequence[str]) -> list[str]:
    """The ids of a name, a prefix such as `inspo/xor`, or a glob. Raises ReproduceError with the nearest names."""
    hits = matching(pattern, known)
    if not CONFIGS.is_dir():
        raise ReproduceError(f"there is no {CONFIGS}: run from a checkout of the project.")
    if not hits:
        near = nearest(pattern.lower(), list(known))
        raise ReproduceError(f"no row or claim named {pattern!r}.{near} `reproduce list` shows all of them.")
    return hits
