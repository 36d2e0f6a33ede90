"""Rows as jobs of a Hydra launcher plugin: `reproduce 'omiga/*' launcher=joblib|submitit_local|slurm|ray`.

Four kinds of processes, each started by the one before: this command; the Hydra application of worker.py, which is the
launcher; its workers, which run `run_job`; and per job the command itself on one row with --json, whose document is the
job's result, written to outputs/sweeps/<hash>/<row>.json. So a row that runs out of memory takes nobody along, its log
is its own, and any job can be repeated by hand. Repeated after a kill, a sweep does what has no result yet.
"""

import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.common.errors import ReproduceError
from data.common.files import write_json
from data.common.paths import ROOT, outputs_dir, records_dir
from reproduce.config import compose
from reproduce.jobs.launchers import LOCAL, Launcher, job_threads, local_ray, stated_knobs, with_threads
from reproduce.jobs.locks import hold, hold_with_children
from reproduce.jobs.processes import POLL_S, as_parent, python, python_path, thread_variables

JOBS = "jobs.json"
MARK = "#"  # between a row and the number of its point: no row id holds it
CODE = (  # a result depends on it besides the settings of its run: programs, configs, published numbers
    *("reproduce/**/*.py", "lit_modules/**/*.py", "data/**/*.py", "data/**/*.yaml", "paper_results/**/*.yaml"),
    "configs/**/*.yaml",
)
Report = Callable[[dict[str, Any]], None]


def run_sweep(
    names: list[str],
    overrides: list[str],
    launcher: Launcher,
    report: Report,
    points: Sequence[Sequence[str]] = ((),),
) -> list[dict[str, Any]]:
    """The result of each row or claim, in the order of `names`; `report` is called with each as it comes in.

    `points` are overrides on top: each name runs once per point, and its result says which as `point`.

    A row with bad settings or data, and one whose process died more often than `launcher.retries`, is an error among
    the results. Raises ReproduceError when the same sweep is running already.
    """
    n_threads, *others = {job_threads([*overrides, *point], launcher) for point in points}
    if others:
        raise ReproduceError("run.threads differs between the jobs of one launcher: name it once, for all of them.")
    wanted = {_job(name, k): (name, list(point)) for name in names for k, point in enumerate(points)}
    jobs, refused, identity = _prepared(wanted, overrides, n_threads)
    folder = outputs_dir().resolve() / "sweeps" / hashlib.sha256(identity.encode()).hexdigest()[:12]
    results, seen = {}, set()

    def took(job: str, document: dict[str, Any]) -> None:
        name, point = wanted[job]
        results[job] = document | {"row": name} | ({"point": point} if point else {})
        report(results[job])

    for job, document in refused.items():
        seen.add(job)
        took(job, document)

    def collect() -> None:
        for name in jobs:
            path = folder / f"{name}.json"
            if name not in seen and path.exists():
                seen.add(name)
                took(name, json.loads(path.read_text(encoding="utf-8")))

    with hold(folder / "lock", "this sweep is running in another process; wait for it."):
        for path in (folder / f"{name}.json" for name in jobs):  # an error may have been mended
            if path.exists() and "error" in json.loads(path.read_text(encoding="utf-8")):
                path.unlink()
        where = {"REPRODUCE_HOME": str(outputs_dir().resolve()), "REPRODUCE_RECORDS": str(records_dir().resolve())}
        env = where | {"PYTHONPATH": python_path()} | thread_variables(n_threads)
        sweep = {"jobs": list(jobs.items()), "env": env, "cwd": os.getcwd(), "timeout_min": launcher.timeout_min}
        collect()
        for _ in range(launcher.retries + 1):
            numbers = [k for k, name in enumerate(jobs) if name not in seen]
            if not numbers:
                break
            held = folder / f"round-{uuid.uuid4().hex}"
            write_json(folder / JOBS, sweep | {"held": str(held) if launcher.name in LOCAL else None})
            with hold_with_children(held, f"{held} is in use."):  # its workers look at it: the command is there
                _launch(folder, launcher, n_threads, numbers, collect)
        for name in jobs:
            if name not in seen:
                took(name, _died(folder, name, launcher.retries + 1))
        if len(seen) == len(wanted):
            shutil.rmtree(folder, ignore_errors=True)
    return [results[job] for job in wanted]


def _job(name: str, k: int) -> str:
    """The name of a job, which begins with its row's; the worker knows the row by it."""
    return f"{name}{MARK}{k}" if k else name


def _prepared(
    wanted: dict[str, tuple[str, list[str]]], overrides: list[str], threads: int
) -> tuple[dict[str, list[str]], dict, str]:
    """({job: its overrides}, {job: its error}, whatever decides the results). Datasets are built here, once: two
    workers would build the same one beside each other."""
    from data.catalog import store
    from reproduce.experiment.identity import run_folder

    jobs: dict[str, list[str]] = {}
    refused, runs, files = {}, {}, {}
    for job, (name, point) in wanted.items():
        if name.startswith("claims/"):
            jobs[job], runs[job] = overrides, threads
            continue
        own = with_threads([*overrides, *point], threads)
        try:
            settings = compose(name, own)
            data = settings.data
            key = (data.id, data.kind, data.root, data.seed)
            if key not in files:
                found = store.get(data.id, data.kind, data.root, seed=data.seed)
                files[key] = json.dumps(found.manifest["files"], sort_keys=True)
            jobs[job], runs[job] = own, run_folder(settings, files[key]).name
        except ReproduceError as error:
            refused[job] = error_document(name, str(error))
    return jobs, refused, json.dumps([list(jobs.items()), runs, _code()])


def _code(root: Path = ROOT) -> str:
    """Checksum of the files that CODE names, rooms within rooms included."""
    digest = hashlib.sha256()
    for pattern in CODE:
        for path in sorted(root.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _launch(folder: Path, launcher: Launcher, threads: int, numbers: list[int], collect: Callable[[], None]) -> None:
    """One round: the Hydra application with the jobs `numbers`, until it ends, however it does."""
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    knobs = launcher.model_dump() | {"cpus": threads}
    stated = stated_knobs(launcher.name)
    settings = [f"launcher.{key}={'null' if knobs[key] is None else knobs[key]}" for key in stated]
    env = os.environ | {"PYTHONPATH": python_path(), "RAY_USAGE_STATS_ENABLED": "0"}
    if launcher.name == "ray" and launcher.address is None:
        own, env = local_ray(threads * launcher.n_jobs, env)
        settings += own
    command = python("from reproduce.jobs.worker import start; start()", "--multirun")
    command += [f"launcher={launcher.name}", f"folder='{quoted}'", f"job={','.join(map(str, numbers))}", *settings]
    with open(folder / "launcher.log", "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env | as_parent())
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                collect()
        finally:
            process.kill()
            process.wait()


def _died(folder: Path, name: str, times: int) -> dict[str, Any]:
    log = next((path for path in (folder / f"{name}.log", folder / "launcher.log") if text_of(path)), folder)
    last = (text_of(log).splitlines() or [""])[-1]
    return error_document(
        name,
        f"its process ended {times} times without a result; last line of {log}: {last!r}. "
        "The same command starts it again, from its last checkpoint.",
    )


def error_document(name: str, message: str, code: int = ReproduceError.exit_code) -> dict[str, Any]:
    """The result of a row or claim that could not run."""
    return {"row": name, "error": message, "exit_code": code}


def text_of(path: Path) -> str:
    """The text of a log, stripped; empty where there is no file."""
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
