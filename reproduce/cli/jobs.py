"""`reproduce queue` and `plan`: long runs, and what rows will cost here."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from data.common.errors import ReproduceError
from reproduce.cli import format
from reproduce.cli.options import Json, Overrides, Row

File = Annotated[Path, typer.Argument(metavar="FILE", help="A queue file, e.g. configs/queue/full_budget.yaml.")]
Jobs = Annotated[int, typer.Option("--jobs", help="Rows at a time, one thread each.")]
Nice = Annotated[int, typer.Option("--nice", help="0: like any process .. 19: what others leave of the cores.")]
Status = Annotated[bool, typer.Option("--status", help="A line per row: update, updates/s, hours left, verdict.")]
Pause = Annotated[bool, typer.Option("--pause", help="Stop the queue and its rows where they are.")]
Resume = Annotated[bool, typer.Option("--resume", help="Let them go on.")]


def queue(
    file: File,
    overrides: Overrides = None,
    jobs: Jobs = 1,
    nice: Nice = 19,
    status: Status = False,
    pause: Pause = False,
    resume: Resume = False,
    as_json: Json = False,
) -> int:
    """Work through long runs one after another at low priority.

    Rows that are recorded are skipped, and the others go on from their last checkpoints, however often the queue is
    started. Overrides hold for all of its rows (run.device=cuda). `--json` is for `--status`.
    """
    import signal

    from reproduce.jobs import queue_status, run_queue, signal_queue

    asked = [name for name, given in (("--status", status), ("--pause", pause), ("--resume", resume)) if given]
    if len(asked) > 1:
        raise ReproduceError(f"{' and '.join(asked)} exclude each other. `reproduce queue --help` shows the usage.")
    if status:
        return _print_status(file, queue_status(file), as_json)
    if pause or resume:
        signal_queue(file, signal.SIGSTOP if pause else signal.SIGCONT)
        return 0
    return run_queue(file, jobs, nice, overrides or [])


def _print_status(file: Path, document: dict[str, Any], as_json: bool) -> int:
    from reproduce.jobs import ENDED

    if as_json:
        print(json.dumps(document, indent=1))
        return 0
    state, pid = document["queue"], document["pid"]
    print(f"{file}: {state}" + (f", process {pid}" if pid else ""))
    for line in document["jobs"]:
        how = [line["state"] if state != "not running" or line["state"] in ENDED else "waiting"]
        how += [f"update {line['update']:,} of {line['n_updates']:,}"] if line["update"] is not None else []
        how += [f"{line['updates_per_s']:g}/s"] if line["updates_per_s"] else []
        how += [f"{line['hours_left']:g} h left"] if line["hours_left"] is not None else []
        print("  ".join([f"  {line['command']}", ", ".join(how), line["note"]]).rstrip())
    return 0


def plan(target: Row, overrides: Overrides = None, as_json: Json = False) -> int:
    """Estimate time, memory, disk, and seeds for a verdict.

    They are of this machine: half a minute of calibration measures the rows' own updates and worlds. Nothing is built
    or recorded.
    """
    from reproduce.config import compose
    from reproduce.experiment.playable import playable

    rows = [compose(name, overrides or []) for name in playable(target, overrides or [])[0]]
    from reproduce.cost import estimates, totals

    found = estimates(rows)
    total = totals(found)
    if as_json:
        print(json.dumps({"rows": [e.to_json() for e in found], "total": total}, indent=1))
        return 0
    _print_estimates(found)
    print(
        f"one after another {format.duration(total['total_s'])} on {found[0].threads} thread(s), memory at most "
        f"{format.size(total['memory_bytes'])}, disk {format.size(total['disk_bytes'])} (each dataset counted once)"
    )
    said: dict[str, list[str]] = {}
    for e in found:
        for text in (*e.notes, f"seeds for a verdict: from {e.seeds_basis}"):
            said.setdefault(text, []).append(e.row)
    for text, about in said.items():
        more = f" and {len(about) - 2} more" if len(about) > 2 else ""
        print(format.fill(f"- {text}" + ("" if len(about) == len(found) else f" ({', '.join(about[:2])}{more})")))
    return 0


def _print_estimates(found: list[Any]) -> None:
    head = ["row", "seeds", "updates", "training", "evaluation", "memory", "disk", "for a verdict", "power"]
    lines = [
        [
            e.row,
            str(e.seeds),
            f"{e.n_updates:,}",
            format.duration(e.train_s) + format.spread(e.spread),
            f"{format.duration(e.evaluate_s)}, {e.evaluations} times",
            format.size(e.memory_bytes),
            f"{'' if e.dataset_built else '≤ '}{format.size(sum(e.dataset_bytes.values()) + e.run_bytes)}",
            "unknown" if e.seeds_for_verdict is None else f"{e.seeds_for_verdict} seeds".replace("e seeds", "e"),
            "unknown" if e.power is None else f"{100 * e.power:.0f} %",
        ]
        for e in found
    ]
    print(format.columns(head, lines, ("disk", "power", "memory", "evaluation", "updates")))
