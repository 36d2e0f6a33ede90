"""A row's settings: composed by Hydra, typed by dataclasses, compared with what the row's file says."""

import hashlib
import json
import re
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from data.common.errors import ReproduceError, nearest
from data.common.paths import CONFIGS

# Keys that change how a run is carried out, not what is computed in law.
FREE = ("run.", "data.kind", "data.root", "data.seed", "data.storage", "protocol.n_seeds", "protocol.eval_every")
# Free as well, for the last checkpoint is what counts, yet part of the fingerprints that records and references hold.
FREE_YET_HASHED = "protocol.eval_every"
NOT_GROUPS = ("rows", "claims", "launcher", "queue")  # folders of configs/ that no row composes
CHOICES = {
    "data.kind": ("regenerated", "official"),
    "data.storage": ("tensor", "memmap"),
    "run.device": ("cpu", "cuda"),
    "run.logger": ("csv", "wandb"),
    "run.accelerate": ("none", "compile", "graph", "compile+graph"),
    "run.matmul_precision": ("highest", "high", "medium"),
    "protocol.mode": ("greedy", "sampled"),
    "protocol.checkpoint": ("last",),
    "protocol.time_limits": ("bootstrap", "terminal"),
}


@dataclass
class DataConfig:
    id: str
    kind: str
    root: str | None
    seed: int | None
    storage: str


@dataclass
class TaskConfig:
    world: str
    params: dict[str, Any]
    fingerprint: str


@dataclass
class ProtocolConfig:
    n_seeds: int
    first_seed: int
    eval_every: int
    eval_episodes: int
    checkpoint: str
    mode: str
    time_limits: str


@dataclass
class RunConfig:
    device: str
    threads: int
    chunk_size: int
    logger: str
    checkpoint_every_s: float
    accelerate: str
    matmul_precision: str
    stage1: str | None


@dataclass
class Settings:
    """What a run uses, beside what its row's file says."""

    row: str
    values: dict[str, Any]  # nested, effective
    row_values: dict[str, Any]  # nested, of the file alone
    overrides: list[str]
    algo: Any  # the algorithm's dataclass

    @property
    def differs(self) -> list[dict[str, Any]]:
        """Settings of the row that the overrides changed, other than free ones."""
        ours, rows = flat(self.values), flat(self.row_values)
        keys = [k for k in sorted(ours | rows) if not k.startswith(FREE) and ours.get(k) != rows.get(k)]
        return [{"key": k, "row": rows.get(k), "used": ours.get(k)} for k in keys]

    @property
    def fingerprint(self) -> str:
        """That of the row's file for every run that computes the same."""
        rows = {key: value for key, value in flat(self.row_values).items() if key == FREE_YET_HASHED}
        return fingerprint(flat(self.values) | rows)

    @property
    def row_fingerprint(self) -> str:
        return fingerprint(self.row_values)


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists stay values."""
    out: dict[str, Any] = {}
    for key, value in nested.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out


def fingerprint(values: dict[str, Any]) -> str:
    """12 hex characters over all settings that are not free, nested or flat."""
    kept = {k: v for k, v in flat(values).items() if k == FREE_YET_HASHED or not k.startswith(FREE)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def row_ids() -> list[str]:
    """Rows that have a config, hence can run."""
    root = CONFIGS / "rows"
    return sorted(str(p.relative_to(root).with_suffix("")) for p in root.rglob("*.yaml"))


def claim_ids() -> list[str]:
    return sorted(str(p.relative_to(CONFIGS).with_suffix("")) for p in (CONFIGS / "claims").rglob("*.yaml"))


def expand(pattern: str, known: list[str]) -> list[str]:
    """The ids that a name or glob stands for. Raises ReproduceError with the nearest names."""
    hits = [name for name in known if fnmatchcase(name, pattern)]
    if not hits:
        raise ReproduceError(
            f"no row or claim named {pattern!r}.{nearest(pattern, known)} `reproduce list` shows all of them."
        )
    return hits


def compose(row: str, overrides: list[str] | tuple[str, ...] = ()) -> Settings:
    """Settings of `row` with Hydra `overrides`; `accelerate=compile` is short for `run.accelerate=compile`.

    Raises ReproduceError for an unknown row, a misspelt or missing key, a value of the wrong type or choice.
    """
    expand(row, row_ids())
    from lit_modules import ALGORITHMS, algorithm

    stated = _hydra(row, [])
    # A choice that the row's file calls as good as its own is what the rest is compared with.
    if judged := [override for override in overrides if override in stated.get("also_judged", [])]:
        stated = _hydra(row, judged)
    row_values, algo_class = _validated(row, stated)
    of_run = [f.name for f in fields(RunConfig)]
    overrides = [f"run.{o}" if o.partition("=")[0] in of_run else o for o in overrides]
    known = list(flat(row_values))
    swapped = next((o.removeprefix("algo=") for o in overrides if o.startswith("algo=")), None)
    if swapped in ALGORITHMS:
        known += [f"algo.{f.name}" for f in fields(algorithm(swapped)[1])]
    for override in overrides:
        _check_key(override, known)
    values = row_values
    if overrides:
        values = _hydra(row, overrides)
        if swapped in ALGORITHMS:  # the row's own algo keys were written for another algorithm
            own = {f.name for f in fields(algorithm(swapped)[1])}
            values["algo"] = {k: v for k, v in values["algo"].items() if k in own}
        values, algo_class = _validated(row, values)
    return Settings(row, values, row_values, overrides, algo_class(**values["algo"]))


def _validated(row: str, values: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The values typed and complete, and the algorithm's dataclass."""
    from lit_modules import ALGORITHMS, algorithm

    name = values["algo"].get("name")
    if name not in ALGORITHMS:
        raise ReproduceError(f"algo.name={name!r} is unknown.{nearest(str(name), list(ALGORITHMS))}")
    algo_class = algorithm(name)[1]
    schemas = {"algo": algo_class, "task": TaskConfig, "protocol": ProtocolConfig, "data": DataConfig, "run": RunConfig}
    typed = {group: _typed(schema, values.get(group) or {}, group, row) for group, schema in schemas.items()}
    for key, allowed in CHOICES.items():
        value = flat(typed)[key]
        if value not in allowed:
            raise ReproduceError(f"{key}={value!r} in row {row}: choose one of {', '.join(allowed)}.")
    for key in ("protocol.n_seeds", "protocol.eval_every", "protocol.eval_episodes", "run.chunk_size"):
        if flat(typed)[key] < 1:
            raise ReproduceError(f"{key}={flat(typed)[key]} in row {row}: must be at least 1.")
    return {"row": row, **typed}, algo_class


def _hydra(row: str, overrides: list[str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(CONFIGS), version_base=None):
            config = hydra_compose(f"rows/{row}", overrides=overrides)
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        message = str(error).split("Config search path")[0].strip()
        raise ReproduceError(f"row {row} with {overrides or 'no overrides'}: {message}") from error


def _check_key(override: str, settings: list[str]) -> None:
    """Refuse an override whose key the row does not have, naming the nearest key that it has."""
    key, sep, _ = override.partition("=")
    if not sep or not key:
        raise ReproduceError(f"{override!r} is not an override; write KEY=VALUE, e.g. algo.lr=0.001.")
    groups = [p.name for p in CONFIGS.iterdir() if p.is_dir() and p.name not in NOT_GROUPS]
    known = [*settings, *groups]
    if key not in known and not key.startswith("task.params."):
        if any(o.startswith(f"{key}.") for o in known):
            raise ReproduceError(f"{key} in {override!r} is a group of settings; set one of its keys.")
        raise ReproduceError(f"unknown setting {key!r} in {override!r}.{nearest(key, known)}")


def _typed(schema: Any, values: dict[str, Any], group: str, row: str) -> dict[str, Any]:
    """Merge values into the dataclass: unknown, missing and ill-typed keys are errors that name the key."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = [f.name for f in fields(schema)]
    for key in values:
        if key not in known:
            raise ReproduceError(f"row {row}: unknown setting {group}.{key}.{nearest(key, known)}")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
    except OmegaConfBaseException as error:
        raise ReproduceError(f"row {row}: {group}.{error.full_key}: {str(error).splitlines()[0]}") from error
    if missing := sorted(OmegaConf.missing_keys(merged)):
        raise ReproduceError(f"row {row}: {group}.{missing[0]} is missing; every setting of a row must be given.")
    return OmegaConf.to_container(merged, resolve=True)  # type: ignore[return-value]


def sources(row: str, overrides: list[str] | tuple[str, ...] = ()) -> dict[str, str]:
    """Dotted key -> the comment on its line, following defaults lists; a group that an override chooses is read
    instead of the row's."""
    return _sources(CONFIGS / "rows" / f"{row}.yaml", dict(o.split("=", 1) for o in overrides if "=" in o))


def _sources(path: Path, chosen: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    text = path.read_text(encoding="utf-8")
    everywhere = "@package _global_" in text.partition("\n")[0]
    prefix = "" if everywhere or path.parent == CONFIGS else str(path.parent.relative_to(CONFIGS))
    for entry in (yaml.safe_load(text) or {}).get("defaults", ["_self_"]):
        if entry == "_self_":
            found |= _comments(path, prefix)
            continue
        group, name = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        root, group = CONFIGS if f"{group}{name}".startswith("/") else path.parent, group.strip("/")
        found |= _sources(root / group / f"{(chosen.get(group) or name).strip('/')}.yaml", chosen)
    return found


def _comments(path: Path, prefix: str) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, str] = {}

    def visit(node: yaml.Node, key: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for child, value in node.value:
                visit(value, f"{key}.{child.value}" if key else child.value)
        comment = re.search(r"\s#\s*(.*)$", lines[node.start_mark.line])
        if key and comment and not isinstance(node, yaml.MappingNode):
            found[key] = comment.group(1).strip()

    root = yaml.compose(text)
    if root is not None:
        visit(root, prefix)
    return found
