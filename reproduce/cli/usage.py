"""The words of a command line: a bare row runs, options stand anywhere, and bad usage is an error like any other."""

from typing import Any

import typer
from typer.core import CompletionItem, TyperCommand, TyperGroup

from data.common.errors import ReproduceError, nearest
from reproduce.cli.options import CHOSEN, RUN, complete, rows_and_claims


class Commands(TyperGroup):
    """A group of commands whose options may stand before the command word too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self.arranged(ctx, args))

    def arranged(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments with the command word first; those of the group itself stay as they are."""
        own = _options(ctx)
        word = next((arg for arg in args if arg in self.commands), None)
        if word is None or args[0] in own:
            return args
        rest = list(args)
        rest.remove(word)
        return [word, *rest]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            choices = _choices(self).lower()
            raise ReproduceError(f"{ctx.info_name} {args[0]}: {choices}.{nearest(args[0], list(self.commands))}")
        return super().resolve_command(ctx, args)


class Reproduce(Commands):
    """The whole command: what is no command's name is a row, a claim or a glob, which runs."""

    def arranged(self, ctx: Any, args: list[str]) -> list[str]:
        own = _options(ctx)
        if not args or args[0].partition("=")[0] in own:
            return args
        word = next((arg for arg in args if not arg.startswith("-")), None)
        return super().arranged(ctx, args) if word in self.commands else [RUN, *args]

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write_usage("reproduce", f"{RUN} [KEY=VALUE]...", "Usage: ")
        formatter.write_usage("reproduce", "COMMAND ...", "       ")

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Commands and options, then the rows and claims that a first word may be."""
        found = [one for one in super().shell_complete(ctx, incomplete) if one.value != RUN]
        return found + [CompletionItem(name) for name in complete(rows_and_claims)(incomplete)]


class OfSettings(TyperCommand):
    """A command that takes settings: its help ends with what may be chosen by name."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from reproduce.config import choices

        groups = (*CHOSEN, "launcher") if ctx.info_name in (RUN, "compare") else CHOSEN
        with formatter.section("Choices"):
            formatter.write_dl([(f"{group}=", ", ".join(choices(group))) for group in groups])


class BareRow(OfSettings):
    """The command of a bare row, whose name is its argument's."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write_usage("reproduce", f"{RUN} [KEY=VALUE]... [OPTIONS]")


def _choices(group: TyperGroup) -> str:
    *others, last = group.commands
    return f"Choose {', '.join(others)} or {last}"


def _options(ctx: Any) -> list[str]:
    return [name for parameter in ctx.command.get_params(ctx) for name in parameter.opts if name.startswith("-")]


def usage_error(error: typer.TyperException) -> ReproduceError:
    """The error of a bad option or argument: one line, the nearest option, and the command that shows the usage."""
    ctx: Any = getattr(error, "ctx", None)
    command = ctx.command_path if ctx else "reproduce"
    text, near = " ".join(error.format_message().split()).rstrip("."), ""
    if hasattr(error, "possibilities"):  # an unknown option
        option = str(getattr(error, "option_name", ""))
        text = f"no such option: {option}"
        levels = [level for level in (ctx, getattr(ctx, "parent", None)) if level is not None]
        near = nearest(option, list(dict.fromkeys(name for level in levels for name in _options(level))))
    elif isinstance(getattr(ctx, "command", None), Commands) and text == "Missing command":
        near = f" {_choices(ctx.command)}."
    return ReproduceError(f"{text[:1].lower()}{text[1:]}.{near} `{command} --help` shows the usage.")
