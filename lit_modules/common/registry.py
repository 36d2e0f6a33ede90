"""Algorithms by name. A file of lit_modules registers itself: `@register("omiga")` above its module class.

The names, and the settings of an algorithm, are read from the files' text: the command knows them without torch.
"""

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from data.common.errors import ReproduceError, nearest
from lit_modules.common.settings import AlgoConfig

FOLDER = Path(__file__).parents[1]
TORCH_FREE = ("typing", "pydantic", "lit_modules.common.settings")  # what a settings class may use
C = TypeVar("C", bound=type)


def register(name: str) -> Callable[[C], C]:
    """Class decorator: `algo.name` = `name` runs this module. The settings are the class <Module>Config of the file."""

    def decorate(module_class: C) -> C:
        module_class.algorithm = name  # type: ignore[attr-defined]
        return module_class

    return decorate


@dataclass(frozen=True)
class Entry:
    """An algorithm's file, and the name of its module class."""

    file: Path
    class_name: str

    @property
    def module(self) -> str:
        return f"lit_modules.{self.file.stem}"


@cache
def algorithms(folder: Path = FOLDER) -> dict[str, Entry]:
    """Every registered name, sorted. Raises ReproduceError where two classes register one name."""
    found: dict[str, Entry] = {}
    for file in sorted(folder.glob("*.py")):
        for node in _parsed(file).body:
            if not isinstance(node, ast.ClassDef) or (name := _registered(node)) is None:
                continue
            if name in found:
                raise ReproduceError(
                    f"lit_modules: {found[name].file.name} and {file.name} both register {name!r}; rename one of them."
                )
            found[name] = Entry(file, node.name)
    return dict(sorted(found.items()))


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ReproduceError(f"lit_modules/{file.name} is no Python: {error}.") from error


def _registered(node: ast.ClassDef) -> str | None:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "register":
            value = mark.args[0] if mark.args else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    return None


def entry(name: Any) -> Entry:
    """Raises ReproduceError with the nearest names for an unknown one."""
    known = algorithms()
    if name not in known:
        raise ReproduceError(f"algo.name={name!r} is unknown.{nearest(str(name), list(known))}")
    return known[name]


def algorithm(name: str) -> tuple[Any, type[AlgoConfig]]:
    """(module class, settings class); imports torch."""
    found = entry(name)
    file = import_module(found.module)
    return getattr(file, found.class_name), getattr(file, f"{found.class_name}Config")


@cache
def algo_config(name: str) -> type[AlgoConfig]:
    """The settings class alone, without torch: its text is run with the file's torch-free imports."""
    found = entry(name)
    wanted = f"{found.class_name}Config"
    if loaded := sys.modules.get(found.module):
        return getattr(loaded, wanted)
    kept: list[ast.stmt] = [
        node
        for node in _parsed(found.file).body
        if (isinstance(node, ast.ImportFrom) and node.module in TORCH_FREE)
        or (isinstance(node, ast.ClassDef) and node.name == wanted)
    ]
    namespace: dict[str, Any] = {"__name__": found.module}
    try:
        exec(compile(ast.Module(kept, []), str(found.file), "exec"), namespace)
        return namespace[wanted]
    except (NameError, KeyError) as error:
        may = ", ".join(TORCH_FREE)
        raise ReproduceError(
            f"lit_modules/{found.file.name}: {wanted} must be there and use only {may} ({error})."
        ) from error


def deviations(name: str) -> list[str]:
    """The numbered deviations D1, D2, .. from the head of the algorithm's file."""
    found: list[str] = []
    for line in entry(name).file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").rstrip()
        if text[:1] == "D" and text[1:2].isdigit():
            found.append(text)
        elif found and line.startswith("#     "):
            found[-1] += " " + text
    return found
