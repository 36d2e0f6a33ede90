"""Rows of a glob that this machine can play: a game that no package index has may be missing."""

from collections.abc import Sequence
from typing import Any

from data.common.errors import ReproduceError
from reproduce.config import claim_ids, compose, expand, row_ids
from reproduce.config.today import stated_today
from reproduce.core import console


def playable(
    pattern: str, overrides: Sequence[str] = (), claims: bool = False
) -> tuple[list[str], dict[str, list[str]]]:
    """(the rows of a name, prefix or glob that can be played here, those that cannot by what is missing).

    A line on stderr says what is left out. A row by its own name stays: running it says what is missing.
    Raises ReproduceError as `expand` does, and where nothing is left.
    """
    names, without = expand(pattern, row_ids() + (claim_ids() if claims else [])), {}
    if names == [pattern]:
        return names, {}
    rows = [name for name in names if not name.startswith("claims/")]
    for name, stated in zip(rows, stated_today([(row, ()) for row in rows]), strict=True):
        if reason := stated.get("task") and _absent(name, stated["task"], overrides):
            without.setdefault(reason, []).append(name)
    out = {name for listed in without.values() for name in listed}
    if len(out) == len(names):
        raise ReproduceError(f"no row of {pattern} can run here. {next(iter(without))}")
    for reason, listed in without.items():
        console.note(f"{pattern}: {len(listed)} rows are left out, such as {listed[0]}. {reason}")
    return [name for name in names if name not in out], without


def _absent(row: str, own: dict[str, Any], overrides: Sequence[str]) -> str:
    """What is missing for the row with its overrides, which may choose another world."""
    from data.worlds import absent

    reason = absent(own["world"], **own["params"])
    if not reason or not overrides:
        return reason
    try:
        task = compose(row, overrides).task
    except ReproduceError:  # the row cannot run either way
        return reason
    return absent(task.world, **task.params)
