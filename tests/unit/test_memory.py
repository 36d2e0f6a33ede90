"""Memory that an update frees serves the next one."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from data.common.paths import ROOT

FAULTS = """
{first}
import resource
import torch

def update():
    x = torch.ones(20_000_000)
    return (x * 2 + x).sum()

for _ in range(3):
    update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(first: str) -> int:
    """Of five updates with large intermediate results, in a process that begins with `first`."""
    program = [sys.executable, "-c", FAULTS.format(first=first)]
    return int(subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


RESIDENT = """
import data
from data.common.memory import return_freed_memory
import torch

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

parts = [torch.ones(10_000_000) for _ in range(5)]
whole = torch.cat(parts)
stays = torch.ones(1000)
del parts, whole
before = resident()
return_freed_memory()
print(before - resident())
"""
GLIBC = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc's allocator"
)


@GLIBC
def test_what_loading_left_goes_back_at_once():
    program = [sys.executable, "-c", RESIDENT]
    freed = float(subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert freed > 300  # MB, of 400


def transparent_huge_pages() -> str:
    file = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return file.read_text().partition("[")[2].partition("]")[0] if file.exists() else ""


@GLIBC
def test_large_tensors_take_the_memory_that_others_left():
    with_project, without = page_faults("import data"), page_faults("")
    assert with_project < 1000
    assert with_project < without / 5 or transparent_huge_pages() == "always"  # then few faults map much
