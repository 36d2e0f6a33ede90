"""Where a number comes from: commit, packages, machine. What cannot be had reads "unknown"."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data.common.environment import cores, without_git
from data.common.files import sha256
from data.common.paths import ROOT

PACKAGES = (
    "torch",
    "torchrl",
    "tensordict",
    "lightning",
    "hydra-core",
    "numpy",
    "scipy",
    "gymnasium",
    "mujoco",
    "jax",
    "jaxlib",
    "jaxmarl",
    "smac",
    "h5py",
)
UNKNOWN = "unknown"


def provenance(device: str = "cpu", threads: int | None = None, root: Path = ROOT) -> dict[str, Any]:
    """The record's `provenance`. `device` and `threads` are what training used (threads: OMP_NUM_THREADS or cores)."""
    lock = root / "requirements.lock"
    return {
        **_git(root),
        "lock_sha256": sha256(lock) if lock.is_file() else UNKNOWN,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "machine": _machine(device, threads),
    }


def cpu_capability() -> str:
    """The instructions that torch's kernels are made of here, AVX2 say; another capability rounds otherwise."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def peak_memory() -> int | None:
    """The most bytes that this process held so far; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _git(root: Path) -> dict[str, Any]:
    """Commit, and whether files other than records and outputs differ from it; asked once, as a process starts."""

    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, env=without_git()
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return run.stdout.strip() if run.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    # An unpacked archive inside somebody's own repository must not borrow that repository's commit.
    if not top or Path(top).resolve() != root.resolve():
        return {"commit": UNKNOWN, "dirty": UNKNOWN}
    status = git("status", "--porcelain", "--", ".", ":(exclude)records", ":(exclude)outputs")
    return {"commit": git("rev-parse", "HEAD") or UNKNOWN, "dirty": UNKNOWN if status is None else bool(status)}


def _machine(device: str, threads: int | None) -> dict[str, Any]:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "threads": threads or (int(asked) if asked.isdigit() else cores()),
        "device": device,
        **(_gpu() if device == "cuda" else {}),
        "cpu_capability": cpu_capability(),
        "ram_gib": _ram_gib(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _gpu() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or UNKNOWN


def _ram_gib() -> float | str:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError, AttributeError):
        return UNKNOWN
