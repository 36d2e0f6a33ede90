"""`reproduce record` and `gate`: has this commit hurt?"""

from typing import Annotated

import typer

from reproduce.cli.options import Json, complete, rows

Moved = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A row or a glob of rows; `losses` moves the loss fingerprints.",
        autocompletion=complete(lambda: [*rows(), "losses"]),
        show_default=False,
    ),
]
Gated = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A row or a glob of rows; without it, all that have a reference.",
        autocompletion=complete(rows),
        show_default=False,
    ),
]


def record(pattern: Moved) -> int:
    """Move the reference of the regression gate: 32 seeds of each row.

    Do it in a commit that says why the reference moves.
    """
    if pattern != "losses":
        _spelled(pattern)
    from reproduce.regression.gate import record_references

    return record_references(pattern)


def gate(pattern: Gated = "*", as_json: Json = False) -> int:
    """Compare new seeds of each row with its reference.

    16 seeds are run, and 16 more where those are worse. Exit code 0 when no row got worse, 1 otherwise.
    """
    _spelled(pattern)
    from reproduce.regression.gate import run_gate

    return run_gate(pattern, as_json)


def _spelled(pattern: str) -> None:
    """Raises ReproduceError for a misspelt row before torch is imported."""
    from reproduce.config import expand, row_ids

    expand(pattern, row_ids())
