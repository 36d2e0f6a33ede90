"""YAML -> Hydra -> the models of a row, once. Everything after this reads attributes."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from data.catalog.registry import dataset
from data.common.errors import ReproduceError, nearest
from data.common.paths import CONFIGS
from data.common.validation import checked
from data.common.yaml_files import read_yaml
from lit_modules import algo_config, algorithms
from reproduce.config.ids import expand, row_ids
from reproduce.config.schema import GROUPS, RowFile, RowSettings, RunSettings
from reproduce.config.settings import Settings, flat
from reproduce.config.tables import column_of, own_of_algorithm

PATHS = ("data.root", "run.stage1")  # settings that name a file or folder
MOST_WORLDS, MOST_CHUNKS = 10**7, 10**7
Composed = Callable[[str, Sequence[str]], dict[str, Any]]  # (row, overrides) -> nested settings
# Folders of configs/ that no row composes.
NOT_GROUPS = ("rows", "claims", "launcher", "matrices", "queue", "schemas", "tables")


def compose(row: str, overrides: Sequence[str] = (), composed: Composed | None = None) -> Settings:
    """Settings of `row` with Hydra `overrides`; `accelerate=compile` is short for `run.accelerate=compile`.

    `composed` stands in for Hydra, for a row that is known to be there.
    Raises ReproduceError for an unknown row, a misspelt or missing key, a value of the wrong type, range or choice.
    """
    own = stated(row, overrides, composed)
    overrides = [f"run.{o}" if o.partition("=")[0] in RunSettings.model_fields else o for o in overrides]
    known = [key for key in flat(own.values()) if key != "row"]
    swapped = _chosen_algorithm(overrides)
    if swapped in algorithms():
        known += [f"algo.{name}" for name in algo_config(swapped).model_fields]
    other_world = any(override.startswith("task=") for override in overrides)
    for override in overrides:
        _check_key(override, known, row, "task.params." if other_world else None)
    used = _checked(row, _values(row, overrides, composed)) if overrides else own
    return Settings(used, own, overrides)


def stated(row: str, overrides: Sequence[str] = (), composed: Composed | None = None) -> RowSettings:
    """The settings of the row's file: of `overrides` only the choices count that the file calls as good as its own.

    `composed` stands in for Hydra, for a row that is known to be there.
    """
    if composed is None:
        expand(row, row_ids())
    values = _values(row, [], composed)
    if judged := [override for override in overrides if override in (values.get("also_judged") or [])]:
        values = _values(row, judged, composed)
    return _checked(row, values)


def _values(row: str, overrides: Sequence[str], composed: Composed | None = None) -> dict[str, Any]:
    """The composed file of the row, or of its table's column. The row's own algo keys go with its own algorithm: of
    them another algorithm takes the budget alone, and has the rest from its own file."""
    file, choices = row, []
    if found := column_of(row, CONFIGS):
        file, choices = found[0], [*found[1].choices(), f"row={row}"]
    everything = [*choices, *overrides]
    values = (composed or _hydra)(file, everything)
    if (chosen := _chosen_algorithm(everything)) in algorithms():
        values["algo"] = {k: v for k, v in values["algo"].items() if k in algo_config(chosen).model_fields}
        listed, base = (_read(CONFIGS / name) for name in (f"rows/{file}.yaml", f"algo/{chosen}.yaml"))
        given = {override.partition("=")[0] for override in everything}
        for key in own_of_algorithm(listed, chosen) - {name.removeprefix("algo.") for name in given}:
            values["algo"] |= {key: base[key]} if key in base else {}
    return values


def _read(file: Path) -> dict[str, Any]:
    return _read_once(file, file.stat().st_mtime_ns)


@cache
def _read_once(file: Path, changed: int) -> dict[str, Any]:
    return read_yaml(file, str(file))


def _chosen_algorithm(overrides: Sequence[str]) -> str | None:
    return next((o.removeprefix("algo=") for o in reversed(overrides) if o.startswith("algo=")), None)


def _checked(row: str, values: dict[str, Any]) -> RowSettings:
    where = f"row {row}"
    checked(RowFile, values, where)
    if missing := next((key for key, value in flat(values).items() if value == "???"), None):
        raise ReproduceError(f"{where}: {missing} is missing; every setting of a row must be given.")
    name = values["algo"].get("name")
    if not isinstance(name, str) or name not in algorithms():
        raise ReproduceError(f"{where}: algo.name={name!r} is unknown.{nearest(str(name), list(algorithms()))}")
    algo = checked(algo_config(name), values["algo"], where, "algo.")
    groups = {group: checked(model, values[group], where, f"{group}.") for group, model in GROUPS.items()}
    dataset(groups["data"].id)  # type: ignore[attr-defined]
    _check_size(where, algo, groups["protocol"], groups["run"])
    return RowSettings(row=row, algo=algo, **groups)  # type: ignore[arg-type]


def _check_size(where: str, algo: Any, protocol: Any, run: Any) -> None:
    """Raises ReproduceError for settings that are within their ranges and together beyond every machine."""
    if (worlds := protocol.n_seeds * protocol.eval_episodes) > MOST_WORLDS:
        raise ReproduceError(
            f"{where}: protocol.n_seeds x protocol.eval_episodes are {worlds} episodes at once, at most "
            f"{MOST_WORLDS}: lower one of them."
        )
    updates = sum(value for key, value in algo.model_dump().items() if key.startswith("n_") and "updates" in key)
    if (chunks := updates // run.chunk_size) > MOST_CHUNKS:
        raise ReproduceError(
            f"{where}: {updates} updates in chunks of run.chunk_size={run.chunk_size} are {chunks} chunks, at most "
            f"{MOST_CHUNKS}: raise run.chunk_size."
        )


def _hydra(row: str, overrides: Sequence[str]) -> dict[str, Any]:
    import yaml
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(CONFIGS), version_base=None):
            config = hydra_compose(f"rows/{row}", overrides=list(map(_quoted, overrides)))
        if found := _resolver(OmegaConf.to_container(config, resolve=False)):
            raise ReproduceError(f"row {row}: {found} asks for a value of this machine; write the value itself.")
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError, RecursionError) as error:
        message = str(error).split("Config search path")[0].split("\nTo append to your config")[0].strip()
        raise ReproduceError(f"row {row} with {list(overrides) or 'no overrides'}: {message}") from error


def _quoted(override: str) -> str:
    """A path between quotes, so that Hydra reads nothing into its letters; `~` is the home folder."""
    key, _, value = override.partition("=")
    if key not in PATHS or value in ("", "null") or value[0] in "'\"":
        return override
    if value.startswith("~"):
        try:
            value = str(Path(value).expanduser())
        except RuntimeError as error:
            raise ReproduceError(f"{override!r}: {error}; write the whole path.") from error
    escaped = re.sub(r'(\\*)(?="|$)', r"\1\1", value).replace('"', '\\"')
    return f'{key}="{escaped}"'


def _resolver(value: Any) -> str:
    """The first text with a resolver such as ${oc.env:HOME}, whose value no other machine has; else empty."""
    if isinstance(value, str):
        return value if re.search(r"\$\{[^}]*:", value) else ""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for one in inner if (found := _resolver(one))), "")


SWEEPS = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(")  # Hydra's words for several values


def several(text: str) -> list[str]:
    """The values of `a,b`, split at commas outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += (letter in "[{(") - (letter in "]})") if not quote else 0
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def groups_of_rows() -> list[str]:
    """Words that choose a file of a group, as in `budget=full`."""
    return sorted(p.name for p in CONFIGS.iterdir() if p.is_dir() and p.name not in NOT_GROUPS)


def _groups_of(row: str) -> list[str]:
    """The groups that the row's file chooses from; Hydra overrides no others."""
    found = column_of(row, CONFIGS)
    file = CONFIGS / "rows" / f"{found[0] if found else row}.yaml"
    listed = read_yaml(file, str(file)).get("defaults", [])
    return [key.strip("/") for entry in listed if isinstance(entry, dict) for key in entry]


def choices(group: str) -> list[str]:
    """What may stand behind `group=`."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def _nearest_setting(key: str, known: list[str]) -> str:
    """As `nearest`; a key without its group, or in capitals, is near to the whole one."""
    word = key.lower()
    if whole := [name for name in known if word in (name, name.rpartition(".")[2])]:
        return f" Nearest: {', '.join(whole[:3])}."
    return nearest(word, known)


def _check_key(override: str, settings: list[str], row: str, unseen: str | None) -> None:
    """Refuse an override whose key the row does not have, naming the nearest key that it has. Keys that begin with
    `unseen` are of a file that another override chooses."""
    key, sep, value = override.partition("=")
    if "${" in override:
        raise ReproduceError(f"{override!r}: write the value itself; a record would hold what ${{..}} stood for here.")
    if not sep or not key:
        raise ReproduceError(f"{override!r} is not an override; write KEY=VALUE, e.g. algo.lr=0.001.")
    groups = groups_of_rows()
    known = [*settings, *groups]
    if key not in known and not (unseen and key.startswith(unseen)):
        if any(o.startswith(f"{key}.") for o in known):
            raise ReproduceError(f"{key} in {override!r} is a group of settings; set one of its keys.")
        raise ReproduceError(f"unknown setting {key!r} in {override!r}.{_nearest_setting(key, known)}")
    if key == "algo.name":
        raise ReproduceError(f"{override!r}: another algorithm has settings of its own; write algo={value}.")
    if key not in PATHS and (len(several(value)) > 1 or SWEEPS.match(value)):
        listed = value if len(several(value)) > 1 else "A,B"
        raise ReproduceError(
            f"{override!r} states several values, and a setting has one. A grid is `--sweep {key}={listed}`; a list is "
            f"written in brackets, {key}=[{listed}]."
        )
    if key in groups and key not in (chosen := _groups_of(row)):
        raise ReproduceError(f"{override}: {row} takes no {key}; what it chooses by name: {', '.join(chosen)}.")
    options = choices(key) if key in groups else []
    if options and value not in options:
        raise ReproduceError(f"{override}: choose one of {', '.join(options)}.{nearest(value, options)}")
