"""Claims: statements of a paper that need no official data. A claim is a config with its own pass rule."""

import inspect
import json
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError, nearest
from data.common.paths import records_dir
from data.common.provenance import provenance
from lit_modules import algorithm
from reproduce import records
from reproduce.claims.checks import decide
from reproduce.claims.schema import Check, Exact, load_claim
from reproduce.config import Settings, claim_ids, compose, expand
from reproduce.core import console, ending

OF_A_MACHINE = ("accelerate", "checkpoint_every_s", "device", "threads")  # under `run`: what may be chosen for all arms


def run_claim(name: str, write: bool = True, overrides: Sequence[str] = (), recorded: bool = False) -> dict[str, Any]:
    """Run a claim's arms, decide its checks, record it.

    `overrides`: run.device=cuda and the like, for every arm. `recorded`: an arm of which there is a record with exactly
    its settings counts as it was recorded, and any other is recorded as a run of its row. Raises ReproduceError for an
    unknown or ill-formed claim, for overrides that would change it, and where recorded arms that are compared had other
    data or another world.
    """
    with ending.together():
        return _run_claim(name, write, _of_a_machine(name, overrides), recorded)


def _of_a_machine(name: str, overrides: Sequence[str]) -> list[str]:
    """The overrides with `run.` in front. Raises ReproduceError for any other."""
    given = [(o.removeprefix("run."), o) for o in overrides]
    if wrong := next((o for short, o in given if short.partition("=")[0] not in OF_A_MACHINE), None):
        allowed = ", ".join(f"run.{key}" for key in OF_A_MACHINE)
        raise ReproduceError(
            f"{name}: {wrong} would be another claim, its settings are its file's; {allowed} may be set."
        )
    return [f"run.{short}" for short, _ in given]


def _run_claim(name: str, write: bool, overrides: list[str], recorded: bool) -> dict[str, Any]:
    expand(name, claim_ids())
    claim, stated = load_claim(name)
    import torch

    from reproduce.experiment.before import must_be_writable

    device = next((o.partition("=")[2] for o in overrides if o.startswith("run.device=")), "cpu")
    device = "cpu" if claim.exact is not None else device
    if write:
        must_be_writable(records_dir() / name)
    started, origin = time.perf_counter(), provenance(device, torch.get_num_threads())
    if claim.exact is not None:
        if overrides or recorded:
            console.note(f"{name} is worked out exactly, on the CPU: it has no arms to run or to find recorded")
        arms, checks = _exact(claim.exact, name)
    else:
        settings = {arm: compose(spec.row, [*spec.overrides, *overrides]) for arm, spec in claim.arms.items()}
        _check_before(name, claim.checks, settings)
        arms = {}
        for number, (arm, spec) in enumerate(claim.arms.items(), 1):
            with console.row(f"{arm} ({spec.row})", number, len(claim.arms), "arm"):
                arms[arm] = _run_arm(settings[arm], recorded, write)
        if write and (known := _recorded(name, stated, arms)):
            return known
        _check_alike(name, claim.checks, arms)
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


def _recorded(name: str, stated: dict[str, Any], arms: dict[str, Any]) -> dict[str, Any] | None:
    """The claim's record of these very runs under today's pass rule: a kill may fall between it and the end of the
    command."""
    runs = {arm: found["run"] for arm, found in arms.items()}
    if None in runs.values():  # older records do not tell one run from another
        return None
    for record in reversed(records.read_sound(name, "claim")):
        same = record["claim"] == json.loads(json.dumps(stated))
        if same and {arm: found.get("run") for arm, found in record["arms"].items()} == runs:
            console.note(f"{name}: these runs are recorded already, in {record['file']}")
            return record
    return None


def _check_before(name: str, checks: Sequence[Check], settings: dict[str, Settings]) -> None:
    """Raises ReproduceError for what is known before any arm runs: a mode of acting that an arm's algorithm has not,
    one seed where a spread is needed."""
    for check in checks:
        for arm in [side for side in (check.left, check.right) if isinstance(side, str)]:
            modes = algorithm(settings[arm].algo.name)[0].modes
            if check.mode not in modes:
                raise ReproduceError(f"configs/{name}.yaml: arm {arm} acts {' or '.join(modes)}, not {check.mode}.")
            if check.every_above is None and check.share_above is None and settings[arm].protocol.n_seeds < 2:
                raise ReproduceError(f"configs/{name}.yaml: arm {arm} has one seed, and a difference needs two.")


def _run_arm(settings: Settings, recorded: bool, write: bool) -> dict[str, Any]:
    from reproduce.experiment.run import run_row
    from reproduce.experiment.scoring import mode_scores

    record = records.recorded(settings, where=partial(_counts, settings)) if recorded else None
    if record is not None:
        console.note(f"{settings.row}: recorded in {record['file']}")
    record = record or run_row(settings, write=recorded and write)
    if len(record["crashed"]) == len(record["seeds"]):
        raise ReproduceError(f"{settings.row}: all seeds of this arm diverged, in {record.get('file', 'this run')}.")
    of_record = {"record": Path(record["file"]).name} if "file" in record else {}
    kept = ("row", "overrides", "config_fingerprint", "seeds", "n_updates", "crashed", "time", "data", "environment")
    return {key: record[key] for key in kept} | {"run": record.get("run")} | of_record | {"scores": mode_scores(record)}


def _counts(settings: Settings, record: dict[str, Any]) -> bool:
    """Whether a recorded run is one that the claim would make: in today's world, `run` alike but for OF_A_MACHINE."""
    used, asked = record["config"]["run"], settings.values["run"]
    same = all(used.get(key, value) == value for key, value in asked.items() if key not in OF_A_MACHINE)
    return same and record["environment"]["fingerprint"] == settings.task.fingerprint


def _check_alike(name: str, checks: Sequence[Check], arms: dict[str, Any]) -> None:
    """Raises ReproduceError where a check compares recorded arms that are of other data or worlds than each other."""
    for check in checks:
        if not isinstance(check.right, str):
            continue
        left, right = arms[check.left], arms[check.right]
        if "record" not in {**left, **right} or left["data"]["id"] != right["data"]["id"]:
            continue
        alike = left["environment"]["fingerprint"] == right["environment"]["fingerprint"]
        if not (alike and records.same_data(left["data"], right["data"])):
            raise ReproduceError(
                f"{name}: {check.left} and {check.right} are of other data or of another version of the world; "
                "without --recorded all arms run."
            )


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
    try:
        inspect.signature(program).bind(**spec.params)
    except TypeError as error:
        raise ReproduceError(f"configs/{name}.yaml: exact.params: {error}.") from None
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
