"""A hook of mkdocs: lists papers' pages and the generated ones in the navigation, so that nobody has to."""

import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from gen import facts, pages  # noqa: E402
from mkdocs.exceptions import Abort  # noqa: E402

from reproduce import published, records  # noqa: E402


def on_config(config: Any) -> Any:
    """Replaces `papers`, `tables` and `rows` in the navigation by their pages (build.py writes the last two)."""
    config.nav = [_filled(entry) for entry in config.nav]
    return config


def on_post_build(config: Any) -> None:
    """Ends a build that left out a record: the site is written, and the exit code says that it lacks something."""
    if code := records.exit_code(0, facts.LEFT_OUT):
        stop = Abort(f"{len(facts.LEFT_OUT)} records were left out.")
        stop.exit_code = stop.code = code
        raise stop


def _filled(entry: Any) -> Any:
    lists = {"papers": _papers, "tables": _tables, "rows": _rows}
    if not isinstance(entry, dict):
        return entry
    ((name, inside),) = entry.items()
    if not isinstance(inside, list):
        return entry
    return {name: [page for one in inside for page in (lists[one]() if one in lists else [one])]}


def _papers() -> list[Any]:
    folder = Path(__file__).parents[1]
    return [str(page.relative_to(folder)) for page in sorted(folder.glob("papers/*.md"))]


def _tables() -> list[Any]:
    return [{table.title: pages.table_page(name)} for name, table in published.tables().items()]


def _rows() -> list[Any]:
    """Rows below the heads of their tables."""
    groups: dict[str, list[Any]] = {}
    for row_id in sorted(facts.can_run()):
        paper, table, name = row_id.split("/", 2)
        groups.setdefault(f"{paper}/{table}", []).append({name: pages.row_page(row_id)})
    return [{name: entries} for name, entries in groups.items()]
