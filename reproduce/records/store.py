"""OUR numbers: append-only JSON, written by programs only.

records/<row id>/<UTC time>-<6 hex of content>.json; claims under records/claims/, benchmarks under records/bench/, the
regression gate's references under records/reference/<row id>/. A record is never overwritten and never edited.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import uuid
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError
from data.common.files import write_json
from data.common.paths import records_dir
from reproduce.judge import Verdict

RECORD_SCHEMA = 1
COMMON = ("schema", "kind", "row", "created", "provenance", "time")
RUN = (
    *("config", "config_fingerprint", "row_fingerprint", "overrides", "differs", "data", "environment", "seeds"),
    *("n_updates", "deviations", "evaluation", "scores", "crashed", "curve"),
)
REQUIRED = {
    "row": (*COMMON, *RUN, "verdict"),
    "reference": (*COMMON, *RUN),
    "claim": (*COMMON, "checks", "arms", "passed"),
    "bench": (*COMMON, "repeats", "lines"),
}
ROW_ID = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)+")
TIME = "%Y%m%dT%H%M%SZ"


def write(record: dict[str, Any]) -> Path:
    """Validate, then add one file; `schema` and `created` are filled in when absent. Returns the file's path.

    Raises ReproduceError for an incomplete record, NaN or infinity, or a folder that cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"schema": RECORD_SCHEMA, "created": now} | record
    if record["schema"] != RECORD_SCHEMA:
        raise ReproduceError(f"this version writes records of schema {RECORD_SCHEMA}, not {record['schema']!r}.")
    _validate(record, "the record to be written")
    content = json.dumps(record, sort_keys=True)
    folder = _folder(record["kind"], record["row"])
    stem = _instant(record["created"], "the record to be written").strftime(TIME)
    staged = folder / f".{uuid.uuid4().hex}.new"
    try:
        write_json(staged, record)
        for attempt in range(1000):  # the same content twice in one second is still two runs
            salted = content if attempt == 0 else f"{content}{attempt}"
            path = folder / f"{stem}-{hashlib.sha256(salted.encode()).hexdigest()[:6]}.json"
            if _claim(staged, path):
                return path
        raise ReproduceError(f"no free name for a record in {folder}: it holds a thousand equal ones of one second.")
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)


def _claim(staged: Path, path: Path) -> bool:
    """Move the finished file to its name unless that is taken: linking, unlike renaming, refuses to replace."""
    try:
        os.link(staged, path)
    except FileExistsError:
        return False
    except OSError:  # a filesystem without hard links: reserve the name, then move the whole file over it
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            return False
        except OSError as error:
            raise ReproduceError(f"cannot write {path}: {error.strerror or error}.") from error
        os.replace(staged, path)
    return True


def read(pattern: str = "*", kind: str | None = None) -> list[dict[str, Any]]:
    """Records whose row id is, or glob-matches, the pattern; oldest first.

    Raises ReproduceError naming the file for another schema version, broken JSON or missing keys.
    """
    found = []
    for path in sorted(records_dir().rglob("*.json")):
        row_id = path.parent.relative_to(records_dir()).as_posix().removeprefix("reference/")
        if row_id == pattern or fnmatchcase(row_id, pattern):
            record = load(path)
            if kind in (None, record["kind"]):
                found.append((_instant(record["created"], str(path)), path.name, record))
    return [record for *_, record in sorted(found, key=lambda entry: entry[:2])]


def of_own_algorithm(record: dict[str, Any]) -> bool:
    """Whether the row's own algorithm ran; a baseline on its data (`algo=bc`) is recorded under the same row."""
    return all(difference.get("key") != "algo.name" for difference in record.get("differs", []))


def standing(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of records, oldest first, those that stand for their rows: per row and dataset (regenerated or official) the
    comparable one by the row's own algorithm with the most updates, of equals the newest; where a row and kind of data
    have none, the newest with the row's own settings, else the newest."""
    chosen: dict[tuple, dict[str, Any]] = {}

    def rank(record: dict[str, Any]) -> tuple[bool, bool, int]:
        comparable = record["verdict"]["state"] != "NOT COMPARABLE"
        return comparable, not record["differs"], record["n_updates"] if comparable else 0

    for record in found:
        if record["kind"] != "row" or not of_own_algorithm(record):
            continue
        key = (record["row"], record["data"].get("kind"), record["data"].get("id") if rank(record)[0] else None)
        if key not in chosen or rank(record) >= rank(chosen[key]):
            chosen[key] = record
    comparable = {key[:2] for key in chosen if key[2]}
    return [record for key, record in chosen.items() if key[2] or key[:2] not in comparable]


def latest(row_id: str, kind: str | None = "row", comparable_only: bool = False) -> dict[str, Any] | None:
    """The newest record of one row by its own algorithm, or None. `comparable_only` skips NOT COMPARABLE runs."""
    for record in reversed(read(row_id, kind)):
        state = record.get("verdict", {}).get("state")
        wanted = record["row"] == row_id and of_own_algorithm(record)
        if wanted and not (comparable_only and state == "NOT COMPARABLE"):
            return record
    return None


def load(path: Path) -> dict[str, Any]:
    """One record, validated."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ReproduceError(f"record {path} is truncated or unreadable ({error}): restore it from git.") from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != RECORD_SCHEMA:
        newer = isinstance(schema, int) and schema > RECORD_SCHEMA
        cure = "update the project" if newer else "it is not readable any more, re-run its row"
        raise ReproduceError(f"record {path} has schema {schema!r}, this version reads {RECORD_SCHEMA}: {cure}.")
    _validate(record, f"record {path}")
    if _folder(record["kind"], record["row"]) != path.parent:
        raise ReproduceError(f"record {path} belongs to {record['kind']} {record['row']}: it was moved; put it back.")
    return record


def _folder(kind: str, row_id: str) -> Path:
    return records_dir() / "reference" / row_id if kind == "reference" else records_dir() / row_id


def _instant(created: Any, what: str) -> datetime:
    try:
        instant = datetime.fromisoformat(created)
    except (TypeError, ValueError) as error:
        raise ReproduceError(f"{what}: created is {created!r}, expected an ISO time in UTC.") from error
    if instant.tzinfo is None:
        raise ReproduceError(f"{what}: created is {created!r}, without its time zone; write UTC.")
    return instant.astimezone(UTC)


def _validate(record: dict[str, Any], what: str) -> None:
    if record.get("kind") not in REQUIRED:
        raise ReproduceError(f"{what}: kind is {record.get('kind')!r}, known: {', '.join(REQUIRED)}.")
    if missing := [key for key in REQUIRED[record["kind"]] if key not in record]:
        raise ReproduceError(f"{what}: missing {', '.join(missing)}.")
    row_id = record["row"]
    if not isinstance(row_id, str) or not ROW_ID.fullmatch(row_id):
        raise ReproduceError(f"{what}: row {row_id!r} is no row id (<paper>/<table>/<row>, lower case).")
    prefix = {"claim": "claims/", "bench": "bench/"}.get(record["kind"], "")
    taken = ("claims/", "bench/", "reference/")
    if row_id.startswith(prefix or taken) != bool(prefix):
        raise ReproduceError(f"{what}: a {record['kind']} cannot be filed under {row_id!r}.")
    _instant(record["created"], what)
    if not _all_finite(record) and (bad := _not_finite(record, "")):
        raise ReproduceError(f"{what}: NaN or infinity at {bad}; a crashed seed is listed under `crashed`.")
    if record["kind"] not in ("claim", "bench"):
        scores, seeds = record["scores"], record["seeds"]
        scores = scores.get("per_seed") if isinstance(scores, dict) else None
        if not isinstance(scores, list) or not isinstance(seeds, list) or len(scores) != len(seeds):
            raise ReproduceError(f"{what}: scores.per_seed must hold one score for each of the seeds {seeds}.")
    if record["kind"] == "row":
        try:
            Verdict.from_json(record["verdict"])
        except ReproduceError as error:
            raise ReproduceError(f"{what}: {error}") from error


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
