"""Work that shares nothing, done side by side in processes of one thread each."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import starmap
from typing import Any

import torch

from data.common.environment import clean_processes, main_left_out
from data.common.errors import ReproduceError

WORTH = 4  # processes from which on they gain more than their start takes
Each = Callable[[Callable[..., Any], Iterable[tuple]], Iterator[Any]]


@contextmanager
def side_by_side(n: int) -> Iterator[Each]:
    """each(work, jobs): the results of work(*job), in the order of `jobs`; computed here where n is below `WORTH`.

    `work` is a function of a module; jobs and results are pickled. The processes end with this one, however it ends.
    Raises ReproduceError where one of them is killed.
    """
    if n < WORTH or multiprocessing.current_process().daemon:  # a daemon may have no processes
        yield starmap
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(n, clean_processes(__name__), _begin)
    try:
        yield partial(_each, pool)
    except BrokenProcessPool as error:
        raise ReproduceError(
            f"one of {n} processes was killed, for its memory maybe; with OMP_NUM_THREADS=1 one process does it all."
        ) from error
    finally:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _each(pool: ProcessPoolExecutor, work: Callable[..., Any], jobs: Iterable[tuple]) -> Iterator[Any]:
    with main_left_out():  # all processes start with the first job
        return pool.map(partial(_done, work), jobs)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's processes; the first one decides
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _done(work: Callable[..., Any], job: tuple) -> Any:
    return work(*job)
