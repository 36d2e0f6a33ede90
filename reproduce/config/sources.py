"""The source of each value of a row: the comment on its line."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from data.common.paths import CONFIGS
from reproduce.config.tables import column_of, own_of_algorithm


def sources(row: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Dotted key -> the comment on its line, following defaults lists.

    A group that an override chooses is read instead of the row's.
    """
    if (found := column_of(row, CONFIGS)) is None:
        return _sources(CONFIGS / "rows" / f"{row}.yaml", _chosen(overrides))
    base, column = found
    stated = _sources(CONFIGS / "rows" / f"{base}.yaml", _chosen([*column.choices(), *overrides]))
    return stated | dict.fromkeys(_chosen(column.overrides), f"configs/tables/{'/'.join(row.split('/')[:2])}.yaml")


def _chosen(overrides: Sequence[str]) -> dict[str, str]:
    return dict(o.split("=", 1) for o in overrides if "=" in o)


def _sources(path: Path, chosen: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    text = path.read_text(encoding="utf-8")
    everywhere = "@package _global_" in text.partition("\n")[0]
    prefix = "" if everywhere or path.parent == CONFIGS else str(path.parent.relative_to(CONFIGS))
    document = yaml.safe_load(text) or {}
    others = (
        {f"algo.{key}" for key in own_of_algorithm(document, chosen["algo"])} if everywhere and "algo" in chosen else ()
    )
    for entry in document.get("defaults", ["_self_"]):
        if entry == "_self_":
            found |= {key: comment for key, comment in _comments(text, prefix).items() if key not in others}
            continue
        group, name = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        root, group = CONFIGS if f"{group}{name}".startswith("/") else path.parent, group.strip("/")
        found |= _sources(root / group / f"{(chosen.get(group) or name).strip('/')}.yaml", chosen)
    return found


def _comments(text: str, prefix: str) -> dict[str, str]:
    lines = text.splitlines()
    found: dict[str, str] = {}

    def visit(node: yaml.Node, key: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for child, value in node.value:
                visit(value, f"{key}.{child.value}" if key else child.value)
        comment = re.search(r"\s#\s*(.*)$", lines[node.start_mark.line])
        if key and comment and not isinstance(node, yaml.MappingNode):
            found[key] = comment.group(1).strip()

    root = yaml.compose(text)
    if root is not None:
        visit(root, prefix)
    return found
