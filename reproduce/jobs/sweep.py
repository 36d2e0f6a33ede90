"""Rows as jobs of a Hydra launcher plugin: `reproduce 'omiga/*' launcher=joblib|submitit_local|slurm|ray`.

Four kinds of processes, each started by the one before: this command; the Hydra application `app`, which is the
launcher; its workers, which run `run_job`; and per job the command itself on one row with --json, whose document is the
job's result, written to outputs/sweeps/<hash>/<row>.json. So a row that runs out of memory takes nobody along, its log
is its own, and any job can be repeated by hand. Repeated after a kill, a sweep does what has no result yet.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import hydra
import yaml

from data.common.errors import ReproduceError, nearest
from data.common.files import write_json
from data.common.paths import CONFIGS, ROOT, outputs_dir, records_dir
from reproduce.config import compose

PLUGINS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "submitit"),
    "ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
}
LOCAL = ("joblib", "submitit_local")  # workers on this machine, which end with the command
JOBS = "jobs.json"
POLL_S = 0.2
THREADS = ("run.threads", "threads")  # both spellings of the setting
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Launcher:
    """The knobs of configs/launcher/<name>.yaml, which explains them; `cpus` decides a job's torch threads."""

    name: str
    n_jobs: int
    retries: int
    timeout_min: int | None
    cpus: int | None
    memory_gb: int | None = None
    gpus: int | None = None
    partition: str | None = None
    account: str | None = None
    address: str | None = None

    @property
    def threads(self) -> int:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.cpus or max(1, cores // self.n_jobs)

    def describe(self) -> str:
        """What it would do, on one line."""
        knobs = {k: v for k, v in asdict(self).items() if v is not None and k not in ("name", "n_jobs", "cpus")}
        settings = "".join(f", {key} {value}" for key, value in knobs.items())
        return f"launcher {self.name}: one job per row, {self.n_jobs} at a time, {self.threads} threads each{settings}"


def split(overrides: list[str]) -> tuple[list[str], list[str]]:
    """(overrides of rows, `launcher=..` and `launcher.<knob>=..`)."""
    knobs = [o for o in overrides if o.startswith(("launcher=", "launcher."))]
    return [o for o in overrides if o not in knobs], knobs


def launcher_from(knobs: list[str]) -> Launcher | None:
    """What `launcher=NAME launcher.KNOB=VALUE ..` asks for; None: in this process, one row after another.

    Raises ReproduceError for an unknown launcher or knob, an ill-typed value, or a plugin that is not installed.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not knobs:
        return None
    given = {key: text for key, _, text in (knob.partition("=") for knob in knobs)}
    name = given.pop("launcher", "none")
    if name == "none" and not given:
        return None
    known = sorted(path.stem for path in (CONFIGS / "launcher").glob("*.yaml"))
    if name not in known:
        why = f"{next(iter(given))} needs launcher=NAME" if name == "none" else f"unknown launcher {name!r}"
        raise ReproduceError(f"{why}: choose one of {', '.join(known)}, none.{nearest(name, known)}")
    stated = yaml.safe_load((CONFIGS / "launcher" / f"{name}.yaml").read_text(encoding="utf-8"))["launcher"]
    for key, text in given.items():
        knob = key.removeprefix("launcher.")
        if knob not in stated:
            raise ReproduceError(f"launcher {name} has no knob {key!r}; known: {', '.join(stated)}.")
        try:
            stated[knob] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ReproduceError(f"{key}={text}: {error}") from error
    try:
        typed = OmegaConf.merge(OmegaConf.structured(Launcher(name, 1, 0, None, None)), stated)
        launcher = Launcher(**typed)  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        raise ReproduceError(f"launcher.{error.full_key}: {str(error).splitlines()[0]}") from error
    for knob, least in {"n_jobs": 1, "retries": 0, "timeout_min": 1, "cpus": 1, "memory_gb": 1, "gpus": 0}.items():
        if (value := getattr(launcher, knob)) is not None and value < least:
            raise ReproduceError(f"launcher.{knob}={value}: must be at least {least}.")
    if not all(_installed(module) for module in PLUGINS[name]):
        raise ReproduceError(f"launcher={name} needs the extra: pip install -e '.[launchers]'")
    if name == "slurm" and shutil.which("sbatch") is None:
        raise ReproduceError("launcher=slurm needs SLURM's sbatch on the PATH: run it on a login node of the cluster.")
    return launcher


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it would lie in
        return False


# ---- the command


def run_sweep(names: list[str], overrides: list[str], launcher: Launcher, report: Report) -> list[dict[str, Any]]:
    """The result of each row or claim, in the order of `names`; `report` is called with each as it comes in.

    A row with bad settings or data, and one whose process died more often than `launcher.retries`, is an error among
    the results. Raises ReproduceError when the same sweep is running already.
    """
    n_threads = job_threads(overrides, launcher)
    jobs, refused, identity = _prepared(names, overrides, n_threads)
    folder = outputs_dir().resolve() / "sweeps" / hashlib.sha256(identity.encode()).hexdigest()[:12]
    results, seen = dict(refused), set(refused)
    for document in refused.values():
        report(document)

    def collect() -> None:
        for name in jobs:
            path = folder / f"{name}.json"
            if name not in seen and path.exists():
                seen.add(name)
                results[name] = json.loads(path.read_text(encoding="utf-8"))
                report(results[name])

    with hold(folder / "lock", "this sweep is running in another process; wait for it."):
        for path in (folder / f"{name}.json" for name in jobs):  # an error may have been mended
            if path.exists() and "error" in json.loads(path.read_text(encoding="utf-8")):
                path.unlink()
        where = {"REPRODUCE_HOME": str(outputs_dir().resolve()), "REPRODUCE_RECORDS": str(records_dir().resolve())}
        env = where | {"PYTHONPATH": _python_path()}
        env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))
        sweep = {"jobs": list(jobs.items()), "env": env, "cwd": os.getcwd(), "timeout_min": launcher.timeout_min}
        collect()
        for _ in range(launcher.retries + 1):
            numbers = [k for k, name in enumerate(jobs) if name not in seen]
            if not numbers:
                break
            held = folder / f"round-{uuid.uuid4().hex}"
            write_json(folder / JOBS, sweep | {"held": str(held) if launcher.name in LOCAL else None})
            with hold(held, f"{held} is in use."):
                _launch(folder, launcher, n_threads, numbers, collect)
        for name in jobs:
            if name not in seen:
                results[name] = _died(folder, name, launcher.retries + 1)
                report(results[name])
        if len(seen) == len(names):
            shutil.rmtree(folder, ignore_errors=True)
    return [results[name] for name in names]


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


def _prepared(names: list[str], overrides: list[str], threads: int) -> tuple[dict[str, list[str]], dict, str]:
    """({row: the overrides of its job}, {row: its error}, whatever decides the results). Datasets are built here, once:
    two workers would build the same one beside each other."""
    from data.catalog import store
    from reproduce.experiment.identity import run_folder

    jobs: dict[str, list[str]] = {}
    refused, runs, files = {}, {}, {}
    own = with_threads(overrides, threads)
    for name in names:
        if name.startswith("claims/"):
            jobs[name], runs[name] = overrides, threads
            continue
        try:
            settings = compose(name, own)
            data = settings.values["data"]
            key = (data["id"], data["kind"], data["root"], data["seed"])
            if key not in files:
                found = store.get(data["id"], data["kind"], data["root"], seed=data["seed"])
                files[key] = json.dumps(found.manifest["files"], sort_keys=True)
            jobs[name], runs[name] = own, run_folder(settings, files[key]).name
        except ReproduceError as error:
            refused[name] = _error(name, str(error))
    return jobs, refused, json.dumps([list(jobs.items()), runs, _code()])


def _code() -> str:
    """Checksum of what a result depends on besides the settings of its run: programs, configs, published numbers."""
    digest = hashlib.sha256()
    parts = (
        "reproduce/**/*.py",
        "lit_modules/**/*.py",
        "data/**/*.py",
        "data/catalog/**/*.yaml",
        "paper_results/**/*.yaml",
    )
    for pattern in (*parts, "configs/rows/**/*.yaml", "configs/claims/**/*.yaml"):
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _launch(folder: Path, launcher: Launcher, threads: int, numbers: list[int], collect: Callable[[], None]) -> None:
    """One round: the Hydra application with the jobs `numbers`, until it ends, however it does."""
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    knobs = asdict(launcher) | {"cpus": threads}
    stated = yaml.safe_load((CONFIGS / "launcher" / f"{launcher.name}.yaml").read_text(encoding="utf-8"))["launcher"]
    settings = [f"launcher.{key}={'null' if knobs[key] is None else knobs[key]}" for key in stated]
    if launcher.name == "ray" and launcher.address is None:
        settings.append(f"+hydra.launcher.ray.init.num_cpus={threads * launcher.n_jobs}")
    command = [sys.executable, "-P", "-c", "from reproduce.jobs.sweep import start; start()", "--multirun"]
    command += [f"launcher={launcher.name}", f"folder='{quoted}'", f"job={','.join(map(str, numbers))}", *settings]
    env = os.environ | {"PYTHONPATH": _python_path(), "RAY_USAGE_STATS_ENABLED": "0"}
    with open(folder / "launcher.log", "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                collect()
        finally:
            process.kill()
            process.wait()


def _python_path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _died(folder: Path, name: str, times: int) -> dict[str, Any]:
    log = next((path for path in (folder / f"{name}.log", folder / "launcher.log") if _text(path)), folder)
    last = (_text(log).splitlines() or [""])[-1]
    return _error(
        name,
        f"its process ended {times} times without a result; last line of {log}: {last!r}. "
        "The same command starts it again, from its last checkpoint.",
    )


def _error(name: str, message: str) -> dict[str, Any]:
    return {"row": name, "error": message, "exit_code": ReproduceError.exit_code}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


@contextmanager
def hold(path: Path, otherwise: str, patience_s: float = 0.0) -> Iterator[IO[str]]:
    """An exclusive lock on a file, which goes with this process, however it ends, and with those that inherit it.

    Raises ReproduceError(`otherwise`) if it is taken, and still taken `patience_s` later.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise ReproduceError(f"cannot write {path}: {error.strerror or error}; REPRODUCE_HOME moves it.") from error
    with file:
        if not taken(file):
            time.sleep(patience_s)
            if not taken(file):
                raise ReproduceError(otherwise)
        yield file


def taken(file: IO[str]) -> bool:
    """Whether this process got the lock of an open file."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# ---- the launcher and its workers


@hydra.main(version_base=None, config_path=str(CONFIGS), config_name="sweep")
def app(config: Any) -> None:
    run_job(Path(config.folder), config.job)


def start() -> None:
    """The process of the launcher."""
    _end_with_parent()
    app()


def run_job(folder: Path, number: int) -> None:
    """In a worker: the row in a process of its own, then its result. No result is left where that process died."""
    sweep = json.loads((folder / JOBS).read_text(encoding="utf-8"))
    name, overrides = sweep["jobs"][number]
    result, printed, log = (folder / f"{name}.{kind}" for kind in ("json", "out", "log"))
    result.parent.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the job of an earlier round, or of a stopped command, has ended
        if result.exists():
            return
        command = [
            sys.executable,
            "-P",
            "-c",
            "from reproduce.jobs.sweep import row; row()",
            name,
            *overrides,
            "--json",
        ]
        with open(printed, "wb") as out, open(log, "wb") as err:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=os.environ | sweep["env"],
                cwd=sweep["cwd"],
                pass_fds=[lock.fileno()],  # the lock is free when worker and row have ended
            )
            try:
                _wait(process, sweep["timeout_min"], sweep["held"])
            finally:
                process.kill()
        if sweep["held"] and _free(sweep["held"]):
            os._exit(1)  # the command is gone, and some launchers' workers would stay
        document = _document(name, process.returncode, _text(printed), _text(log))
        if document is not None:
            write_json(result, document)


def _wait(process: subprocess.Popen, timeout_min: int | None, held: str | None) -> None:
    """Until the row's process ends, its time is up or the round is over, whose file `held` the command keeps locked."""
    limit = time.monotonic() + 60 * (timeout_min or float("inf"))
    while process.poll() is None:
        if time.monotonic() > limit or (held and _free(held)):
            process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)


def _free(path: str) -> bool:
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _document(name: str, code: int, printed: str, log: str) -> dict[str, Any] | None:
    """What the row's process printed, the error that it ended with, or None: then it died."""
    with suppress(ValueError):
        return json.loads(printed)
    _, mark, message = f"\n{log}".rpartition("\nreproduce: ")
    return _error(name, message) if code == ReproduceError.exit_code and mark else None


def row() -> None:
    """The process of a row: the command, which ends when its worker does."""
    from reproduce.cli import main

    _end_with_parent()
    sys.exit(main(sys.argv[1:]))


def _end_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
