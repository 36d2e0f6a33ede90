"""One paper, one file. The names that `algo.name` knows, and where they live."""

from importlib import import_module
from pathlib import Path
from typing import Any

ALGORITHMS = {
    "bc": ("lit_modules.bc", "BC"),
    "gaussian_bc": ("lit_modules.gaussian_bc", "GaussianBC"),
    "inspo": ("lit_modules.inspo", "InSPO"),
    "omiga": ("lit_modules.omiga", "OMIGA"),
    "omsd": ("lit_modules.omsd", "OMSD"),
}


def algorithm(name: str) -> tuple[Any, Any]:
    """(module class, config dataclass) of `algo.name`; imports torch."""
    path, class_name = ALGORITHMS[name]
    file = import_module(path)
    return getattr(file, class_name), getattr(file, f"{class_name}Config")


def deviations(name: str) -> list[str]:
    """The numbered deviations D1, D2, .. from the head of the algorithm's file."""
    path = Path(__file__).with_name(ALGORITHMS[name][0].split(".")[1] + ".py")
    found: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").rstrip()
        if text[:1] == "D" and text[1:2].isdigit():
            found.append(text)
        elif found and line.startswith("#     "):
            found[-1] += " " + text
    return found
