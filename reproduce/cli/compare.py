"""`reproduce compare ROW algo=A algo=B ..`: algorithms on the same data and seeds."""

import json
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Annotated, Any

import typer

from data.common.errors import ReproduceError
from reproduce.cli.format import fill, interval, mean_std
from reproduce.cli.options import Json, complete, rows, settings

One = Annotated[
    str,
    typer.Argument(metavar="ROW", help="The row.", autocompletion=complete(rows), show_default=False),
]
Arms = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARM...",
        help="algo=NAME or `own`, each followed by its KEY=VALUE.",
        autocompletion=settings,
        show_default=False,
    ),
]
Quoted = Annotated[
    list[str] | None, typer.Option("--arm", metavar="'KEY=VALUE ..'", help="One more arm by its settings alone.")
]


def compare(target: One, words: Arms = None, arm: Quoted = None, as_json: Json = False) -> int:
    """Hold algorithms against each other on one row's data.

    Each algo=NAME begins an arm, and the KEY=VALUE behind it are its own: `algo=omiga algo.alpha=5 algo=gaussian_bc`.
    KEY=VALUE before the first are common to all arms, launcher=NAME among them. `own` is the row's settings, and the
    first arm where one other is given. The others are held against the first. Arms that are recorded are not run again.
    Exit code 0 when the comparison was done, whoever won.
    """
    from reproduce.compare import composed, read_arms
    from reproduce.jobs import job_threads, launcher_from, split

    overrides, knobs = split(words or [])
    launcher = launcher_from(knobs)
    common, arms = read_arms(overrides, arm or [])
    stated = composed(target, common, arms)
    from reproduce.compare.run import compare as compare_arms
    from reproduce.compare.run import run_here

    def on_launcher(missing: Sequence[Any]) -> None:
        from reproduce.jobs import run_sweep

        assert launcher is not None
        points = [one.overrides for one in missing]
        threads = {job_threads(point, launcher) for point in points}
        if len(threads) > 1:
            raise ReproduceError("run.threads differs between arms: set it before the first arm.")
        for document in run_sweep([target], [], launcher, lambda document: None, points) if points else []:
            if "error" in document and not _is_recorded(point := document.get("point", []), missing):
                raise ReproduceError(f"arm {' '.join(point)!r}: {document['error']}")

    record = compare_arms(arms, stated, common, run_here if launcher is None else on_launcher)
    document = {key: record[key] for key in KEYS} | {"exit_code": 0}
    print(json.dumps(document, indent=1) if as_json else text(record))
    return 0


def _is_recorded(point: Sequence[str], missing: Sequence[Any]) -> bool:
    """Whether the arm has a record all the same: where all its seeds diverged, of their minimum scores."""
    from reproduce import records

    return any(records.recorded(one) is not None for one in missing if list(one.overrides) == list(point))


KEYS = (
    *("row", "of", "metric", "overrides", "data", "seeds", "arms", "reference", "judged", "method", "differences"),
    *("time", "file"),
)


def text(record: dict[str, Any]) -> str:
    """The comparison in lines that fit the terminal, but for names that are longer."""
    arms, data = record["arms"], record["data"]
    letters = dict(zip(arms, map(_letter, range(len(arms))), strict=True))
    out = [f"{record['of']}: {len(arms)} arms on {data['id']} ({data['kind']} data)"]
    seeds = record["seeds"]
    out.append(fill(f"{record['metric'].replace('_', ' ')}, seeds {seeds[0]} to {seeds[-1]}{_common(record)}"))
    out.append("")
    for name, arm in arms.items():
        scores, how = arm["per_seed"], "recorded" if arm["reused"] else "run now"
        out.append(f"{letters[name]:2} {mean_std(fmean(scores), stdev(scores), len(scores)):28} {how:9} {name}")
    out.append("")
    for pair in record["differences"]:
        low, high = pair["low"], pair["high"]
        if pair["widened_low"] is not None:
            low, high = pair["widened_low"], pair["widened_high"]
        between = f"{letters[pair['arm']]} - {letters[pair['against']]}"
        found = pair["found"] or "not judged"
        out.append(f"{between:8} {pair['difference'] + 0.0:<10.4g} in {interval(low, high):24} {found}")
    out += ["", fill(record["method"]), f"{record['file']}"]
    return "\n".join(out)


def _letter(k: int) -> str:
    return chr(ord("A") + k) if k < 26 else f"A{k}"


def _common(record: dict[str, Any]) -> str:
    return f"; common to all: {' '.join(record['overrides'])}" if record["overrides"] else ""
