"""Returns of random and expert play against our own prey, and facts of an official one."""

import json
from pathlib import Path
from typing import Any

from data.common.files import sha256
from data.generate.mixture import WEIGHTS as BEHAVIOR
from data.worlds import fingerprint


def own_references(task: dict[str, Any]) -> dict[str, float] | None:
    """Returns of random and of expert play against the prey trained here, in a task that has one; else None.

    They are measured by `python -m data.behavior.train references`, for scores normalized on regenerated data.
    """
    file = BEHAVIOR / "omar" / f"{task['params'].get('scenario')}_references.json"
    if not file.is_file():
        return None
    measured = json.loads(file.read_text(encoding="utf-8"))
    return {end: measured[end]["mean"] for end in ("random", "expert")}


def prey_facts(task: dict[str, Any], brought: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the official prey, where it was played against, with the fingerprint of that world.

    The record's other fingerprint stays that of the task's own world: it tells whether the simulator is the row's.
    """
    if not brought:
        return {}
    found = fingerprint(task["world"], **task["params"] | brought)
    return {"prey": {"kind": "official", "sha256": sha256(Path(brought["prey"])), "fingerprint": found}}
