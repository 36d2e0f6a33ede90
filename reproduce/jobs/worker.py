"""The processes of a sweep: the Hydra application, which is the launcher, and the workers that it starts."""

import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra

from data.common.errors import ReproduceError
from data.common.files import write_json
from data.common.paths import CONFIGS
from reproduce.core.ending import Fault, as_error
from reproduce.jobs.locks import is_free, wait_for
from reproduce.jobs.processes import POLL_S, as_parent, end_with_parent, python
from reproduce.jobs.sweep import JOBS, MARK, error_document, text_of

ROW = "from reproduce.cli.job import row; row()"  # named in text: a job is the command, which imports this room


@hydra.main(version_base=None, config_path=str(CONFIGS), config_name="sweep")
def app(config: Any) -> None:
    guarded(Path(config.folder), config.job)


def guarded(folder: Path, number: int) -> None:
    """run_job; a fault of the worker itself is the result of its row."""
    try:
        run_job(folder, number)
    except Exception as raised:
        error = as_error(raised)
        name, _ = json.loads((folder / JOBS).read_text(encoding="utf-8"))["jobs"][number]
        write_json(folder / f"{name}.json", error_document(name, str(error), error.exit_code))


def start() -> None:
    """The process of the launcher."""
    end_with_parent()
    app()


def run_job(folder: Path, number: int) -> None:
    """In a worker: the row in a process of its own, then its result. No result is left where that process died."""
    sweep = json.loads((folder / JOBS).read_text(encoding="utf-8"))
    name, overrides = sweep["jobs"][number]
    result, printed, log = (folder / f"{name}.{kind}" for kind in ("json", "out", "log"))
    result.parent.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w", encoding="utf-8") as lock:
        wait_for(lock)  # until the job of an earlier round, or of a stopped command, has ended
        if result.exists():
            return
        with open(printed, "wb") as out, open(log, "wb") as err:
            process = subprocess.Popen(
                python(ROW, name.partition(MARK)[0], *overrides, "--json"),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=os.environ | sweep["env"] | as_parent(),
                cwd=sweep["cwd"],
                pass_fds=[lock.fileno()],  # the lock is free when worker and row have ended
            )
            try:
                _wait(process, sweep["timeout_min"], sweep["held"])
            finally:
                process.kill()
        if sweep["held"] and is_free(sweep["held"]):
            os._exit(1)  # the command is gone, and some launchers' workers would stay
        document = _result(name, process.returncode, text_of(printed), text_of(log))
        if document is not None:
            write_json(result, document)


def _wait(process: subprocess.Popen, timeout_min: float | None, held: str | None) -> None:
    """Until the row's process ends, its time is up or the round is over, whose file `held` the command keeps locked."""
    limit = time.monotonic() + 60 * (timeout_min or float("inf"))
    while process.poll() is None:
        if time.monotonic() > limit or (held and is_free(held)):
            process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)


def _result(name: str, code: int, printed: str, log: str) -> dict[str, Any] | None:
    """The document that the row's process printed, the error that it ended with, or None: then it died."""
    with suppress(ValueError):
        return json.loads(printed)
    _, mark, message = f"\n{log}".rpartition("\nreproduce: ")
    return error_document(name, message, code) if code in (ReproduceError.exit_code, Fault.exit_code) and mark else None
