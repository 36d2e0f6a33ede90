"""The keys of each kind of record, checked on writing and on reading.

The top level and the verdict hold these keys alone; keys that older records lack are optional here. The parts below the
top level (`Part`) name what readers of records rely on, and may hold more: statistics of a dataset, further metrics of
a world, settings of an algorithm.
"""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from data.common.errors import ReproduceError
from data.common.text import control_character
from data.common.validation import Count, Model, NonNegative, Size, checked
from reproduce.judge import Verdict
from reproduce.records.comparison import Arm, ArmDifference, check_arms
from reproduce.records.parts import (
    Check,
    Config,
    Crash,
    Data,
    Difference,
    Environment,
    Json,
    Provenance,
    ScoresPart,
    VerdictPart,
)

RECORD_SCHEMA = 1
MODES = ("greedy", "sampled")
ROW_ID = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)+")


class Record(Model):
    """Every kind has these. `time` holds seconds, `wall_s` at least."""

    model_config = ConfigDict(populate_by_name=True)
    version: Literal[1] = Field(alias="schema")
    kind: Literal["row", "reference", "claim", "bench", "comparison"]
    row: str
    created: str
    provenance: Provenance
    time: dict[str, NonNegative | None]


class Reference(Record):
    """A run that the regression gate compares with."""

    config: Config
    config_fingerprint: str
    row_fingerprint: str
    overrides: list[str]
    differs: list[Difference]
    data: Data
    environment: Environment
    seeds: list[Count]
    n_updates: Count
    deviations: list[str]
    evaluation: Json
    scores: ScoresPart
    crashed: list[Crash]
    curve: dict[str, list[Any]]
    weights_sha256: str | None = None
    # Keys that records from before they were measured lack.
    notes: list[str] = Field(default_factory=list)
    behavior_cloning: list[float] | None = None
    diagnostics: dict[str, dict[str, list[float | None]]] = Field(default_factory=dict)
    stage1: Json = Field(default_factory=dict)
    acceleration: Json = Field(default_factory=dict)
    run: Json = Field(default_factory=dict)
    memory: Json = Field(default_factory=dict)


class Row(Reference):
    """A run of a row, and its verdict."""

    verdict: VerdictPart


class Claim(Record):
    """A claim's arms and checks."""

    claim: Json = Field(default_factory=dict)
    arms: Json
    checks: list[Check]
    passed: bool


class Bench(Record):
    """A benchmark: lines of measurements, medians of `repeats` rounds."""

    repeats: Size
    lines: list[Json]


class Comparison(Record):
    """Arms of one row on the same data and seeds; `judged` differences share their error."""

    of: str
    overrides: list[str]
    metric: str
    data: Data
    seeds: list[Count]
    arms: dict[str, Arm]
    reference: str
    judged: Size
    method: str
    differences: list[ArmDifference]


KINDS: dict[str, type[Record]] = {
    "row": Row,
    "reference": Reference,
    "claim": Claim,
    "bench": Bench,
    "comparison": Comparison,
}
PREFIXES = {"claim": "claims/", "bench": "bench/", "comparison": "comparisons/"}


def check_record(record: Any, what: str) -> None:
    """Raises ReproduceError, beginning with `what`, for the first fault of a record that was parsed."""
    kind = record.get("kind") if isinstance(record, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ReproduceError(f"{what}: kind is {kind!r}, known: {', '.join(KINDS)}.")
    text = _strict_json(record, what)
    if text is None and (bad := _not_finite(record, "")):
        raise ReproduceError(f"{what}: NaN or infinity at {bad}; a crashed seed is listed under `crashed`.")
    checked(KINDS[kind], record, what, noun="key")
    if bad := control_character(text or ""):
        raise ReproduceError(f"{what}: it holds the control character {bad}, which a terminal would obey.")
    row_id = record["row"]
    if not ROW_ID.fullmatch(row_id):
        raise ReproduceError(f"{what}: row {row_id!r} is no row id (<paper>/<table>/<row>, lower case).")
    prefix = PREFIXES.get(kind, "")
    taken = (*PREFIXES.values(), "reference/")
    if row_id.startswith(prefix or taken) != bool(prefix):
        raise ReproduceError(f"{what}: a {kind} cannot be filed under {row_id!r}.")
    instant(record["created"], what)
    if "wall_s" not in record["time"]:
        raise ReproduceError(f"{what}: time.wall_s is missing; every key must be given.")
    if kind in ("row", "reference"):
        _check_seeds(record, what)
    if kind == "comparison":
        check_arms(record, what)
    if kind == "row":
        verdict = Verdict.from_json(record["verdict"])
        for key in ("exit_code", "headline"):
            if record["verdict"][key] != (right := getattr(verdict, key)):
                found = record["verdict"][key]
                raise ReproduceError(f"{what}: verdict.{key} is {found!r}, that of {verdict.state} is {right!r}.")


def _check_seeds(record: dict[str, Any], what: str) -> None:
    """Each seed stands once, has one score, and played episodes in the mode that is scored, unless it diverged."""
    seeds, scores = record["seeds"], record["scores"]
    if len(set(seeds)) != len(seeds):
        raise ReproduceError(f"{what}: seeds {seeds} hold one of them twice.")
    if len(scores["per_seed"]) != len(seeds):
        raise ReproduceError(f"{what}: scores.per_seed must hold one score for each of the seeds {seeds}.")
    diverged = {crash.get("seed") for crash in record["crashed"]}
    lost = [seed in diverged for seed in seeds]  # may lack their numbers
    if none := [s for s, x, may in zip(seeds, scores["per_seed"], lost, strict=True) if x is None and not may]:
        raise ReproduceError(f"{what}: seed {none[0]} has no score in scores.per_seed and is not listed under crashed.")
    for mode in {scores["mode"], *(set(MODES) & set(record["evaluation"]))}:
        played = record["evaluation"].get(mode)
        if (
            not isinstance(played, list)
            or len(played) != len(seeds)
            or not all(_are_numbers(x) or (x is None and may) for x, may in zip(played, lost, strict=True))
        ):
            raise ReproduceError(
                f"{what}: evaluation.{mode} must hold a list of returns for each of the seeds {seeds}."
            )
    points = record["curve"].get("n_updates", [])
    for key, values in record["curve"].items():
        fine = _is_count if key == "n_updates" else lambda point: _are_numbers(point, lost)
        if len(values) != len(points) or not all(map(fine, values)):
            raise ReproduceError(f"{what}: curve.{key} must hold one value per point.")
    for phase, quantities in record.get("diagnostics", {}).items():
        for name, values in quantities.items():
            if len(values) != len(seeds):
                raise ReproduceError(f"{what}: diagnostics.{phase}.{name} must hold one value per seed.")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_numbers(values: Any, lost: list[bool] | None = None) -> bool:
    """Whether it is a list of numbers, or of None at places that are `lost`."""
    if not isinstance(values, list) or not values:
        return False
    may = lost if lost and len(lost) == len(values) else [False] * len(values)
    return all(type(value) in (float, int) or (value is None and gone) for value, gone in zip(values, may, strict=True))


def instant(created: Any, what: str) -> datetime:
    """An ISO time with its zone, in UTC. Raises ReproduceError, beginning with `what`, for anything else."""
    try:
        found = datetime.fromisoformat(created)
        in_utc = found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:  # overflow: the first and the last day of the calendar
        raise ReproduceError(f"{what}: created is {created!r}, expected an ISO time in UTC.") from error
    if found.tzinfo is None:
        raise ReproduceError(f"{what}: created is {created!r}, without its time zone; write UTC.")
    return in_utc


def _strict_json(value: Any, what: str) -> str | None:
    """The value as JSON, None for NaN or infinity: the encoder looks many times faster than number by number.

    Raises ReproduceError, beginning with `what`, for a value that JSON cannot hold at all.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return None
    except (TypeError, RecursionError) as error:
        raise ReproduceError(f"{what}: it holds a value that JSON cannot: {error}.") from error


def _not_finite(value: Any, where: str) -> str:
    """Dotted path of the first NaN or infinity, or an empty string."""
    if isinstance(value, float) and not math.isfinite(value):
        return where
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return next((bad for key, inner in items if (bad := _not_finite(inner, f"{where}.{key}".lstrip(".")))), "")


def json_schema() -> dict[str, Any]:
    """JSON Schemas by kind."""
    return {kind: model.model_json_schema() for kind, model in KINDS.items()}
