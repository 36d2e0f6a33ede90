"""The settings that rows state today, kept between commands: composing all of them takes seconds, asking needs none."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError
from data.common.files import write_json
from data.common.paths import CONFIGS, ROOT, outputs_dir
from reproduce.config.compose import stated

SOURCES = (ROOT / "lit_modules", ROOT / "reproduce" / "config", ROOT / "data" / "catalog")


def stated_today(rows: Sequence[tuple[str, Sequence[str]]]) -> list[dict[str, Any]]:
    """The nested settings that each (row, overrides) states today, or {"error": text} where it states none.

    Answers are kept in outputs/cache under a hash of all files that they come from; a cache that cannot be written or
    read is done without.
    """
    path = outputs_dir() / "cache" / f"rows-{_sources_hash()}.json"
    kept: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
    keys = [json.dumps([row, list(overrides)]) for row, overrides in rows]
    missing = {key: pair for key, pair in zip(keys, rows, strict=True) if not isinstance(kept.get(key), dict)}
    for key, (row, overrides) in missing.items():
        try:
            kept[key] = stated(row, overrides).values()
        except ReproduceError as error:
            kept[key] = {"error": str(error)}
    if missing:
        with suppress(ReproduceError):
            write_json(path, kept)
    return [kept[key] for key in keys]


@cache
def _sources_hash() -> str:
    """12 hex characters over configs, settings classes and the catalog."""
    digest = hashlib.sha256()
    files = [*CONFIGS.rglob("*.yaml"), *(f for folder in SOURCES for f in folder.rglob("*") if _is_source(f))]
    for file in sorted(files):
        digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _is_source(file: Path) -> bool:
    return file.suffix in (".py", ".yaml")
