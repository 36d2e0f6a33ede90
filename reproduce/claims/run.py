"""Claims: statements of a paper that need no official data. A claim is a config with its own pass rule."""

import time
from importlib import import_module
from typing import Any

from data.common.errors import ReproduceError, nearest
from data.common.provenance import provenance
from reproduce import records
from reproduce.claims.checks import decide
from reproduce.claims.schema import Arm, Exact, load_claim
from reproduce.config import claim_ids, compose, expand
from reproduce.core import console, ending


def run_claim(name: str, write: bool = True) -> dict[str, Any]:
    """Run a claim's arms, decide its checks, record it. Raises ReproduceError for an unknown or ill-formed claim."""
    with ending.together():
        return _run_claim(name, write)


def _run_claim(name: str, write: bool) -> dict[str, Any]:
    expand(name, claim_ids())
    claim, stated = load_claim(name)
    import torch

    started, origin = time.perf_counter(), provenance("cpu", torch.get_num_threads())
    if claim.exact is not None:
        arms, checks = _exact(claim.exact, name)
    else:
        arms = {}
        for number, (arm, spec) in enumerate(claim.arms.items(), 1):
            with console.row(f"{arm} ({spec.row})", number, len(claim.arms), "arm"):
                arms[arm] = _run_arm(spec)
        if write and (known := _recorded(name, arms)):
            return known
        checks = [decide(check, arms) for check in claim.checks]
    trained = sum(arm["time"]["wall_s"] for arm in arms.values() if "time" in arm)  # partly before it was stopped
    record = {
        "kind": "claim",
        "row": name,
        "claim": stated,
        "provenance": origin,
        "arms": arms,
        "checks": checks,
        "passed": sum(check["passed"] for check in checks) >= (claim.needs or len(checks)),
        "time": {"wall_s": round(max(time.perf_counter() - started, trained), 2)},
    }
    if write:
        record["file"] = str(records.write(record))
    return record


def _recorded(name: str, arms: dict[str, Any]) -> dict[str, Any] | None:
    """The claim's record of these very runs: a kill may fall between it and the end of the command."""
    for record in reversed(records.read_sound(name, "claim")):
        if {k: v.get("run") for k, v in record["arms"].items()} == {k: v["run"] for k, v in arms.items()}:
            console.note(f"{name}: these runs are recorded already, in {record['file']}")
            return record
    return None


def _run_arm(arm: Arm) -> dict[str, Any]:
    from reproduce.experiment.run import run_row
    from reproduce.experiment.scoring import mode_scores

    record = run_row(compose(arm.row, arm.overrides), write=False)
    kept = ("row", "overrides", "config_fingerprint", "seeds", "n_updates", "crashed", "time", "data", "environment")
    kept += ("run",)
    return {key: record[key] for key in kept} | {"scores": mode_scores(record)}


def _exact(spec: Exact, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """({"exact": parameters and what was measured}, its checks)."""
    file, _, function = spec.program.partition(":")
    try:
        program = getattr(import_module(f"reproduce.claims.programs.{file}"), function)
    except (ImportError, AttributeError) as error:
        raise ReproduceError(
            f"configs/{name}.yaml: program {spec.program!r} is not there ({error}); write <file of "
            "reproduce/claims/programs>:<function>."
        ) from error
    measured = program(**spec.params)
    if unknown := next((key for key in spec.limits if key not in measured), None):
        raise ReproduceError(
            f"configs/{name}.yaml: {spec.program} does not measure {unknown!r}.{nearest(unknown, list(measured))}"
        )
    checks = [
        {"text": f"{key} <= {limit:g} (measured {measured[key]:.2g})", "passed": bool(measured[key] <= limit)}
        for key, limit in spec.limits.items()
    ]
    return {"exact": {"scores": measured, **spec.params}}, checks
