"""Tables of algorithms on the same data, filled from records: configs/matrices says which run belongs into a cell."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from reproduce.config import Settings, differences
from reproduce.config.matrices import Matrix, matrix, matrix_names
from reproduce.core.numbers import decimals, number
from reproduce.judge import welch_bounds
from reproduce.records import carried_out_alike, data_score, healthy, same_data

ROUNDED, OTHER, BROKEN = "†", "‡", "§"
NOT_RUN = "not run"
MARKS = {
    ROUNDED: "Trained on another copy of the dataset: its checksum is another, and the statistics of its returns are "
    "the same but for what another kind of processor rounds differently.",
    OTHER: "Trained on other data of the same id: checksum and statistics differ from those of the line.",
    BROKEN: "Cannot run today.",
}
BUDGET_HEAD = ["", "updates", "minibatch", "seeds", "episodes a seed", "time limits", "runs", "recorded"]
METRICS = {"normalized_score": "Normalized score", "episode_return": "Episode return", "win_rate": "Win rate"}


@dataclass(frozen=True)
class Filled:
    """Cells are plain text, heads first. `filled` of `wanted` cells hold a run; `notes` explain marks; `budgets` has a
    line for each column."""

    name: str
    title: str
    caption: str
    cells: list[list[str]]
    notes: list[str]
    budgets: list[list[str]]
    filled: int
    wanted: int


def filled_matrices(found: list[dict[str, Any]]) -> list[Filled]:
    """Every matrix of configs/matrices; `found` holds all records, oldest first."""
    return [filled(matrix(name), found) for name in matrix_names()]


def filled(asked: Matrix, found: Iterable[dict[str, Any]]) -> Filled:
    """The table of one matrix. `found` are records, oldest first; those of other rows are passed over."""
    runs = _runs(asked, found)
    marked: dict[str, list[str]] = {}
    cells = [["", "data", *asked.file.columns]]
    counting: dict[str, list[dict[str, Any]]] = {head: [] for head in asked.file.columns}
    for line in asked.file.lines:
        of_line = {head: runs[head, line] for head in asked.file.columns}
        base = _base(asked.file.data_of, of_line)
        texts = [line, "" if base is None else _of_data(base)]
        for head, settings in ((head, asked.cells[head, line]) for head in asked.file.columns):
            record = None if base is None else _chosen(of_line[head], base)
            if record is not None and base is not None:
                counting[head].append(record)
                texts.append(cell(record))
                if record["data"]["sha256"] != base["data"]["sha256"]:
                    mark = ROUNDED if same_data(record["data"], base["data"]) else OTHER
                    ours, theirs = (r["data"]["sha256"][:8] for r in (record, base))
                    texts[-1] += f" {mark}"
                    _once(marked.setdefault(mark, []), f"{line} {ours}, the line's is {theirs}")
            elif isinstance(settings, str):
                texts.append(f"cannot run {BROKEN}")
                _once(marked.setdefault(BROKEN, []), f"{asked.file.command(head, line)}: {settings}")
            else:
                texts.append(NOT_RUN)
        cells.append(texts)
    notes = [f"{mark} {MARKS[mark]} {'; '.join(marked[mark])}." for mark in MARKS if mark in marked]
    notes = [note.replace("..", ".") for note in notes]
    budgets = [BUDGET_HEAD, *(_budget(head, records) for head, records in counting.items())]
    metric = METRICS.get(asked.file.metric, asked.file.metric)
    caption = (
        f"{metric}, mean and its 95 % interval over seeds (Student's t). A line is a dataset, and `data` the mean of "
        f"its own episodes. {asked.file.text.strip()}"
    )
    n_filled = sum(map(len, counting.values()))
    return Filled(asked.name, asked.file.title, caption, cells, notes, budgets, n_filled, len(runs))


def _runs(asked: Matrix, found: Iterable[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """By cell, the runs that belong there, oldest first."""
    of_rows: dict[str, list[dict[str, Any]]] = {}
    for record in found:
        if record["kind"] == "row" and record["scores"]["metric"] == asked.file.metric:
            of_rows.setdefault(record["row"], []).append(record)
    return {
        key: [] if isinstance(settings, str) else [r for r in of_rows.get(settings.row, []) if _is_run(r, settings)]
        for key, settings in asked.cells.items()
    }


def _is_run(record: dict[str, Any], settings: Settings) -> bool:
    """Whether the record has exactly these settings, its seeds included, in the row's world."""
    data, stated = record["config"].get("data", {}), settings.data
    same = (data.get("kind"), data.get("seed")) == (stated.kind, stated.seed)
    same = same and record["environment"]["fingerprint"] == settings.task.fingerprint
    same = same and carried_out_alike(record, settings)
    return same and record["seeds"] == settings.protocol.seeds and not differences(record["config"], settings.values)


def _base(head: str, of_line: dict[str, list[dict[str, Any]]]) -> dict[str, Any] | None:
    """The run whose dataset is that of the line: the newest of the column `head`, else of the first that has one."""
    order = [head, *(other for other in of_line if other != head)]
    return next((of_line[name][-1] for name in order if of_line[name]), None)


def _chosen(runs: list[dict[str, Any]], base: dict[str, Any]) -> dict[str, Any] | None:
    """The newest run on the dataset of the line, to the bit; where there is none, the newest."""
    same = [record for record in runs if record["data"]["sha256"] == base["data"]["sha256"]]
    return (same or runs or [None])[-1]


def cell(record: dict[str, Any]) -> str:
    """12.3 [10.1, 14.5]: the mean over seeds and its interval. How many diverged, and their number if not five."""
    values = healthy(record["scores"]["per_seed"])
    if not values:
        return "diverged"
    text, digits = number(fmean(values)), decimals(fmean(values))
    if len(values) > 1:
        low, high = welch_bounds(values, [0.0], 0.975)
        text += f" [{number(low, digits)}, {number(high, digits)}]"
    lost = len(record["crashed"])
    return text + (f" ({lost} diverged)" if lost else "") + ("" if len(values) == 5 else f" (n = {len(values)})")


def _of_data(record: dict[str, Any]) -> str:
    value = data_score(record)
    return "unknown" if value is None else number(value)


def _budget(head: str, records: list[dict[str, Any]]) -> list[str]:
    """What the runs of a column had, from their records."""
    if not records:
        return [head, *[NOT_RUN] * (len(BUDGET_HEAD) - 1)]
    algos, protocols = ([record["config"][group] for record in records] for group in ("algo", "protocol"))
    days = sorted(record["created"][:10] for record in records)
    return [
        head,
        _several(map(_updates, sorted(algos, key=lambda algo: algo["n_updates"]))),
        _several(str(algo.get("batch_size", "unknown")) for algo in algos),
        _several(str(len(record["seeds"])) for record in records),
        _several(str(protocol["eval_episodes"]) for protocol in protocols),
        _several(str(protocol["time_limits"]) for protocol in protocols),
        str(len(records)),
        days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}",
    ]


def _updates(algo: dict[str, Any]) -> str:
    """2,001; further numbers of updates by their names."""
    further = [f"{key} {value:,}" for key, value in algo.items() if key.endswith("_updates") and key != "n_updates"]
    return ", ".join([f"{algo['n_updates']:,}", *further])


def _several(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _once(texts: list[str], text: str) -> None:
    if text not in texts:
        texts.append(text)
