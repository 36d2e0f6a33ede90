"""Launchers and their knobs: `launcher=NAME launcher.KNOB=VALUE` over configs/launcher/<name>.yaml."""

import importlib.util
import secrets
import shutil
from collections.abc import Mapping
from typing import Annotated, Any

import yaml
from pydantic import Field

from data.common.environment import cores
from data.common.errors import ReproduceError, nearest
from data.common.paths import CONFIGS
from data.common.validation import Count, Model, Size, checked
from data.common.yaml_files import read_yaml

PLUGINS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
    "ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
}
LOCAL = ("joblib", "submitit_local")  # workers on this machine, which end with the command
THREADS = ("run.threads", "threads")  # both spellings of the setting


class Launcher(Model):
    """The knobs of configs/launcher/<name>.yaml, which explains them; `cpus` decides a job's torch threads."""

    name: str
    n_jobs: Annotated[Size, Field(le=10_000)]
    retries: Annotated[Count, Field(le=1000)]
    timeout_min: Size | None
    cpus: Annotated[Size, Field(le=1024)] | None
    memory_gb: Annotated[Size, Field(le=10**6)] | None = None
    gpus: Annotated[Count, Field(le=1024)] | None = None
    partition: str | None = None
    account: str | None = None
    address: str | None = None

    @property
    def threads(self) -> int:
        return self.cpus or max(1, cores() // self.n_jobs)

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
    stated = stated_knobs(name)
    values = dict(stated)
    for key, text in given.items():
        knob = key.removeprefix("launcher.")
        if knob not in stated:
            near = nearest(knob, list(stated))
            raise ReproduceError(f"launcher {name} has no knob {key!r}; known: {', '.join(stated)}.{near}")
        values[knob] = _value(key, text)
    launcher = checked(Launcher, {"name": name, **values}, f"launcher {name}", "launcher.", "knob")
    if not all(_installed(module) for module in PLUGINS[name]):
        raise ReproduceError(f"launcher={name} needs the extra: pip install -e '.[launchers]'")
    if name == "slurm" and shutil.which("sbatch") is None:
        raise ReproduceError("launcher=slurm needs SLURM's sbatch on the PATH: run it on a login node of the cluster.")
    return launcher


def stated_knobs(name: str) -> dict[str, Any]:
    """The knobs that configs/launcher/<name>.yaml states. Raises ReproduceError naming the file and what is wrong."""
    file = CONFIGS / "launcher" / f"{name}.yaml"
    stated = read_yaml(file, str(file))
    stated = stated.get("launcher") if isinstance(stated, dict) else None
    if not isinstance(stated, dict):
        raise ReproduceError(f"{file}: expected `launcher:` and its knobs, e.g. n_jobs.")
    checked(Launcher, {**stated, "name": name}, str(file), "launcher.", "knob")
    return stated


def local_ray(cpus: int, env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """(settings, environment) of a Ray of this command's own: on the loopback address alone, with a token.

    RAY_ variables of `env`, which may name a running cluster, are left out; launcher.address asks for one.
    """
    init = {"address": "local", "_node_ip_address": "127.0.0.1", "num_cpus": cpus}
    settings = [f"++hydra.launcher.ray.init.{key}={value}" for key, value in init.items()]
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    own["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # else Ray replaces the loopback address by the machine's
    return settings, {key: value for key, value in env.items() if not key.startswith("RAY_")} | own


def _value(key: str, text: str) -> Any:
    """A knob's value as YAML reads it; words stay words, though they look like numbers."""
    try:
        value, word = yaml.safe_load(text), yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ReproduceError(f"{key}={text}: {error}") from error
    takes_words = Launcher.model_fields[key.removeprefix("launcher.")].annotation == (str | None)
    return word if takes_words and value is not None else value


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
