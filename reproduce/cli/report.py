"""`reproduce report`: everything recorded on one page."""

from pathlib import Path
from typing import Annotated

import typer

from reproduce.cli.options import complete, published_rows

Some = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A row, or a prefix or glob of rows; without it, all of them.",
        autocompletion=complete(published_rows),
        show_default=False,
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the report (default: outputs/report).")]


def report(pattern: Some = "*", out: Out = None) -> int:
    """Write one page and a table of everything recorded.

    It prints the paths of the HTML page and of the markdown table.
    """
    from data.common.paths import outputs_dir
    from reproduce import records
    from reproduce.report import write_report

    left_out: dict[Path, str] = {}
    for path in write_report(out or outputs_dir() / "report", pattern, left_out):
        print(path)
    return records.exit_code(0, left_out)
