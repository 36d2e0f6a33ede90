"""Queue files: `commands:` and a list of rows with their overrides, which become jobs."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from data.common.errors import ReproduceError
from data.common.validation import Model, checked
from data.common.yaml_files import read_yaml
from reproduce.config import Settings, compose
from reproduce.config.words import words_of
from reproduce.experiment.playable import playable
from reproduce.records import recorded


def _one_string(command: Any) -> str:
    if not isinstance(command, str):
        raise ValueError(f"{command!r}: expected a row and its overrides in one string.")
    return command


__all__ = ["Job", "QueueFile", "of_this_world", "read_queue", "recorded"]


class QueueFile(Model):
    """The queue file: rows or globs of rows, each with its overrides, in the order in which they run."""

    commands: Annotated[list[Annotated[str, BeforeValidator(_one_string)]], Field(min_length=1)]


@dataclass
class Job:
    """One row of the queue. state: waiting, running, no room, done, failed; note: the verdict, or what went wrong."""

    command: str
    row: str
    settings: Settings
    state: str = "waiting"
    note: str = ""
    starts: int = 0
    began: str = ""  # the last start, UTC
    process: subprocess.Popen | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    free: int = 0  # bytes of disk when there was no room
    again_at: float = 0.0
    code: int = ReproduceError.exit_code  # of the command, once the row has failed

    def line(self) -> dict[str, Any]:
        """The job's line of the state file; None = unknown."""
        updates = self.progress if self.progress.get("unit") == "updates" else {}
        building = "" if updates else self.progress.get("text", "")
        line = {
            "command": self.command,
            "state": self.state,
            "update": updates.get("done"),
            "n_updates": updates.get("total"),
        }
        line |= {"updates_per_s": None, "hours_left": None, "note": self.note or building}
        if self.state == "done":
            line["update"] = line["n_updates"]
        elif self.state == "running" and updates and updates["per_s"]:
            hours = (updates["total"] - updates["done"]) / updates["per_s"] / 3600
            line |= {"updates_per_s": round(updates["per_s"], 2), "hours_left": round(hours, 2)}
        return line


def read_queue(path: Path, further: Sequence[str] = ()) -> list[Job]:
    """The jobs of a queue file, {"commands": ["ROW KEY=VALUE ..", ..]}, globs of rows expanded, all settings composed.
    `further` overrides hold for all of them, in place of a command's own of the same name.

    Raises ReproduceError naming the command for whatever could not run: nothing has started then.
    """
    jobs: dict[str, Job] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for number, command in enumerate(_read(path).commands, 1):
        where = f"queue file {path}, command {number}, {command!r}"
        target, *overrides = words_of(command, where, "expected a row and its overrides in one string")
        overrides = [o for o in overrides if _name(o) not in {_name(other) for other in further}] + [*further]
        words = [target, *overrides]
        if "threads" not in {_name(o) for o in overrides}:
            overrides.append("run.threads=1")
        try:
            settings = [compose(row, overrides) for row in playable(target, overrides)[0]]
        except ReproduceError as error:
            raise ReproduceError(f"{where}: {error} Nothing was started.") from error
        for one in settings:
            text = shlex.join([one.row, *words[1:]])
            if text in jobs:
                raise ReproduceError(f"{where}: {text} is there already; one of the two has to go.")
            same = (one.fingerprint, tuple(one.protocol.seeds), one.data.kind, one.data.root, one.data.seed)
            if same in seen:
                raise ReproduceError(f"{where}: {text} is the experiment of {seen[same]}; one of the two has to go.")
            seen[same] = text
            jobs[text] = Job(text, one.row, one)
    return list(jobs.values())


def of_this_world(settings: Settings, record: dict[str, Any]) -> bool:
    """Whether the run that is recorded was played in the row's world, or in what stands for it on this machine."""
    found, task = record["environment"]["fingerprint"], settings.task
    if found == task.fingerprint:
        return True
    from data.worlds import fingerprint

    try:
        return found == fingerprint(task.world, **task.params)
    except ReproduceError:  # a world that cannot be made here: the job says so when it starts
        return False


def _name(override: str) -> str:
    """What an override sets; `accelerate` is short for `run.accelerate`."""
    return override.partition("=")[0].removeprefix("run.")


def _read(path: Path) -> QueueFile:
    stated = read_yaml(path, f"queue file {path}")
    if not isinstance(stated, dict) or ("commands" in stated and not stated["commands"]):
        raise ReproduceError(f"queue file {path}: expected `commands:` and a list of rows with their overrides.")
    return checked(QueueFile, stated, f"queue file {path}", noun="key")
