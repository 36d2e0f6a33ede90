"""The four files of an algorithm: module, settings, case, test. As written they clone the data's actions."""

import ast
import json
import keyword
from pathlib import Path
from typing import Literal, get_args

from data.common.errors import ReproduceError
from data.common.paths import ROOT
from reproduce.new.names import check_checkout, check_word
from reproduce.new.write import render, write_together

Actions = Literal["continuous", "discrete"]
FILES = {
    "module.py": "lit_modules/{name}.py",
    "config.yaml": "configs/algo/{name}.yaml",
    "case.py": "tests/cases/{name}.py",
    "test.py": "tests/unit/test_{name}.py",
}


def algorithm(name: str, actions: str = "continuous", root: Path = ROOT) -> list[Path]:
    """Write the files of the algorithm `name` for the kind of `actions` -> their paths.

    Raises ReproduceError for a name that is taken, reserved or no identifier; then nothing is written.
    """
    if actions not in (kinds := get_args(Actions)):
        raise ReproduceError(f"--actions {actions}: choose {' or '.join(kinds)}.")
    check_checkout(root)
    check_word(name, "an algorithm")
    _check_free(name, root)
    facts = {"name": name, "class_name": "".join(word.capitalize() for word in name.split("_"))}
    texts = {root / path.format(name=name): render(f"{actions}/{file}", facts) for file, path in FILES.items()}
    if keyword.iskeyword(facts["class_name"]):
        raise ReproduceError(f"{name!r} cannot name an algorithm: its class would be {facts['class_name']}.")
    _check_class(facts["class_name"], name, texts[root / FILES["module.py"].format(name=name)])
    return write_together(texts)


def _check_free(name: str, root: Path) -> None:
    taken = [root / path.format(name=name) for path in FILES.values()]
    taken += [root / "lit_modules" / name, *sorted(root.glob(f"tests/*/test_{name}.py"))]
    for path in taken:
        if path.exists():
            raise ReproduceError(f"{name!r} is taken: {path.relative_to(root)} exists. Choose another name.")
    helpers = root / "tests" / "cases" / "__init__.py"  # a module of their package would hide one
    defined = {name for node in ast.parse(helpers.read_text(encoding="utf-8")).body for name in _names(node)}
    if name in defined:
        raise ReproduceError(f"{name!r} is taken: {helpers.relative_to(root)} defines it. Choose another name.")
    losses = root / "tests" / "score" / "loss_fingerprints.json"
    if name in json.loads(losses.read_text(encoding="utf-8")):
        raise ReproduceError(f"{name!r} is taken: it names losses in {losses.relative_to(root)}. Choose another name.")


def _names(node: ast.stmt) -> list[str]:
    """What a statement of a module defines or imports."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node]
    return [getattr(target, "name", getattr(target, "id", "")) for target in targets]


def _check_class(class_name: str, name: str, text: str) -> None:
    """Raises ReproduceError where a class of the file would hide what the file imports."""
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    if hidden := imported & {class_name, f"{class_name}Config"}:
        raise ReproduceError(f"{name!r} cannot name an algorithm: its class would hide {hidden.pop()}.")
