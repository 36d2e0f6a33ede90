"""The keys of each kind of record, checked on writing and on reading.

The models hold the top level; what lies below is plain JSON. Keys that older records lack are optional here, and
`evaluation` may hold further metrics of a world beside its modes.
"""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from data.common.errors import ReproduceError
from data.common.validation import Count, Model, NonNegative, Size, checked
from reproduce.judge import Verdict

RECORD_SCHEMA = 1
ROW_ID = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)+")
Json = dict[str, Any]


class Record(Model):
    """Every kind has these. `time` holds seconds, `wall_s` at least."""

    model_config = ConfigDict(populate_by_name=True)
    version: Literal[1] = Field(alias="schema")
    kind: Literal["row", "reference", "claim", "bench"]
    row: str
    created: str
    provenance: Json
    time: dict[str, NonNegative | None]


class Reference(Record):
    """A run that the regression gate compares with."""

    config: Json
    config_fingerprint: str
    row_fingerprint: str
    overrides: list[str]
    differs: list[Json]
    data: Json
    environment: Json
    seeds: list[Count]
    n_updates: Count
    deviations: list[str]
    evaluation: Json
    scores: Json
    crashed: list[Json]
    curve: Json
    weights_sha256: str | None = None
    # Keys that records from before they were measured lack.
    notes: list[str] = Field(default_factory=list)
    behavior_cloning: list[float] | None = None
    stage1: Json = Field(default_factory=dict)
    acceleration: Json = Field(default_factory=dict)
    memory: Json = Field(default_factory=dict)


class Row(Reference):
    """A run of a row, and its verdict."""

    verdict: Json


class Claim(Record):
    """A claim's arms and checks."""

    claim: Json = Field(default_factory=dict)
    arms: Json
    checks: list[Json]
    passed: bool


class Bench(Record):
    """A benchmark: lines of measurements, medians of `repeats` rounds."""

    repeats: Size
    lines: list[Json]


KINDS: dict[str, type[Record]] = {"row": Row, "reference": Reference, "claim": Claim, "bench": Bench}


def check_record(record: Any, what: str) -> None:
    """Raises ReproduceError, beginning with `what`, for the first fault of a record that was parsed."""
    kind = record.get("kind") if isinstance(record, dict) else None
    if kind not in KINDS:
        raise ReproduceError(f"{what}: kind is {kind!r}, known: {', '.join(KINDS)}.")
    checked(KINDS[kind], record, what, noun="key")
    row_id = record["row"]
    if not ROW_ID.fullmatch(row_id):
        raise ReproduceError(f"{what}: row {row_id!r} is no row id (<paper>/<table>/<row>, lower case).")
    prefix = {"claim": "claims/", "bench": "bench/"}.get(kind, "")
    taken = ("claims/", "bench/", "reference/")
    if row_id.startswith(prefix or taken) != bool(prefix):
        raise ReproduceError(f"{what}: a {kind} cannot be filed under {row_id!r}.")
    instant(record["created"], what)
    if not _all_finite(record) and (bad := _not_finite(record, "")):
        raise ReproduceError(f"{what}: NaN or infinity at {bad}; a crashed seed is listed under `crashed`.")
    if kind in ("row", "reference"):
        scores, seeds = record["scores"].get("per_seed"), record["seeds"]
        if not isinstance(scores, list) or len(scores) != len(seeds):
            raise ReproduceError(f"{what}: scores.per_seed must hold one score for each of the seeds {seeds}.")
    if kind == "row":
        try:
            Verdict.from_json(record["verdict"])
        except ReproduceError as error:
            raise ReproduceError(f"{what}: {error}") from error


def instant(created: Any, what: str) -> datetime:
    """An ISO time with its zone, in UTC. Raises ReproduceError, beginning with `what`, for anything else."""
    try:
        found = datetime.fromisoformat(created)
    except (TypeError, ValueError) as error:
        raise ReproduceError(f"{what}: created is {created!r}, expected an ISO time in UTC.") from error
    if found.tzinfo is None:
        raise ReproduceError(f"{what}: created is {created!r}, without its time zone; write UTC.")
    return found.astimezone(UTC)


def _all_finite(value: Any) -> bool:
    """Whether strict JSON can hold the value: looked at by the encoder, many times faster than number by number."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _not_finite(value: Any, where: str) -> str:
    """Dotted path of the first NaN or infinity, or an empty string."""
    if isinstance(value, float) and not math.isfinite(value):
        return where
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return next((bad for key, inner in items if (bad := _not_finite(inner, f"{where}.{key}".lstrip(".")))), "")


def json_schema() -> dict[str, Any]:
    """JSON Schemas by kind."""
    return {kind: model.model_json_schema() for kind, model in KINDS.items()}
