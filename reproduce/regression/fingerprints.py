"""The first line of defense: the losses of the updates of every case in float64, on fixed made-up transitions.

They change when an update rule, a sampler, an initialization or an order of draws changes: `reproduce record losses`
moves them, in a commit that says why.
"""

import json
from pathlib import Path

from data import synthetic
from data.common.files import write_json
from data.common.paths import ROOT
from reproduce.regression.cases import make_module, train, variants

FILE = ROOT / "tests" / "score" / "loss_fingerprints.json"


def fingerprint(variant: str) -> list[dict[str, float]]:
    """{quantity: value} after every 10 updates, means over two seeds."""
    module = make_module(variant, [0, 1], chunk_size=10)
    logged = train(module, synthetic.transitions(spec=module.spec))
    return [{k: v for k, v in point.items() if not k.startswith("time/")} for point in logged]


def fingerprints() -> dict[str, list[dict[str, float]]]:
    """Those of every case and variant."""
    return {variant: fingerprint(variant) for variant in variants()}


def write_fingerprints(path: Path = FILE) -> Path:
    """Write all of them; what the file holds already keeps its place in it."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    measured = fingerprints()
    write_json(path, {name: measured[name] for name in [*known, *measured] if name in measured})
    return path
