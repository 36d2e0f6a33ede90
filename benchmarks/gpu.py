"""`python benchmarks/gpu.py [QUEUE ..]`: what a GPU computes, checked against the CPU; then full rows of queues there.

Three rows' updates, written, compiled, captured and both, must end with the CPU's parameters (benchmarks/on_gpu.py); a
record holds differences, times, launches and memory. Then the queues run with run.device=cuda, several rows at a time.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from on_gpu import ROWS, TOLERANCE, on_cuda

from data.common.environment import cores
from data.common.provenance import provenance
from lit_modules.common.accelerate import MODES
from reproduce import records
from reproduce.core import console


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("queues", nargs="*", type=Path, help="queue files, worked off one after another")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time (2)")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), help="rows whose updates are checked")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=MODES, help=f"of {', '.join(MODES)} (all)")
    parser.add_argument(
        "--accelerate", default="compile+graph", choices=MODES, help="how the queues' rows run (compile+graph)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds of which medians are taken (5)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        console.note("torch sees no CUDA device here: there is nothing to check, and no row runs.")
        return 4
    if args.rows and not check(args):
        return 1
    from reproduce.jobs import run_queue

    threads = max(1, cores() // args.jobs)
    further = ["run.device=cuda", f"run.accelerate={args.accelerate}", f"run.threads={threads}"]
    return max((run_queue(queue, args.jobs, 0, further) for queue in args.queues), default=0)


def check(args: argparse.Namespace) -> bool:
    """Whether every mode computes what the CPU does, and the rows' own is no slower one in its place; the measurements
    are recorded either way."""
    origin, started, lines = provenance("cuda"), time.perf_counter(), []
    for line in on_cuda(args.repeats, args.rows, args.modes):
        lines.append(line)
        console.note(f"{line.case}  {line.what}  {line.value:.4g} {line.unit}  {line.ratio or 0:.3f}")
    record = {
        "kind": "bench",
        "row": "bench/cuda",
        "provenance": origin,
        "repeats": args.repeats,
        "lines": [line.to_json() for line in lines],
        "time": {"wall_s": round(time.perf_counter() - started, 1)},
    }
    print(records.write(record))
    wrong = [line for line in lines if line.unit == "to the CPU" and not line.value <= TOLERANCE]
    for line in wrong:
        console.note(f"{line.case}, {line.what}: {line.value:.2g} from the CPU's parameters, at most {TOLERANCE:g}")
    slow = [line for line in lines if f" {args.accelerate} FELL BACK" in line.what and line.unit == "to the CPU"]
    for line in slow:
        console.note(
            f"{line.case}, {line.what}: rows would run as written; choose another --accelerate, or other --rows"
        )
    return not wrong and not slow


if __name__ == "__main__":
    sys.exit(main())
