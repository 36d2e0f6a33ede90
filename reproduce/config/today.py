"""The settings that rows state today, for comparing many records with them.

Hydra composes a row in a fifth of a second, too long for the dozens that `list` and `check` look at. This follows the
same defaults lists of the same files in a few lines, for choices of groups and plain values alone; a test holds it
equal to Hydra for every row and reading.
"""

import copy
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data.common.errors import ReproduceError, nearest
from data.common.paths import CONFIGS
from data.common.yaml_files import Loader
from reproduce.config.compose import compose, stated
from reproduce.config.ids import expand, row_ids
from reproduce.config.settings import Settings

GLOBAL = "@package _global_"
POINTS_TO = re.compile(r"\$\{([\w.]+)\}")


class _Loader(Loader):
    """Reads 1e-3 as a number, as Hydra does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def stated_today(rows: Sequence[tuple[str, Sequence[str]]]) -> list[dict[str, Any]]:
    """The nested settings that each (row, overrides) states today, or {"error": text} where it states none."""
    known, found = row_ids(), {}
    for row, overrides in rows:
        if (key := (row, *overrides)) not in found:
            try:
                expand(row, known)
                found[key] = stated(row, overrides, _composed).values()
            except ReproduceError as error:
                found[key] = {"error": str(error)}
    return [found[row, *overrides] for row, overrides in rows]


def composed_today(runs: Sequence[tuple[str, Sequence[str]]]) -> list[Settings | str]:
    """`compose` of each (row, overrides), or the text of its error."""
    known, found = row_ids(), []
    for row, overrides in runs:
        try:
            if row not in known:
                raise ReproduceError(f"no row named {row!r}.{nearest(row, known)}")
            found.append(compose(row, overrides, _composed))
        except ReproduceError as error:
            found.append(str(error))
    return found


def _composed(row: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What Hydra composes of the row's file."""
    words = dict(override.split("=", 1) for override in overrides)
    chosen = {key: value for key, value in words.items() if (CONFIGS / key).is_dir()}
    values: dict[str, Any] = {}
    _add(values, CONFIGS / "rows" / f"{row}.yaml", "", chosen)
    for key, text in words.items():
        if key not in chosen:
            try:
                _set(values, key, yaml.load(text, _Loader))
            except (yaml.YAMLError, TypeError) as error:
                said = " ".join(str(error).split())
                raise ReproduceError(f"row {row} with {key}={text}: {said}") from error
    try:
        return _resolved(values, values)
    except KeyError as error:
        raise ReproduceError(f"row {row}: ${{{error.args[0]}}} points at nothing.") from None


def _add(values: dict[str, Any], file: Path, group: str, chosen: dict[str, str]) -> None:
    """Merge the file of a group, in the order of its defaults list, into `values`."""
    everywhere, content = _content(file)
    for entry in content.get("defaults", ["_self_"]):
        if entry == "_self_":
            own = {key: value for key, value in content.items() if key != "defaults"}
            _merge(values, own if everywhere or not group else {group: own})
            continue
        below, name = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        root, inner = (CONFIGS, below.strip("/") or "") if f"{below}{name}".startswith("/") else (file.parent, group)
        _add(
            values,
            root / below.strip("/") / f"{(chosen.get(inner) if below else None) or name.strip('/')}.yaml",
            inner,
            chosen,
        )


@cache
def _content(file: Path) -> tuple[bool, dict[str, Any]]:
    """(whether its keys are those of the whole row, what it holds)."""
    name = f"configs/{file.relative_to(CONFIGS)}"
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.load(text, _Loader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReproduceError(f"{name} cannot be read: {error}") from error
    if not isinstance(content, dict) or not _are_defaults(content.get("defaults", [])):
        raise ReproduceError(f"{name} must hold KEY: VALUE lines, and a list under `defaults`.")
    return GLOBAL in text.partition("\n")[0], content


def _are_defaults(entries: Any) -> bool:
    """A list of file names, and of a group's choices as one key with one name."""
    if not isinstance(entries, list):
        return False
    each = [next(iter(e.items())) if isinstance(e, dict) and len(e) == 1 else ("", e) for e in entries]
    return all(isinstance(part, str) for pair in each for part in pair)


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[last] = value


def _resolved(value: Any, everything: dict[str, Any]) -> Any:
    """`${a.b}` replaced by what stands there."""
    if isinstance(value, dict):
        return {key: _resolved(one, everything) for key, one in value.items()}
    if isinstance(value, str) and (found := POINTS_TO.fullmatch(value)):
        return _at(everything, found[1])
    if isinstance(value, str):
        return POINTS_TO.sub(lambda found: str(_at(everything, found[1])), value)
    return value


def _at(everything: dict[str, Any], key: str) -> Any:
    target: Any = everything
    for part in key.split("."):
        if not isinstance(target, dict) or part not in target:
            raise KeyError(key)
        target = target[part]
    return target
