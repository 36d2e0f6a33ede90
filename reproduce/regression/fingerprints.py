"""The first line of defense: the losses of the updates of every case in float64, on fixed made-up transitions.

They change when an update rule, a sampler, an initialization or an order of draws changes: `reproduce record losses`
moves them, in a commit that says why.
"""

import json
import math
from functools import partial
from pathlib import Path

import torch

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
    """Write all of them; what the file holds already keeps its place in it, and its digits where it agrees."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    measured = fingerprints()
    moved = {name: losses for name, losses in measured.items() if not agree(known.get(name, []), losses)}
    names = [name for name in [*known, *measured] if name in measured]
    write_json(path, {name: moved[name] if name in moved else known[name] for name in names})
    return path


def agree(recorded: list[dict[str, float]], measured: list[dict[str, float]]) -> bool:
    """Whether these are the losses of one program. Without AVX a processor rounds float32 noise otherwise."""
    vectors = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    rel_tol, abs_tol = (1e-9, 1e-12) if vectors else (1e-5, 1e-4)
    near = partial(math.isclose, rel_tol=rel_tol, abs_tol=abs_tol)
    return len(recorded) == len(measured) and all(
        old.keys() == new.keys() and all(near(old[key], new[key]) for key in old)
        for old, new in zip(recorded, measured, strict=True)
    )
