"""The command, assembled. Imports stay inside the commands: `list` and `--help` answer without torch."""

import os
from typing import Annotated, Any

import typer
from typer.main import get_command

from data.common.environment import ignore_variables
from reproduce import __version__
from reproduce.cli import compare, data, export, fetch, jobs, new, regression, report, rows, run
from reproduce.cli.options import RUN
from reproduce.cli.usage import BareRow, Commands, OfSettings, Reproduce, usage_error
from reproduce.core import console

EPILOG = """\
\b
A prefix, inspo/xor say, and a glob, 'inspo/*', work wherever a row does.
--json prints one JSON document on stdout and nothing else.
Exit codes: 0 REPRODUCED or OPTIMUM MET, 1 BELOW or ABOVE, 2 INCONCLUSIVE,
3 NOT COMPARABLE, 4 error, 5 a fault in the program; 130 and 143 stopped by
Ctrl-C and SIGTERM, then the same command continues.
`reproduce COMMAND --help` explains a command.
"""
COMPLETE = "_REPRODUCE_COMPLETE"  # set by a shell that asks for the words that may follow
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "context_settings": {
    "help_option_names": ["-h", "--help"], "max_content_width": 120,
}}  # fmt: skip


def _show_version(asked: bool) -> None:
    if asked:
        print(f"reproduce {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


def _reproduce(version: Version = False) -> None:
    """Train, evaluate and judge rows of published tables, e.g. `reproduce inspo/bridge/mix`."""


def assembled() -> Any:
    """The command with all its subcommands."""
    app = typer.Typer(cls=Reproduce, epilog=EPILOG, **PLAIN)
    app.callback()(_reproduce)
    app.command(RUN, cls=BareRow)(run.run)
    app.command("list")(rows.list_rows)
    app.command("check")(rows.check)
    app.command("diff", cls=OfSettings)(rows.diff)
    app.command("compare", cls=OfSettings)(compare.compare)
    app.command("plan", cls=OfSettings)(jobs.plan)
    app.command("queue")(jobs.queue)
    datasets = typer.Typer(cls=Commands, help="List, show, build, compare, fetch and export datasets.", **PLAIN)
    datasets.command("list")(data.list_datasets)
    datasets.command("show")(data.show)
    datasets.command("build")(data.build)
    datasets.command("compare")(data.compare)
    datasets.command("fetch")(fetch.fetch)
    datasets.command("export")(export.export)
    app.add_typer(datasets, name="data")
    files = typer.Typer(cls=Commands, help="Write the files of an algorithm or of a paper.", **PLAIN)
    files.command("algorithm")(new.algorithm)
    files.command("paper")(new.paper)
    app.add_typer(files, name="new")
    app.command("report")(report.report)
    app.command("record")(regression.record)
    app.command("gate")(regression.gate)
    return get_command(app)


def execute(argv: list[str]) -> int:
    """Run the command that `argv` states; its exit code.

    Raises ReproduceError for whatever the user can mend. typer would exit with 2 on bad usage, which means INCONCLUSIVE
    here: it is a ReproduceError too.
    """
    command = assembled()
    if COMPLETE in os.environ:
        command.main([], prog_name="reproduce")  # answers the shell and exits
    console.set_quiet("--json" in argv)
    if ignored := ignore_variables():
        console.note(f"ignored variables of the environment: {', '.join(ignored)} (docs/environment.md)")
    try:
        with command.make_context("reproduce", argv or ["--help"]) as context:
            return command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.TyperException as error:
        raise usage_error(error) from error
