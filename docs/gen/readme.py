"""Writes the README's generated table: `python docs/gen/readme.py`. A test holds it equal to the records."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from gen import tables  # noqa: E402

from data.common.errors import ReproduceError  # noqa: E402
from data.common.paths import ROOT  # noqa: E402

README = ROOT / "README.md"
BLOCKS = {"holds": tables.holds, "exit codes": tables.exit_codes}


def filled(text: str) -> str:
    """The text with every block between `<!-- NAME -->` and `<!-- end of NAME -->` written anew.

    Raises ReproduceError where a marker is missing.
    """
    for name, block in BLOCKS.items():
        first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if first not in text or last not in text:
            raise ReproduceError(f"README.md has no block between {first} and {last}; put both lines back.")
        before, after = text.partition(first)[0], text.partition(last)[2]
        text = f"{before}{first}\n{block()}\n{last}{after}"
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
