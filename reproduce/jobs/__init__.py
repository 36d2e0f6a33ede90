"""Rows as processes: sweeps on launchers, and queues of long runs."""

from reproduce.jobs.launchers import (
    Launcher,
    job_threads,
    launcher_from,
    launcher_names,
    split,
    with_threads,
)
from reproduce.jobs.queue import run_queue
from reproduce.jobs.queue_file import read_queue, recorded
from reproduce.jobs.queue_state import ENDED, queue_status, signal_queue
from reproduce.jobs.sweep import error_document, run_sweep

__all__ = [
    "ENDED",
    "Launcher",
    "error_document",
    "job_threads",
    "launcher_from",
    "launcher_names",
    "queue_status",
    "read_queue",
    "recorded",
    "run_queue",
    "run_sweep",
    "signal_queue",
    "split",
    "with_threads",
]
