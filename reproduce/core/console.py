"""Progress on stderr: bars on a terminal; off it a line at a row's start, at evaluations, and at least every minute."""

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TELL_S = 2.0  # between two reports of progress
WINDOW = 150  # reports that a speed is measured over
LINE_S = 55.0  # between two lines off a terminal, so that a minute is never exceeded
_quiet = False
_report: Path | None = None


@dataclass
class Rows:
    """How far a command is among its rows: the number of the one in work, and the seconds that each took so far."""

    number: int = 1
    of: int = 1
    took: list[float] = field(default_factory=list)

    def seconds_left(self, here: float, total: float) -> float:
        """In all, given the seconds left of the row in work and its total; rows to come take as long as those known."""
        known = [*self.took, total]
        return here + (self.of - self.number) * sum(known) / len(known)


_rows = Rows()
_took: dict[str, list[float]] = {}  # of the rows done so far, by kind


def set_quiet(quiet: bool) -> None:
    """No bars and no notes, for --json."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether --json was asked for."""
    return _quiet


def note(text: str) -> None:
    """A line for people, on stderr."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


def report_to(path: Path) -> None:
    """Let every bar of this process write how far it is to `path` too: what a queue knows of its jobs."""
    global _report
    _report = path


def on_terminal() -> bool:
    """Whether stderr can show bars."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


@contextmanager
def row(name: str, number: int, of: int, kind: str = "row") -> Iterator[None]:
    """The work on row `number` of `of`, from 1: its bars and lines say so."""
    global _rows
    if number == 1:
        _took[kind] = []
    around, _rows = _rows, Rows(number, of, _took.setdefault(kind, []))
    if not on_terminal():
        note(f"{kind} {number} of {of}: {name}")
    started = time.monotonic()
    try:
        yield
    finally:
        _rows = around
        _took[kind].append(time.monotonic() - started)


class Bar:
    """One progress bar; `update(done, total)` also has the shape of the callbacks that data building takes."""

    def __init__(self, progress, task, unit: str, text: str, total: int, done: int):
        self._progress, self._task, self._unit = progress, task, unit
        self._text, self._total, self._done = text, total, done
        self._started = self._said = time.monotonic()
        self._seen = deque([(self._started, done)], maxlen=WINDOW)

    def update(self, done: int, total: int | None = None, text: str | None = None) -> None:
        self._text, self._total, self._done = text or self._text, total or self._total, done
        if time.monotonic() - self._seen[-1][0] >= TELL_S:
            self._seen.append((time.monotonic(), done))
            if _report:
                told = {"text": self._text, "unit": self._unit, "done": done, "total": self._total}
                with suppress(OSError):  # a full disk does not end a run for this
                    _report.write_text(json.dumps(told | {"per_s": self._speed()}))
        in_all = f"{_clock(self._seconds_left())} in all" if _rows.of > 1 and self._speed() else ""
        self._progress.update(
            self._task, completed=done, total=self._total, description=_numbered(self._text), in_all=in_all
        )

    def say(self, text: str) -> None:
        """A line of its own off a terminal, where the bar cannot be seen."""
        if not on_terminal():
            self._said = time.monotonic()
            note(f"{self._text}: {text}")

    def line(self) -> str:
        """How far it is, at which speed, and how long it will take."""
        told = [f"{self._unit.removesuffix('s')} {self._done:,} of {self._total:,}"]
        if speed := self._speed():
            told.append(f"{speed:.3g} {self._unit}/s")
            told.append(f"{_clock((self._total - self._done) / speed)} left")
            if _rows.of > 1:
                told.append(f"{_clock(self._seconds_left())} in all")
        return ", ".join(told)

    def quiet_for(self) -> float:
        """Seconds since its last line."""
        return time.monotonic() - self._said

    def _speed(self) -> float:
        (before, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - before) if now > before else 0.0

    def _seconds_left(self) -> float:
        here = (self._total - self._done) / self._speed()
        return _rows.seconds_left(here, time.monotonic() - self._started + here)


@contextmanager
def bar(text: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
    """A bar with `unit`s per second and the remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task) -> Text:
            return Text(f"{task.speed:.0f} {unit}/s" if task.speed else f"- {unit}/s", style="dim")

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn()),
        TextColumn("{task.fields[in_all]}"),
    )
    disable = _quiet or not on_terminal()
    with Progress(*columns, console=Console(stderr=True), disable=disable, transient=True) as progress:
        task = progress.add_task(_numbered(text), total=total, completed=done, in_all="")
        shown = Bar(progress, task, unit, text, total, done)
        with _lines(shown):
            yield shown


@contextmanager
def _lines(shown: Bar) -> Iterator[None]:
    """A line of the bar whenever it was quiet for long, off a terminal."""
    if _quiet or on_terminal():
        yield
        return
    ended = threading.Event()

    def speak() -> None:
        while not ended.wait(max(0.01, LINE_S - shown.quiet_for())):
            if shown.quiet_for() >= LINE_S:
                shown.say(shown.line())

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()


def _numbered(text: str) -> str:
    return f"{_rows.number}/{_rows.of} {text}" if _rows.of > 1 else text


def _clock(seconds: float) -> str:
    """h:mm:ss."""
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{s:02}"
