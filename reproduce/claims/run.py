"""Claims: statements of a paper that need no official data. A claim is a config with its own pass rule.

`arms` are rows with overrides; `checks` compare mean scores of two arms, or of an arm with a number, by the 95 % lower
bound of the difference (Welch), or count the seeds above a number. `exact` names a function whose measured quantities
must stay below limits.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import yaml

from data.common.paths import CONFIGS
from data.common.provenance import provenance
from reproduce import records
from reproduce.config import claim_ids, compose, expand


def run_claim(name: str, write: bool = True) -> dict[str, Any]:
    """Run a claim's arms, decide its checks, record it. Raises ReproduceError for an unknown claim."""
    expand(name, claim_ids())
    claim = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    import torch

    started, origin = time.perf_counter(), provenance("cpu", torch.get_num_threads())
    if "exact" in claim:
        arms, checks = _exact(claim["exact"])
    else:
        arms = {arm: _run_arm(spec) for arm, spec in claim["arms"].items()}
        checks = [decide(check, arms) for check in claim["checks"]]
    record = {
        "kind": "claim",
        "row": name,
        "claim": claim,
        "provenance": origin,
        "arms": arms,
        "checks": checks,
        "passed": all(check["passed"] for check in checks),
        "time": {"wall_s": round(time.perf_counter() - started, 2)},
    }
    if write:
        record["file"] = str(records.write(record))
    return record


def _run_arm(spec: dict[str, Any]) -> dict[str, Any]:
    from reproduce.experiment.run import run_row
    from reproduce.regression.gate import mode_scores

    settings = compose(spec["row"], spec.get("overrides", []))
    record = run_row(settings, write=False)
    kept = ("row", "overrides", "config_fingerprint", "seeds", "n_updates", "crashed", "time", "data", "environment")
    return {key: record[key] for key in kept} | {"scores": mode_scores(record)}


def decide(check: dict[str, Any], arms: dict[str, Any]) -> dict[str, Any]:
    """One check on the scores of the arm `left`.

    every_above: all seeds are above it. share_above with between [low, high]: that share of the seeds is. Else
    mean(left) - mean(right), `right` an arm or a number, is at least `at_least`, or `within` in absolute value, decided
    by the 95 % one-sided Welch bounds of the difference.
    """
    mode, left = check["mode"], arms[check["left"]]["scores"][check["mode"]]
    if "every_above" in check:
        return {**check, "lowest": min(left), "passed": min(left) > check["every_above"]}
    if "share_above" in check:
        share = sum(score > check["share_above"] for score in left) / len(left)
        return {**check, "share": share, "passed": check["between"][0] <= share <= check["between"][1]}
    number = not isinstance(check["right"], str)
    right = [float(check["right"])] if number else arms[check["right"]]["scores"][mode]
    low, high = welch_bounds(left, right)
    passed = low >= check["at_least"] if "at_least" in check else -check["within"] <= low and high <= check["within"]
    return {**check, "difference_low": low, "difference_high": high, "passed": bool(passed)}


def welch_bounds(left: Sequence[float], right: Sequence[float]) -> tuple[float, float]:
    """One-sided 95 % bounds of mean(left) - mean(right); a single right value is a constant."""
    import numpy as np
    from scipy.special import stdtrit

    a, b = np.asarray(left), np.asarray(right)
    var_a, var_b = a.var(ddof=1) / len(a), (b.var(ddof=1) / len(b) if len(b) > 1 else 0.0)
    difference, variance = float(a.mean() - b.mean()), float(var_a + var_b)
    if variance == 0:
        return difference, difference
    freedom = variance**2 / (var_a**2 / (len(a) - 1) + (var_b**2 / (len(b) - 1) if len(b) > 1 else 0.0))
    h = float(stdtrit(freedom, 0.95)) * math.sqrt(variance)
    return difference - h, difference + h


def _exact(spec: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from importlib import import_module

    file, function = spec["program"].split(":")
    measured = getattr(import_module(f"reproduce.claims.programs.{file}"), function)(**spec["params"])
    checks = [
        {"text": f"{key} <= {limit:g} (measured {measured[key]:.2g})", "passed": bool(measured[key] <= limit)}
        for key, limit in spec["limits"].items()
    ]
    return {"exact": {"scores": measured, **spec["params"]}}, checks
