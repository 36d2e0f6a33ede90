"""THEIR numbers: reads paper_results/<paper>/<table>.yaml, entered by hand; programs never write there.

A cell is the text the paper prints, `mean ± std`, with `unknown` for either part or for the whole; decimals are
counted in that text. What a cell does not say itself it takes from its row, the row's entry in `tasks:`, or the table.
Row ids: <paper>/<table>/<row> is the table's headline algorithm, <paper>/<table>/<row>/<algorithm> a baseline.
"""

import math
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data.common.errors import ReproduceError, nearest
from data.common.paths import PAPER_RESULTS
from reproduce.judge import Bound

SCHEMA = 1
RELATIVE_DELTA = "10 % of |mean - random|"
INHERITED = {"metric", "mode", "n", "std_kind", "source", "delta", "optimum", "minimum_score", "references", "settings"}
TABLE_KEYS = {"schema", "paper", "table", "title", "venue", "headline", "printed_metric", "sources", "tasks", "rows"}
TABLE_KEYS |= {"other"} | INHERITED
NEEDED = ("schema", "paper", "table", "title", "venue", "headline", "metric", "mode", "n", "std_kind", "source", "rows")
NUMBER = re.compile(r"[+-]?\d+(?:\.(\d+))?")
MODES = ("greedy", "sampled")


@dataclass(frozen=True)
class PaperRow:
    """One published number. `references` are named comparison values (None = unknown); `missing` says what keeps
    `bound.delta` unknown (empty when it is known); `sources` are the texts behind the number and the references."""

    id: str
    paper: str
    table: str
    task: str
    dataset: str
    algorithm: str
    metric: str
    mode: str
    bound: Bound
    printed: str
    source: str
    references: dict[str, float | None] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    missing: str = ""

    def score(self, episode_return: float, references: dict[str, float] | None = None) -> float:
        """A mean episode return in the metric of the row. normalized_score: 100 (R - random) / (expert - random).

        `references`: returns of random and expert play in place of the published constants. Raises ReproduceError
        where a constant that is needed is unknown.
        """
        if self.metric != "normalized_score":
            return episode_return
        ends = [(references or {}).get(e, self.references.get(f"normalization_{e}")) for e in ("random", "expert")]
        low, high = ends
        if low is None or high is None:
            raise ReproduceError(f"row {self.id}: a normalized score needs normalization_random and _expert.")
        return 100 * (episode_return - low) / (high - low)


@dataclass(frozen=True)
class OtherNumber:
    """A printed number that no row judges: averages, sweeps, inputs of plots."""

    task: str
    dataset: str
    metric: str
    algorithm: str
    mean: float | None
    std: float | None
    source: str


@dataclass(frozen=True)
class PaperTable:
    """One file of paper_results; `id` is <paper>/<table>."""

    id: str
    title: str
    venue: str
    headline: str
    metric: str
    printed_metric: str
    rows: dict[str, PaperRow]
    other: list[OtherNumber]


class _At:
    """Where in which file we are, for messages."""

    def __init__(self, file: Path, *keys: str) -> None:
        self.file, self.keys = file, keys

    def __truediv__(self, key: object) -> "_At":
        return _At(self.file, *self.keys, str(key))

    def error(self, what: str) -> ReproduceError:
        where = f"{self.file.parent.name}/{self.file.name}"
        return ReproduceError(f"paper_results/{where}, {'.'.join(self.keys) or 'top level'}: {what}")

    def mapping(self, value: Any, allowed: set[str] | None = None) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(f"expected a mapping, found {value!r}.")
        for key in value:
            if allowed is not None and key not in allowed:
                raise (self / key).error(f"unknown key.{nearest(str(key), sorted(allowed))}")
        return value

    def number(self, value: Any) -> float | None:
        if value is None or value == "unknown":
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(f"expected a number or unknown, found {value!r}.")
        return float(value)


def parse_printed(text: Any, at: _At) -> tuple[float | None, float | None, int | None]:
    """`mean ± std` as printed -> (mean, std, decimals of the mean); `unknown` gives None."""
    parts = [part.strip() for part in text.split("±")] if isinstance(text, str) else []
    if parts == ["unknown"]:
        return None, None, None
    mean = NUMBER.fullmatch(parts[0]) if parts else None
    std = NUMBER.fullmatch(parts[1]) if len(parts) == 2 else None
    if not mean or len(parts) != 2 or (not std and parts[1] != "unknown"):
        raise at.error(f"expected `mean ± std`, `mean ± unknown` or `unknown`, found {text!r}.")
    if std and float(std[0]) < 0:
        raise at.error(f"a standard deviation below 0: {text!r}.")
    return float(mean[0]), float(std[0]) if std else None, len(mean[1] or "")


def slug(algorithm: str) -> str:
    """Algorithm as a part of a row id: BCQ-MA -> bcq_ma."""
    return re.sub(r"[^a-z0-9]+", "_", algorithm.lower()).strip("_")


def _source(key: Any, sources: dict[str, str], at: _At) -> str:
    if isinstance(key, list):
        return "; ".join(_source(one, sources, at) for one in key)
    if key is None or key == "unknown":
        return "unknown"
    if not isinstance(key, str):
        raise at.error(f"a source is a key of `sources` or a sentence, found {key!r}.")
    if " " not in key and key not in sources:
        raise at.error(f"source {key!r} is not listed under `sources`.{nearest(key, list(sources))}")
    return sources.get(key, key)


def _flat(settings: Any, at: _At, prefix: str = "") -> dict[str, Any]:
    """Nested or dotted settings -> {dotted config key: value}."""
    flat: dict[str, Any] = {}
    for key, value in at.mapping(settings).items():
        inner = _flat(value, at / key, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        flat |= inner
    return flat


def _row(row_id: str, algorithm: str, cell: dict[str, Any], layers: list[tuple[dict, _At]], sources: dict) -> PaperRow:
    """One cell with what its table, task and row say (later layers win; references and settings are merged)."""
    at = layers[-1][1]
    has: dict[str, Any] = {}
    references: dict[str, float | None] = {}
    origins: dict[str, str] = {}
    settings: dict[str, Any] = {}
    for layer, where in layers:
        has |= layer
        for name, entry in where.mapping(layer.get("references", {})).items():
            spot = where / "references" / name
            entry = spot.mapping(entry, {"value", "source"})
            references[name] = spot.number(entry.get("value", "unknown"))
            origins[name] = _source(entry.get("source"), sources, spot)
        settings |= _flat(layer.get("settings", {}), where / "settings")
    mean, std, decimals = parse_printed(cell["value"], at)
    n = (at / "n").number(has["n"])
    if n is not None and (n < 1 or n != int(n)):
        raise (at / "n").error(f"expected a whole number of seeds or unknown, found {has['n']!r}.")
    if has["mode"] not in MODES:
        raise (at / "mode").error(f"expected {' or '.join(MODES)}, found {has['mode']!r}.")
    if has["std_kind"] not in ("population", "sample", "unknown"):
        raise (at / "std_kind").error(f"expected population, sample or unknown, found {has['std_kind']!r}.")
    numbers = {key: (at / key).number(has.get(key, "unknown")) for key in ("optimum", "minimum_score")}
    delta, missing = _delta(has.get("delta", "unknown"), mean, references.get("random"), at / "delta")
    bound = Bound(mean, std, None if n is None else int(n), has["std_kind"], decimals, delta=delta, **numbers)
    source = _source(has["source"], sources, at / "source")
    paper, table = row_id.split("/")[:2]
    facts = {
        "metric": str(has["metric"]),
        "mode": has["mode"],
        "task": str(has["task"]),
        "dataset": str(has["dataset"]),
    }
    texts = {"value": source, **origins}
    return PaperRow(
        row_id, paper, table, algorithm=algorithm, bound=bound, printed=cell["value"], source=source, missing=missing,
        references=references, sources=texts, settings=settings, **facts,
    )  # fmt: skip


def _delta(rule: Any, mean: float | None, random: float | None, at: _At) -> tuple[float | None, str]:
    """The margin, or None and what is missing."""
    if rule != RELATIVE_DELTA:
        delta = at.number(rule)
        if delta is not None and delta <= 0:
            raise at.error(f"a margin must be above 0, found {delta}.")
        return delta, "" if delta is not None else "delta is not set"
    if mean is None or random is None:
        return None, f"delta = {RELATIVE_DELTA} needs {'the paper mean' if mean is None else 'the random return'}"
    if mean == random:
        return None, f"delta = {RELATIVE_DELTA} leaves no margin: the paper's mean equals the random one"
    return 0.1 * abs(mean - random), ""


def load_table(file: Path) -> PaperTable:
    """One file, validated. Raises ReproduceError naming file, row and key."""
    at = _At(file)
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise at.error(f"cannot be read as YAML: {error}") from error
    document = at.mapping(document, TABLE_KEYS)
    if missing := [key for key in NEEDED if key not in document]:
        raise at.error(f"missing {', '.join(missing)}.")
    if document["schema"] != SCHEMA:
        raise at.error(f"schema {document['schema']!r}; this version reads {SCHEMA}.")
    table_id = f"{document['paper']}/{document['table']}"
    if table_id != f"{file.parent.name}/{file.stem}":
        raise at.error(f"paper and table say {table_id}, the file's place says {file.parent.name}/{file.stem}.")
    sources, headline = at.mapping(document.get("sources", {})), document["headline"]
    top = {key: value for key, value in document.items() if key in INHERITED}
    rows: dict[str, PaperRow] = {}
    for name, entry in at.mapping(document["rows"]).items():
        spot = at / name
        entry = spot.mapping(entry, INHERITED | {"task", "dataset", "cells"})
        if missing := [key for key in ("task", "dataset", "cells") if key not in entry]:
            raise spot.error(f"missing {', '.join(missing)}.")
        task = (at / "tasks").mapping(document.get("tasks", {})).get(entry["task"], {})
        task = (at / "tasks" / entry["task"]).mapping(task, INHERITED)
        if headline not in spot.mapping(entry["cells"]):
            raise (spot / "cells").error(f"the headline algorithm {headline} is missing; write `{headline}: unknown`.")
        for algorithm, cell in entry["cells"].items():
            here = spot / algorithm
            cell = here.mapping(cell, INHERITED | {"value"}) if isinstance(cell, dict) else {"value": cell}
            if "value" not in cell:
                raise here.error("missing value.")
            row_id = f"{table_id}/{name}" + ("" if algorithm == headline else f"/{slug(algorithm)}")
            if row_id in rows:
                raise here.error(f"the id {row_id} is taken already.")
            layers = [(top, at), (task, at / "tasks" / entry["task"]), (entry, spot), (cell, here)]
            rows[row_id] = _row(row_id, algorithm, cell, layers, sources)
    other = _other(document.get("other", []), sources, at / "other")
    printed = str(document.get("printed_metric", document["metric"]))
    texts = {key: str(document[key]) for key in ("title", "venue", "headline", "metric")}
    return PaperTable(id=table_id, printed_metric=printed, rows=rows, other=other, **texts)


def _other(entries: Any, sources: dict[str, str], at: _At) -> list[OtherNumber]:
    keys = ("task", "dataset", "metric", "source", "cells")
    numbers = []
    for k, entry in enumerate(entries):
        entry = (at / k).mapping(entry, set(keys))
        if missing := [key for key in keys if key not in entry]:
            raise (at / k).error(f"missing {', '.join(missing)}.")
        source = _source(entry["source"], sources, at / k / "source")
        for algorithm, text in (at / k).mapping(entry["cells"]).items():
            mean, std, _ = parse_printed(text, at / k / algorithm)
            about = {key: str(entry[key]) for key in ("task", "dataset", "metric")}
            numbers.append(OtherNumber(algorithm=str(algorithm), mean=mean, std=std, source=source, **about))
    return numbers


@cache
def tables(folder: Path = PAPER_RESULTS) -> dict[str, PaperTable]:
    """Every table, by <paper>/<table>, sorted. Cached: the files do not change while a command runs."""
    files = sorted(folder.glob("*/*.yaml"))
    if not files:
        raise ReproduceError(f"no paper results under {folder}: run from a checkout of the project.")
    return {table.id: table for table in map(load_table, files)}


def rows() -> dict[str, PaperRow]:
    """Every published number, by row id."""
    return {row_id: row for table in tables().values() for row_id, row in table.rows.items()}


def row(row_id: str) -> PaperRow:
    """Raises ReproduceError with the nearest ids for an unknown one."""
    known = rows()
    if row_id not in known:
        raise ReproduceError(f"no row {row_id!r} in paper_results.{nearest(row_id, list(known))}")
    return known[row_id]


def match(pattern: str) -> list[str]:
    """Row ids that are, or glob-match, the pattern (`inspo/*` is all of InSPO). Raises ReproduceError for none."""
    found = [row_id for row_id in rows() if row_id == pattern or fnmatchcase(row_id, pattern)]
    if not found:
        raise ReproduceError(f"no row matches {pattern!r}.{nearest(pattern, list(rows()))} `reproduce list` shows all.")
    return found
