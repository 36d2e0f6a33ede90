"""What a command says while it runs: lines off a terminal, bars on one, nothing with --json."""

import io
import re
import sys
import time

import pytest
from limits import PATIENCE

from reproduce.core import console


@pytest.fixture(autouse=True)
def _loud(monkeypatch):
    monkeypatch.setattr(console, "_quiet", False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_at_the_start_of_each_row(capsys):
    for number, name in enumerate(("a/b/c", "a/b/d"), 1):
        with console.row(name, number, 2):
            pass
    assert capsys.readouterr().err.splitlines() == ["row 1 of 2: a/b/c", "row 2 of 2: a/b/d"]


def test_a_line_at_least_every_minute_with_speed_and_what_is_left(capsys, monkeypatch):
    assert console.LINE_S < 60
    monkeypatch.setattr(console, "LINE_S", 0.05)
    monkeypatch.setattr(console, "TELL_S", 0.0)
    lines, deadline = [], time.monotonic() + PATIENCE
    with console.row("a/b/c", 2, 3), console.bar("a/b/c", 1000, "updates") as bar:
        time.sleep(0.02)
        bar.update(10)
        while len(lines) < 3 and time.monotonic() < deadline:  # nothing is reported meanwhile
            time.sleep(0.05)
            lines += [line for line in capsys.readouterr().err.splitlines() if not line.startswith("row")]
    assert len(lines) >= 3
    pattern = r"a/b/c: update 10 of 1,000, [\d.e+]+ updates/s, \d+:\d\d:\d\d left, \d+:\d\d:\d\d in all"
    assert all(re.fullmatch(pattern, line) for line in lines), lines


def test_a_line_that_was_just_said_is_not_said_again(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_S", 1.0)
    with console.bar("it", 10, "updates") as bar:
        for _ in range(16):
            time.sleep(0.1)
            bar.say("mean return 1")
    assert set(capsys.readouterr().err.splitlines()) == {"it: mean return 1"}


def test_json_is_quiet(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_S", 0.02)
    console.set_quiet(True)
    with console.row("a", 1, 2), console.bar("a", 10, "updates") as bar:
        bar.say("x")
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_shows_a_bar_with_the_row_of_how_many_and_honors_no_color(no_color, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(console, "TELL_S", 0.0)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    with console.row("a/b/c", 2, 8), console.bar("a/b/c", 10, "updates") as bar:
        time.sleep(0.05)
        bar.update(5)
        bar._progress.refresh()
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "2/8 a/b/c" in shown
    assert "in all" in shown
    assert "row 2 of 8" not in shown
    assert bool(re.search(r"\x1b\[[\d;]*3\d", shown)) == (not no_color)


def test_time_left_in_all_counts_the_rows_to_come():
    assert console.Rows(2, 4, [100.0]).seconds_left(30.0, 200.0) == 30 + 2 * 150
    assert console.Rows(4, 4, [100.0]).seconds_left(30.0, 200.0) == 30


def test_arms_within_rows_leave_the_rows_their_numbers(capsys):
    with console.row("claims/x", 2, 3):
        for number in (1, 2):
            with console.row("left", number, 2, "arm"):
                assert console._numbered("it") == f"{number}/2 it"
        assert console._numbered("it") == "2/3 it"
    assert capsys.readouterr().err.splitlines() == ["row 2 of 3: claims/x", "arm 1 of 2: left", "arm 2 of 2: left"]
