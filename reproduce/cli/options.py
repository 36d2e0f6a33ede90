"""Arguments and options that several commands share, and the words that a shell offers for them."""

from collections.abc import Callable
from typing import Annotated

import typer

from data.common.errors import ReproduceError

CHOSEN = ("algo", "budget", "variant")  # settings that are chosen by name
RUN = "ROW"  # the command of a bare row: nobody has to type its name


def complete(known: Callable[[], list[str]]) -> Callable[[str], list[str]]:
    """The completion of an argument by the words of `known` that begin as the incomplete word does.

    A shell waits for it: files that cannot be read offer nothing, and the command itself says what is wrong.
    """

    def matching(incomplete: str) -> list[str]:
        try:
            return [word for word in known() if word.startswith(incomplete)]
        except (ReproduceError, OSError):
            return []

    return matching


def rows() -> list[str]:
    """Rows that can run."""
    from reproduce.config import row_ids

    return row_ids()


def rows_and_claims() -> list[str]:
    from reproduce.config import claim_ids, row_ids

    return row_ids() + claim_ids()


def published_rows() -> list[str]:
    """Rows of the papers' tables, whether they can run or not."""
    from reproduce import published

    return published.match("*")


def published_rows_and_claims() -> list[str]:
    from reproduce.config import claim_ids

    return published_rows() + claim_ids()


def datasets() -> list[str]:
    from data.catalog import registry

    return list(registry.datasets())


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """`KEY=` for the settings of the row that stands before them, and `launcher=NAME`."""

    def known() -> list[str]:
        from reproduce.config import choices, sources
        from reproduce.jobs import launcher_names

        row, runs = ctx.params.get("target"), ctx.info_name in (RUN, "compare")
        keys = sorted(sources(row)) if row in rows() else []
        named = [f"{group}={name}" for group in CHOSEN for name in choices(group)]
        return [f"{key}=" for key in keys] + named + [f"launcher={name}" for name in launcher_names() if runs]

    return complete(known)(incomplete)


Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else.")]
Row = Annotated[
    str,
    typer.Argument(
        metavar="ROW", help="A row, or a prefix or glob of rows.", autocompletion=complete(rows), show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="Settings that differ from the row's.", autocompletion=settings, show_default=False
    ),
]
