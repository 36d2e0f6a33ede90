"""OUR numbers: append-only JSON, written by programs only.

records/<row id>/<UTC time>-<6 hex of content>.json; claims under records/claims/, benchmarks under records/bench/, the
regression gate's references under records/reference/<row id>/. A record is never overwritten and never edited.
"""

import contextlib
import hashlib
import json
import os
import sys
import uuid
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError
from data.common.files import write_json
from data.common.foreign import read_json
from data.common.partials import in_the_making, sweep
from data.common.paths import records_dir
from data.common.text import printable
from reproduce.records.places import without_places
from reproduce.records.schema import RECORD_SCHEMA, check_record, instant

TIME = "%Y%m%dT%H%M%SZ"


def write(record: dict[str, Any]) -> Path:
    """Validate, then add one file; `schema` and `created` are filled in when absent. Returns the file's path.

    Raises ReproduceError for an incomplete record, NaN or infinity, or a folder that cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="microseconds")  # two runs may end in one second
    record = {"schema": RECORD_SCHEMA, "created": now} | record
    if record["schema"] != RECORD_SCHEMA:
        raise ReproduceError(f"this version writes records of schema {RECORD_SCHEMA}, not {record['schema']!r}.")
    record = without_places(record)
    check_record(record, "the record to be written")
    content = json.dumps(record, sort_keys=True)
    folder = _folder(record["kind"], record["row"])
    stem = instant(record["created"], "the record to be written").strftime(TIME)
    staged = in_the_making(folder / uuid.uuid4().hex, "new")
    sweep(folder)
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


def read(pattern: str = "*", kind: str | None = None, left_out: dict[Path, str] | None = None) -> list[dict[str, Any]]:
    """Records whose row id is, or glob-matches, the pattern; oldest first.

    A file of another schema version, with broken JSON or missing keys, or that is no file at all, is added to
    `left_out` with the reason. Raises ReproduceError naming the first such file where `left_out` is None.
    """
    found = []
    for path in sorted(records_dir().rglob("*.json")):
        row_id = path.parent.relative_to(records_dir()).as_posix().removeprefix("reference/")
        if row_id == pattern or fnmatchcase(row_id, pattern):
            try:
                record = load(path)
            except ReproduceError as error:
                if left_out is None:
                    raise
                left_out[path] = str(error)
                continue
            if kind in (None, record["kind"]):
                found.append((instant(record["created"], str(path)), path.name, record | {"file": str(path)}))
    return [record for *_, record in sorted(found, key=lambda entry: entry[:2])]


def read_sound(pattern: str = "*", kind: str | None = None) -> list[dict[str, Any]]:
    """`read` for a run, which no broken file stops: each is named on stderr and left out."""
    left_out: dict[Path, str] = {}
    found = read(pattern, kind, left_out)
    exit_code(0, left_out)
    return found


def read_of_others() -> list[dict[str, Any]]:
    """Every row's records, of which cloning may stand beside another row; a line on stderr says how many are broken."""
    left_out: dict[Path, str] = {}
    found = read("*", "row", left_out)
    note_of_others(len(of_rows(left_out)))
    return found


def of_rows(left_out: dict[Path, str]) -> list[Path]:
    """Of the broken files those that lie where rows' records do."""
    places = [(path, path.relative_to(records_dir()).parts[0]) for path in left_out]
    return [path for path, first in places if first not in ("reference", "claims", "bench", "comparisons")]


def note_of_others(n_broken: int) -> None:
    """Say on stderr that so many records are broken, in which cloning would have been looked for."""
    if n_broken:
        what = "a record that cannot be read; `reproduce list` names it"
        what = what if n_broken == 1 else f"{n_broken} records that cannot be read; `reproduce list` names them"
        print(f"reproduce: cloning of other rows is not looked for in {what}", file=sys.stderr, flush=True)


def exit_code(code: int, left_out: dict[Path, str]) -> int:
    """`code`, or that of an error where records were left out, which stderr then names."""
    for text in left_out.values():
        print(f"reproduce: left out: {printable(text)}", file=sys.stderr, flush=True)
    return ReproduceError.exit_code if left_out else code


def load(path: Path) -> dict[str, Any]:
    """One record, validated."""
    try:
        record = read_json(path)
    except (OSError, ReproduceError) as error:
        raise ReproduceError(
            f"record {path} is truncated or unreadable ({error}): restore it from git, or delete it."
        ) from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != RECORD_SCHEMA or isinstance(schema, bool):
        newer = isinstance(schema, int) and schema > RECORD_SCHEMA
        cure = "update the project" if newer else "it is not readable any more, re-run its row"
        raise ReproduceError(f"record {path} has schema {schema!r}, this version reads {RECORD_SCHEMA}: {cure}.")
    check_record(record, f"record {path}")
    if _folder(record["kind"], record["row"]) != path.parent:
        raise ReproduceError(f"record {path} belongs to {record['kind']} {record['row']}: it was moved; put it back.")
    return record


def _folder(kind: str, row_id: str) -> Path:
    return records_dir() / "reference" / row_id if kind == "reference" else records_dir() / row_id
