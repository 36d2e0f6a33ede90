"""Names that can be given: words of Python, paths and row ids at once, not taken yet."""

import keyword
import re
from pathlib import Path

from data.common.errors import ReproduceError

OF_YAML = ("null", "true", "false", "on", "off", "yes", "no", "nan", "inf")  # and of Hydra's overrides
LONGEST = 30
WORD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def check_word(name: str, what: str) -> None:
    """Raises ReproduceError unless `name` is lower-case letters, digits and single underscores, and not reserved."""
    if len(name) > LONGEST:
        raise ReproduceError(f"{name!r} cannot name {what}: at most {LONGEST} letters.")
    if not WORD.fullmatch(name):
        guess = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        better = f" Perhaps {guess}." if WORD.fullmatch(guess) else ""
        raise ReproduceError(
            f"{name!r} cannot name {what}: lower-case letters, digits and single underscores, a letter first.{better}"
        )
    if keyword.iskeyword(name) or name in keyword.softkwlist or name in OF_YAML:
        raise ReproduceError(f"{name!r} cannot name {what}: it is a reserved word. Perhaps {name}_ma.")


def check_checkout(root: Path) -> None:
    """Raises ReproduceError where the program runs without the project's files around it."""
    if missing := [folder for folder in ("configs", "tests", "lit_modules") if not (root / folder).is_dir()]:
        raise ReproduceError(f"there is no {root / missing[0]}: `reproduce new` needs a checkout of the project.")
