"""`reproduce record` and `gate`: has this commit hurt?"""

import json
from typing import Annotated

import typer

from reproduce.cli import ci
from reproduce.cli.options import Json, Overrides, complete, rows

Moved = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A row, or a prefix or glob of rows; `losses` moves the loss fingerprints.",
        autocompletion=complete(lambda: [*rows(), "losses"]),
        show_default=False,
    ),
]
Gated = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A row, or a prefix or glob of rows; without it, all that have a reference.",
        autocompletion=complete(rows),
        show_default=False,
    ),
]


def record(pattern: Moved, overrides: Overrides = None) -> int:
    """Move the reference of the regression gate: 32 seeds of each row.

    KEY=VALUE makes a row small enough for a CI; the gate runs it with the same settings. Do it in a commit that says
    why the reference moves.
    """
    if pattern != "losses":
        _spelled(pattern)
    from reproduce.regression.gate import record_references

    return record_references(pattern, overrides or [])


def gate(pattern: Gated = "*", as_json: Json = False, junit: ci.Junit = None, summary: ci.Summary = None) -> int:
    """Compare new seeds of each row with its reference.

    16 seeds are run, and 16 more where those are worse. Exit code 0 when no row got worse, 1 when one did, 4 where one
    could not be compared.
    """
    _spelled(pattern)
    ci.check(junit, summary)
    from reproduce.regression.gate import run_gate

    outcomes = run_gate(pattern, None if as_json else print)
    documents = [o if "error" in o else o | {"exit_code": 0 if o["passed"] else 1} for o in outcomes]
    ci.write(documents, junit, summary, f"gate {pattern}")
    if as_json:
        print(json.dumps({"rows": outcomes}, indent=1))
    return max(document["exit_code"] for document in documents)


def _spelled(pattern: str) -> None:
    """Raises ReproduceError for a misspelt row before torch is imported."""
    from reproduce.config import expand, row_ids

    expand(pattern, row_ids())
