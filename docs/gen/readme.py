"""Writes the README's generated tables: `python docs/gen/readme.py`. A test holds them equal to the records.

With `--output` it also runs the command whose output the README quotes, and writes what it prints.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from gen import tables  # noqa: E402

from data.common.errors import ReproduceError  # noqa: E402
from data.common.paths import ROOT  # noqa: E402

README = ROOT / "README.md"
BLOCKS = {
    "counts": tables.headline,
    "holds": tables.holds,
    "installed": tables.installed,
    "exit codes": tables.exit_codes,
}
QUOTED = ("check", "inspo/bridge/mix")  # of the command `reproduce`: reads records, trains nothing


def output() -> str:
    """What the quoted command prints."""
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "reproduce", *QUOTED]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    if ran.returncode not in (0, 1, 2, 3):
        raise ReproduceError(f"reproduce {' '.join(QUOTED)} failed: {ran.stderr.strip()}")
    return f"```\n{ran.stdout.rstrip()}\n```"


def filled(text: str, blocks: dict[str, Callable[[], str]] = BLOCKS) -> str:
    """The text with every block between `<!-- NAME -->` and `<!-- end of NAME -->` written anew.

    Raises ReproduceError where a marker is missing.
    """
    for name, block in blocks.items():
        first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if first not in text or last not in text:
            raise ReproduceError(f"README.md has no block between {first} and {last}; put both lines back.")
        before, after = text.partition(first)[0], text.partition(last)[2]
        text = f"{before}{first}\n{block()}\n{last}{after}"
    return text


if __name__ == "__main__":
    chosen = BLOCKS | ({"output": output} if "--output" in sys.argv[1:] else {})
    README.write_text(filled(README.read_text(encoding="utf-8"), chosen), encoding="utf-8")
