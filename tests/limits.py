"""Limits of time in tests: they end what hangs, and no test fails because a machine is slow or busy."""

import resource
import subprocess
import sys

PATIENCE = 1800.0  # seconds to wait for what must come
IMPORTS = "import pydantic, typer, hydra, yaml"  # most of what a quick command does
SHARE = 0.25  # of a CPU second of an ordinary machine that they take at most


def cpu_of(command: list[str], **how) -> tuple[float, subprocess.CompletedProcess]:
    """CPU seconds of a process, and what it printed. Other work on the machine slows it now and then."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, **how)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def in_a_cpu_second(took: float) -> bool:
    """Whether CPU seconds are less than one of an ordinary machine; on one that is slower now, it lasts longer."""
    return took < 1 or took < min(cpu_of([sys.executable, "-c", IMPORTS])[0] for _ in range(3)) / SHARE
