"""The processes of jobs, started by reproduce.jobs with `python -c "from reproduce.cli.job import row; row()"`."""

import os
import sys
from contextlib import suppress
from pathlib import Path


def row() -> None:
    """A job of a sweep: the command, which ends when its worker does."""
    from reproduce.cli import main
    from reproduce.jobs.processes import end_with_parent

    end_with_parent()
    sys.exit(main(sys.argv[1:]))


def job() -> None:
    """A job of a queue: PROGRESS ROW OVERRIDES.. Exits as the command does, or with NO_ROOM."""
    from data.common.environment import ignore_variables
    from data.common.errors import DiskFull
    from data.common.files import is_full
    from data.common.paths import outputs_dir
    from reproduce.cli.run import run_one
    from reproduce.core import console, ending
    from reproduce.jobs.processes import NO_ROOM, follow_parent

    ignore_variables()
    progress, name, *overrides = sys.argv[1:]
    follow_parent()
    console.report_to(Path(progress))
    with ending.signals():
        try:
            code, error = run_one(name, overrides)["exit_code"], None
        except ending.Stopped as stopped:
            code, error = stopped.exit_code, ending.stopped_line()
        except Exception as raised:
            full = isinstance(raised, DiskFull) or (isinstance(raised, OSError) and is_full(outputs_dir(), raised))
            error = ending.as_error(raised)
            code = NO_ROOM if full else error.exit_code
    with suppress(OSError):  # the log may lie on the full disk
        if error:
            print(f"reproduce: {error}", file=sys.stderr, flush=True)
    os._exit(code)  # without a last flush, which would fail there and change the code
