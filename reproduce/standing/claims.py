"""Whether a recorded claim is still the claim of its file: files and rows change, records do not."""

import json
from typing import Any

from data.common.errors import ReproduceError
from data.common.paths import CONFIGS
from data.common.yaml_files import read_yaml
from reproduce.config.today import composed_today


def changed_since(record: dict[str, Any]) -> str:
    """What of a recorded claim is not as its file and its rows state today: "rule", "runs", or empty."""
    name = record["row"]
    try:
        stated = read_yaml(CONFIGS / f"{name}.yaml", f"configs/{name}.yaml")
    except ReproduceError:  # the claim is gone, or its file is broken
        stated = None
    if not isinstance(stated, dict):
        return "rule"
    if {**json.loads(json.dumps(stated, default=str)), "text": ""} != {**record.get("claim", {}), "text": ""}:
        return "rule"
    arms = [arm for arm in record["arms"].values() if "config_fingerprint" in arm]
    today = composed_today([(arm["row"], arm["overrides"]) for arm in arms])
    same = [
        not isinstance(t, str) and t.fingerprint == a["config_fingerprint"] for a, t in zip(arms, today, strict=True)
    ]
    return "" if all(same) else "runs"
