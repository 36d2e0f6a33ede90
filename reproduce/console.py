"""What a person sees while waiting: rich progress bars on stderr, silent when it is no terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_quiet = False


def set_quiet(quiet: bool) -> None:
    """No bars and no notes, for --json."""
    global _quiet
    _quiet = quiet


def note(text: str) -> None:
    """A line for people, on stderr."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


class Bar:
    """One progress bar; `update(done, total)` also has the shape of the callbacks that data building takes."""

    def __init__(self, progress, task, unit: str):
        self._progress, self._task, self._unit = progress, task, unit

    def update(self, done: int, total: int | None = None, text: str | None = None) -> None:
        values = {"completed": done} | ({"total": total} if total else {}) | ({"description": text} if text else {})
        self._progress.update(self._task, **values)


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
        yield Bar(progress, progress.add_task(text, total=total, completed=done), unit)
