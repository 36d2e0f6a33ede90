"""`reproduce ROW --sweep KEY=V1,V2`: a grid of settings, one record per point and a table at the end."""

import json
import sys
from collections.abc import Callable, Sequence
from itertools import groupby, product
from typing import Any

from data.common.errors import ReproduceError
from reproduce.cli.format import columns, mean_std, result_line, seconds
from reproduce.core import console, ending

RunOne = Callable[[str, list[str]], dict[str, Any]]
After = Callable[[list[dict[str, Any]]], None]
DryRun = Callable[[list[str], list[str], list[list[str]], Any, bool], int]


def points(sweeps: Sequence[str], overrides: Sequence[str] = ()) -> list[list[str]]:
    """The overrides of each point, the last setting changing fastest.

    Raises ReproduceError for what is no KEY=V1,V2, a setting that is stated twice, and a value that stands twice.
    """
    from reproduce.config import several

    axes: dict[str, list[str]] = {}
    taken = {override.partition("=")[0] for override in overrides}
    for text in sweeps:
        key, sign, listed = text.partition("=")
        values = several(listed)
        if not sign or not key or "" in values:
            raise ReproduceError(f"--sweep {text}: write --sweep KEY=V1,V2, e.g. --sweep algo.lr=0.001,0.0003.")
        if key.startswith("launcher"):
            raise ReproduceError(f"--sweep {text}: a launcher carries the grid; set {key}=VALUE once.")
        if key in axes or key in taken:
            raise ReproduceError(f"--sweep {text}: {key} is stated twice; name it once, with all its values.")
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise ReproduceError(f"--sweep {text}: {twice} stands twice; every point runs once.")
        axes[key] = values
    return [[f"{k}={v}" for k, v in zip(axes, chosen, strict=True)] for chosen in product(*axes.values())]


def run_grid(
    names: list[str],
    overrides: list[str],
    sweeps: list[str],
    launcher: Any,
    as_json: bool,
    run_one: RunOne,
    after: After,
    dry_run: DryRun | None = None,
) -> int:
    """Run every point of every row; the highest exit code. All settings are checked before the first starts.

    `after` takes the results before they are printed; `dry_run` estimates all points instead.
    """
    grid = points(sweeps, overrides)
    _check(names, overrides, grid)
    if dry_run is not None:
        return dry_run(names, overrides, grid, launcher, as_json)
    documents = _run(names, overrides, grid, launcher, as_json, run_one)
    after(documents)
    if as_json:
        print(json.dumps({"rows": documents}, indent=1))
    else:
        print(table(documents))
    return max(document["exit_code"] for document in documents)


def _check(names: list[str], overrides: list[str], grid: list[list[str]]) -> None:
    from reproduce.config import compose

    for name in names:
        if name.startswith("claims/"):
            raise ReproduceError(f"{name} takes no --sweep: its settings are the claim.")
        for point in grid:
            try:
                compose(name, [*overrides, *point])
            except ReproduceError as error:
                raise ReproduceError(f"{name} with {' '.join(point)}: {error} Nothing was started.") from error


def _run(
    names: list[str],
    overrides: list[str],
    grid: list[list[str]],
    launcher: Any,
    as_json: bool,
    run_one: RunOne,
) -> list[dict[str, Any]]:
    """The results, each with its `point`; one that cannot run is an error among them."""

    def report(document: dict[str, Any]) -> None:
        if "error" in document:
            print(f"reproduce: {document['row']} {' '.join(document['point'])}: {document['error']}", file=sys.stderr)
        elif not as_json:
            print(f"{' '.join(document['point'])}  {result_line(document)}", flush=True)

    if launcher is not None:
        from reproduce.jobs import run_sweep

        return run_sweep(names, overrides, launcher, report, grid)
    documents = []
    with ending.together():
        for number, (name, point) in enumerate(product(names, grid), 1):
            try:
                with console.row(" ".join([name, *point]), number, len(names) * len(grid)):
                    document = run_one(name, [*overrides, *point])
            except Exception as raised:  # the other points still run
                error = ending.as_error(raised)
                document = {"row": name, "error": str(error), "exit_code": error.exit_code}
            documents.append(document | {"point": point})
            report(documents[-1])
    return documents


def table(documents: Sequence[dict[str, Any]]) -> str:
    """A line per point under the name of its row, with the settings' values first."""
    head = [
        *(setting.partition("=")[0].rpartition(".")[2] for setting in documents[0]["point"]),
        "ours",
        "verdict",
        "s",
    ]
    rows = groupby(documents, lambda document: document["row"])
    return "\n".join(f"\n{row}\n{columns(head, list(map(_cells, points)), ['s'])}" for row, points in rows)


def _cells(document: dict[str, Any]) -> list[str]:
    values = [setting.partition("=")[2] for setting in document["point"]]
    if "error" in document:
        return [*values, "", "ERROR", ""]
    v = document["verdict"]
    ours = "" if v["mean"] is None else mean_std(v["mean"], v["std"], v["n"])
    return [*values, ours, v["state"], seconds(document["time"]["wall_s"])]
