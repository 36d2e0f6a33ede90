"""Limits of time in tests: they end what hangs, and no test fails because a machine is slow or busy."""

import resource
import subprocess
import sys

PATIENCE = 1800.0  # seconds to wait for what must come
IMPORTS = "import pydantic, typer, hydra, yaml"  # most of what a quick command does
IMPORTS_TAKE = 0.25  # CPU seconds of an ordinary machine


def cpu_of(command: list[str], **how) -> tuple[float, subprocess.CompletedProcess]:
    """CPU seconds of a process, and what it printed. Other work on the machine slows it now and then."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, **how)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def ordinary_seconds_of(command: list[str], **how) -> tuple[float, subprocess.CompletedProcess]:
    """CPU seconds that the process takes on an ordinary machine, and what it printed.

    The imports that nearly every command makes are timed just before it and just after it: what slows the machine at
    that moment slows them as well.
    """
    imports = [sys.executable, "-c", IMPORTS]
    before, _ = cpu_of(imports)
    took, done = cpu_of(command, **how)
    after, _ = cpu_of(imports)
    return took * IMPORTS_TAKE / max(before, after), done
