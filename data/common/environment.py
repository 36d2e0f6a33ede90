"""What surrounds a process: variables that libraries read behind our back (docs/environment.md lists them), the cores
that it may use, and what processes that it starts import."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# They change a result, load foreign code or unpickle: left out in every process of the command.
IGNORED = (
    *("PL_TRAINER_", "PL_GLOBAL_SEED", "PL_FAULT_TOLERANT", "PL_CONFIG", "PL_DEEPSPEED", "LT_"),
    *("HDF5_", "TORCHDYNAMO_", "TORCHINDUCTOR_", "TORCH_COMPILE_", "TORCH_FORCE_", "PYTORCH_TUNABLEOP_"),
    *("TORCH_ALLOW_TF32_", "TORCH_CUDNN_", "NVIDIA_TF32_", "TORCH_BLAS_PREFER_", "TORCH_LINALG_PREFER_"),
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "ONEDNN_", "DNNL_", "OPENBLAS_CORETYPE"),
    *("TENSORSTORE_", "SAFETENSORS_FAST_GPU", "HYDRA_"),
)
HONORED = (  # of the same families: where files lie, how they are locked, what is printed
    *("HDF5_USE_FILE_LOCKING", "TORCHINDUCTOR_CACHE_DIR", "TORCHDYNAMO_VERBOSE", "ONEDNN_VERBOSE", "DNNL_VERBOSE"),
    "HYDRA_FULL_ERROR",
)
GIT = "GIT_"


def cores() -> int:
    """CPU cores that this process may use: of a machine's, those that a cluster or `taskset` left it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_alive(pid: int) -> bool:
    """Whether there is such a process here, of whomever."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def clean_processes(module: str) -> Any:
    """multiprocessing's context of processes that begin without this one's threads and locks. Where they are forked by
    a server, it imports `module` once for all of them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


@contextmanager
def main_left_out() -> Iterator[None]:
    """Processes that are started within do not import the program that runs: a script without `if __name__ ==
    "__main__"` would start them again and again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def is_ignored(variable: str) -> bool:
    return variable.startswith(IGNORED) and variable not in HONORED


def ignore_variables() -> list[str]:
    """Takes the ignored variables out of this process's environment, which its children inherit; their names."""
    found = sorted(filter(is_ignored, os.environ))
    for variable in found:
        del os.environ[variable]
    return found


def without_git() -> dict[str, str]:
    """This environment for a git that looks at the repository it is given, also within a git hook."""
    return {key: value for key, value in os.environ.items() if not key.startswith(GIT)}


@contextmanager
def without(*prefixes: str, keep: tuple[str, ...] = ()) -> Iterator[None]:
    """Within, no variable that begins with one of `prefixes` is set, but for those of `keep`; then all are again."""
    before = {key: value for key, value in os.environ.items() if key.startswith(prefixes) and key not in keep}
    for key in before:
        del os.environ[key]
    try:
        yield
    finally:
        for key in [key for key in os.environ if key.startswith(prefixes) and key not in keep]:
            del os.environ[key]
        os.environ.update(before)
