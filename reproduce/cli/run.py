"""`reproduce ROW KEY=VALUE ..`: rows and claims, here or on a launcher."""

import itertools
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from data.common.errors import ReproduceError, nearest
from reproduce.cli import ci
from reproduce.cli.format import RESULT_DROP, RESULT_HEAD, columns, result_cells, result_line
from reproduce.cli.options import Json, Overrides, complete, rows_and_claims
from reproduce.core import console, ending

Target = Annotated[
    str,
    typer.Argument(
        metavar="ROW",
        help="A row, a claim, or a prefix or glob of them such as inspo/xor or 'inspo/*'.",
        autocompletion=complete(rows_and_claims),
        show_default=False,
    ),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option("--sweep", metavar="KEY=V1,V2", help="Run each value; several of these options make a grid."),
]
Recorded = Annotated[
    bool,
    typer.Option("--recorded", help="Claims: an arm recorded with its settings counts; others run and are recorded."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="What would run, how long and how large; launches nothing.")]


def run(
    ctx: typer.Context,
    target: Target,
    overrides: Overrides = None,
    sweep: Sweep = None,
    dry_run: DryRun = False,
    recorded: Recorded = False,
    as_json: Json = False,
    junit: ci.Junit = None,
    summary: ci.Summary = None,
) -> int:
    """Train, evaluate and judge a row, or run a claim.

    KEY=VALUE changes a setting of the row, e.g. `algo.lr=0.001`; `reproduce diff ROW` shows all of them. With
    launcher=joblib, submitit_local, slurm or ray each row is a job of its own, and launcher.n_jobs=4 sets a knob of it.
    """
    ci.check(junit, summary)
    commands = list(ctx.parent.command.commands) if ctx.parent else []  # type: ignore[attr-defined]
    overrides, launcher = overrides or [], None
    names, without = _targets(target, [o for o in overrides if not o.startswith("launcher")], commands)
    if recorded and (sweep or dry_run or not all(name.startswith("claims/") for name in names)):
        raise ReproduceError(
            "--recorded is for claims alone, without --sweep and --dry-run; `reproduce check` reads rows."
        )
    if any(override.startswith("launcher") for override in overrides):
        from reproduce.jobs import launcher_from, split

        overrides, knobs = split(overrides)
        launcher = launcher_from(knobs)
        if recorded:
            raise ReproduceError("--recorded takes no launcher: it reads records.")
    if sweep:
        from reproduce.cli.grid import run_grid

        def after(documents: list[dict[str, Any]]) -> None:
            ci.write(documents, junit, summary, target)

        return run_grid(names, overrides, sweep, launcher, as_json, run_one, after, _dry_grid if dry_run else None)
    if dry_run:
        return _dry_run(names, overrides, launcher, as_json)
    try:
        if launcher is None:
            documents = _here(names, overrides, as_json, partial(run_one, recorded=True) if recorded else run_one)
        else:
            documents = _sweep(names, overrides, launcher, as_json)
    except Exception as raised:
        error = ending.as_error(raised)
        if len(names) == 1:  # its message is the command's; a CI finds it in its files too
            document = {"row": names[0], "error": str(error), "exit_code": error.exit_code}
            ci.write([document], junit, summary, target)
        raise error from None if error is raised else raised
    ci.write(documents, junit, summary, target)
    if as_json:
        several = {"rows": documents, "left_out": without}
        print(json.dumps(documents[0] if len(names) == 1 else several, indent=1))
    elif len(names) == 1:
        print(result_line(documents[0]))
    else:
        _print_table(documents)
    return max(document["exit_code"] for document in documents)


def run_one(name: str, overrides: list[str], recorded: bool = False) -> dict[str, Any]:
    """Run a row or claim in this process; the document that --json prints. `recorded` is the claim's.

    Raises ReproduceError where it cannot.
    """
    from reproduce import records

    if name.startswith("claims/"):
        from reproduce.claims import run_claim

        return records.claim_document(run_claim(name, overrides=overrides, recorded=recorded))
    from reproduce.config import compose

    settings = compose(name, overrides)
    from reproduce.experiment.run import run_row

    return records.row_document(run_row(settings))


def _targets(target: str, overrides: list[str], commands: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """(the rows and claims that a word stands for, rows left out by reason). It may be a misspelt command too."""
    from reproduce import config

    if columns := _columns_of_a_row_without_config(target):
        raise ReproduceError(
            f"{target} is a published number that has no config yet. Other columns of its row run: "
            f"{', '.join(columns)}."
        )
    try:
        config.expand(target, config.row_ids() + config.claim_ids())
    except ReproduceError as error:
        from reproduce import published

        try:
            planned = published.match(target)
        except ReproduceError:
            words = [command for command in commands if command.islower()]
            if near := nearest(target, words, 1):
                raise ReproduceError(f"no row, claim or command named {target!r}.{near}") from None
            raise error from None
        raise ReproduceError(
            f"{planned[0]} is a published number that has no config yet (`reproduce list --all` shows such rows); "
            "adding configs/rows/<row>.yaml makes it run."
        ) from None
    if target in config.row_ids() or target in config.claim_ids():
        return [target], {}
    from reproduce.experiment.playable import playable

    return playable(target, overrides, claims=True)


def _columns_of_a_row_without_config(target: str) -> list[str]:
    """Rows TARGET/.. of a published row TARGET that cannot run itself; none where it can, or is no published row."""
    from reproduce import config, published

    names = config.row_ids()
    below = [name for name in names if name.startswith(f"{target}/")]
    if target in names or not below:
        return []
    return below if target in published.rows() else []


def _here(
    names: list[str], overrides: list[str], as_json: bool, run_one: Callable[[str, list[str]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The results of rows one after another in this process; of several, an error is a result too."""
    if len(names) == 1:
        with console.row(names[0], 1, 1):
            return [run_one(names[0], overrides)]
    documents = []
    with ending.together():
        for number, name in enumerate(names, 1):
            try:
                with console.row(name, number, len(names)):
                    documents.append(run_one(name, overrides))
            except Exception as raised:  # the other rows still run
                error = ending.as_error(raised)
                print(f"reproduce: {name}: {error}", file=sys.stderr)
                documents.append({"row": name, "error": str(error), "exit_code": error.exit_code})
            if not as_json:
                print(result_line(documents[-1]), flush=True)
    return documents


def _sweep(names: list[str], overrides: list[str], launcher: Any, as_json: bool) -> list[dict[str, Any]]:
    """The results of rows as jobs of a launcher, in the order of `names`."""
    from reproduce.jobs import run_sweep

    ending.keeps("jobs that are done keep their results, the others their checkpoints")

    def report(document: dict[str, Any]) -> None:
        progress.update(next(done))
        if "error" in document and len(names) > 1:
            print(f"reproduce: {document['row']}: {document['error']}", file=sys.stderr)
        if not as_json and len(names) > 1:
            print(result_line(document), flush=True)

    done = itertools.count(1)
    with console.bar("jobs", len(names), "rows") as progress:
        documents = run_sweep(names, overrides, launcher, report)
    if len(names) == 1 and "error" in documents[0]:
        wrong = documents[0]
        raise (ending.Fault if wrong["exit_code"] == ending.Fault.exit_code else ReproduceError)(wrong["error"])
    return documents


def _dry_run(names: list[str], overrides: list[str], launcher: Any, as_json: bool) -> int:
    found, document = _estimated(names, overrides, launcher)
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        _show_estimate(found, document)
    return 0


def _dry_grid(names: list[str], overrides: list[str], grid: list[list[str]], launcher: Any, as_json: bool) -> int:
    documents = []
    for point in grid:
        print(" ".join(point), file=sys.stderr if as_json else sys.stdout, flush=True)
        found, document = _estimated(names, [*overrides, *point], launcher)
        documents.append({"point": point, **document})
        if not as_json:
            _show_estimate(found, document)
    if as_json:
        print(json.dumps({"points": documents}, indent=1))
    return 0


def _estimated(names: list[str], overrides: list[str], launcher: Any) -> tuple[list[Any], dict[str, Any]]:
    """(an estimate of each row, the document of all)."""
    from reproduce.cost import dry_run

    stated, does, at_a_time = None, "in this process, one row after another", 1
    if launcher is not None:
        from reproduce.jobs import job_threads, with_threads

        stated, does, at_a_time = launcher.model_dump(), launcher.describe(), launcher.n_jobs
        overrides = with_threads(overrides, job_threads(overrides, launcher))
    found, document = dry_run(names, overrides, at_a_time)
    return found, {"launcher": stated, "does": does, **document}


def _show_estimate(found: list[Any], document: dict[str, Any]) -> None:
    from reproduce.cli import format

    for e in found:
        took = f"{format.hours(e.total_s)}{format.spread(e.spread)}"
        print(f"{e.row}  {e.seeds} seeds  {e.n_updates:,} updates  {took}  {format.size(e.memory_bytes)}")
        if e.never_reproduced:
            print(format.fill_in(f"can never be REPRODUCED: {e.never_reproduced}"))
    for job in document["jobs"][len(found) :]:
        print(f"{job['row']}  a claim: seeds, time and memory unknown before it runs")
    least = format.hours(document["at_least_s"])
    print(f"{document['does']}; at least {least} as one job takes it alone on this machine. Nothing was launched.")


def _print_table(documents: list[dict[str, Any]]) -> None:
    print(columns(RESULT_HEAD, [result_cells(document) for document in documents], RESULT_DROP))
