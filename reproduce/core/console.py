"""Rich progress bars on stderr, silent when it is no terminal."""

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TELL_S = 2.0  # between two reports of progress
WINDOW = 150  # reports that a speed is measured over
_quiet = False
_report: Path | None = None


def set_quiet(quiet: bool) -> None:
    """No bars and no notes, for --json."""
    global _quiet
    _quiet = quiet


def note(text: str) -> None:
    """A line for people, on stderr."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


def report_to(path: Path) -> None:
    """Let every bar of this process write how far it is to `path` too: what a queue knows of its jobs."""
    global _report
    _report = path


class Bar:
    """One progress bar; `update(done, total)` also has the shape of the callbacks that data building takes."""

    def __init__(self, progress, task, unit: str, text: str, total: int, done: int):
        self._progress, self._task, self._unit = progress, task, unit
        self._text, self._total = text, total
        self._seen = deque([(time.monotonic(), done)], maxlen=WINDOW)

    def update(self, done: int, total: int | None = None, text: str | None = None) -> None:
        self._text, self._total = text or self._text, total or self._total
        self._progress.update(self._task, completed=done, total=self._total, description=self._text)
        if _report and time.monotonic() - self._seen[-1][0] >= TELL_S:
            self._seen.append((time.monotonic(), done))
            (before, first), (now, last) = self._seen[0], self._seen[-1]
            told = {"text": self._text, "unit": self._unit, "done": done, "total": self._total}
            with suppress(OSError):  # a full disk does not end a run for this
                _report.write_text(json.dumps(told | {"per_s": (last - first) / (now - before)}))


@contextmanager
def bar(text: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
    """A bar with `unit`s per second and the remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task) -> Text:
            return Text(f"{task.speed:.0f} {unit}/s" if task.speed else f"- {unit}/s", style="dim")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=_quiet or not console.is_terminal, transient=True) as progress:
        yield Bar(progress, progress.add_task(text, total=total, completed=done), unit, text, total, done)
