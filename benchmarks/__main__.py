"""`python benchmarks [SECTION ..] [--repeats N]`: one table, ratios within one run, and a record of it.

Everything runs on one thread but the worlds in threads. Sections: update (with arithmetic), agents, loop, evaluation,
loading, memory, start. `benchmarks/gpu.py` is for GPUs.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from loop import loading, memory, overhead, start
from rich.console import Console
from rich.table import Table
from timing import Line
from updates import growth, per_seed
from worlds import evaluation

from data.common.provenance import provenance
from reproduce import records
from reproduce.core import console

SECTIONS = {
    "update": per_seed,
    "agents": growth,
    "loop": overhead,
    "evaluation": evaluation,
    "loading": loading,
    "memory": memory,
    "start": start,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)} (all)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of which medians are taken")
    args = parser.parse_args()
    if unknown := set(args.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    torch.set_num_threads(1)
    origin, started, lines = provenance("cpu", 1), time.perf_counter(), []
    for name in args.sections or SECTIONS:
        for line in SECTIONS[name](args.repeats):
            lines.append(line)
            console.note(
                f"{line.section}  {line.case}  {line.what}  {line.value:.4g} {line.unit}  {line.ratio or 0:.3f}"
            )
    Console(width=None if sys.stdout.isatty() else 160).print(table(lines))
    record = {
        "kind": "bench",
        "row": "bench/all" if not args.sections else "bench/part",
        "provenance": origin,
        "repeats": args.repeats,
        "lines": [line.to_json() for line in lines],
        "time": {"wall_s": round(time.perf_counter() - started, 1)},
    }
    print(records.write(record))


def table(lines: list[Line]) -> Table:
    made = Table("section", "case", "what", "value", "ratio", "to", "target", title="medians; ratios within this run")
    before = ""
    for line in lines:
        if line.section != before and before:
            made.add_section()
        before = line.section
        ratio = "" if line.ratio is None else f"{line.ratio:.3f}"
        made.add_row(
            line.section, line.case, line.what, f"{line.value:.4g} {line.unit}", ratio, line.reference, line.target
        )
    return made


if __name__ == "__main__":
    main()
