"""Launchers and their knobs: `launcher=NAME launcher.KNOB=VALUE` over configs/launcher/<name>.yaml."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.common.errors import ReproduceError, nearest
from data.common.paths import CONFIGS

PLUGINS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
    "ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
}
LOCAL = ("joblib", "submitit_local")  # workers on this machine, which end with the command
THREADS = ("run.threads", "threads")  # both spellings of the setting
AtLeast1 = Annotated[int, Field(ge=1, strict=True)]
AtLeast0 = Annotated[int, Field(ge=0, strict=True)]


class Launcher(BaseModel):
    """The knobs of configs/launcher/<name>.yaml, which explains them; `cpus` decides a job's torch threads."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    name: str
    n_jobs: AtLeast1
    retries: AtLeast0
    timeout_min: AtLeast1 | None
    cpus: AtLeast1 | None
    memory_gb: AtLeast1 | None = None
    gpus: AtLeast0 | None = None
    partition: str | None = None
    account: str | None = None
    address: str | None = None

    @property
    def threads(self) -> int:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.cpus or max(1, cores // self.n_jobs)

    def describe(self) -> str:
        """The launcher and its knobs on one line."""
        own = ("name", "n_jobs", "cpus")
        knobs = {k: v for k, v in self.model_dump().items() if v is not None and k not in own}
        settings = "".join(f", {key} {value}" for key, value in knobs.items())
        return f"launcher {self.name}: one job per row, {self.n_jobs} at a time, {self.threads} threads each{settings}"


def split(overrides: list[str]) -> tuple[list[str], list[str]]:
    """(overrides of rows, `launcher=..` and `launcher.<knob>=..`)."""
    knobs = [o for o in overrides if o.startswith(("launcher=", "launcher."))]
    return [o for o in overrides if o not in knobs], knobs


def launcher_names() -> list[str]:
    return sorted(path.stem for path in (CONFIGS / "launcher").glob("*.yaml"))


def launcher_from(knobs: list[str]) -> Launcher | None:
    """The launcher that `launcher=NAME launcher.KNOB=VALUE ..` asks for; None: rows run here, one after another.

    Raises ReproduceError for an unknown launcher or knob, a value of another type or out of range, or a plugin that is
    not installed.
    """
    if not knobs:
        return None
    given = {key: text for key, _, text in (knob.partition("=") for knob in knobs)}
    name = given.pop("launcher", "none")
    if name == "none" and not given:
        return None
    known = launcher_names()
    if name not in known:
        why = f"{next(iter(given))} needs launcher=NAME" if name == "none" else f"unknown launcher {name!r}"
        raise ReproduceError(f"{why}: choose one of {', '.join(known)}, none.{nearest(name, known)}")
    stated, file = stated_knobs(name)
    values = dict(stated)
    for key, text in given.items():
        knob = key.removeprefix("launcher.")
        if knob not in stated:
            near = nearest(knob, list(stated))
            raise ReproduceError(f"launcher {name} has no knob {key!r}; known: {', '.join(stated)}.{near}")
        try:
            values[knob] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ReproduceError(f"{key}={text}: {error}") from error
    try:
        launcher = Launcher.model_validate(values | {"name": name})
    except ValidationError as error:
        raise _refused(error, given, file) from error
    if not all(_installed(module) for module in PLUGINS[name]):
        raise ReproduceError(f"launcher={name} needs the extra: pip install -e '.[launchers]'")
    if name == "slurm" and shutil.which("sbatch") is None:
        raise ReproduceError("launcher=slurm needs SLURM's sbatch on the PATH: run it on a login node of the cluster.")
    return launcher


def stated_knobs(name: str) -> tuple[dict[str, Any], Path]:
    """(the knobs that configs/launcher/<name>.yaml states, that file)."""
    file = CONFIGS / "launcher" / f"{name}.yaml"
    stated = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("launcher")
    if not isinstance(stated, dict) or "name" in stated:
        raise ReproduceError(f"{file}: expected `launcher:` with the knobs {', '.join(_knobs())}.")
    return stated, file


def _knobs() -> list[str]:
    return [field for field in Launcher.model_fields if field != "name"]


def _refused(error: ValidationError, given: dict[str, str], file: Path) -> ReproduceError:
    """The first fault of a launcher's knobs in words; `file` is named for what the command line did not give."""
    first = error.errors()[0]
    knob = str(first["loc"][0])
    where = "" if f"launcher.{knob}" in given else f"{file}: "
    if first["type"] == "extra_forbidden":
        return ReproduceError(f"{where}unknown knob {knob!r}; known: {', '.join(_knobs())}.{nearest(knob, _knobs())}")
    if first["type"] == "missing":
        return ReproduceError(f"{where}launcher.{knob} is missing; every launcher states it.")
    text = given.get(f"launcher.{knob}", first["input"])
    return ReproduceError(f"{where}launcher.{knob}={text}: must be {_range(knob)}.")


def _range(knob: str) -> str:
    """The values that a knob takes, in words."""
    schema = Launcher.model_json_schema()["properties"][knob]
    kinds = schema.get("anyOf", [schema])
    words = [f"a whole number of at least {k['minimum']}" if "minimum" in k else "a word" for k in kinds[:1]]
    return " or ".join([*words, *("null" for kind in kinds if kind["type"] == "null")])


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it would lie in
        return False


def job_threads(overrides: list[str], launcher: Launcher) -> int:
    """Torch threads of a job: run.threads where it is given, else what the launcher says.

    Raises ReproduceError for a run.threads that is no number.
    """
    given = [text for key, _, text in (o.partition("=") for o in overrides) if key in THREADS]
    if given and not given[-1].isdigit():
        raise ReproduceError(f"run.threads={given[-1]}: expected a number of threads, or 0 for the launcher's choice.")
    return int(given[-1]) if given and int(given[-1]) else launcher.threads


def with_threads(overrides: list[str], threads: int) -> list[str]:
    """A job's settings state its threads: they are part of what decides the bits."""
    return [*(o for o in overrides if o.partition("=")[0] not in THREADS), f"run.threads={threads}"]
