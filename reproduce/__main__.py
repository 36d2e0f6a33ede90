"""`python -m reproduce`."""

import sys
from pathlib import Path

# Python puts the current folder first: a file of that folder named as a library would be imported in its place.
# `safe_path` is unknown before Python 3.11, which the command refuses by itself.
if (
    sys.path
    and not getattr(sys.flags, "safe_path", False)
    and Path(sys.path[0] or ".").resolve() != Path(__file__).resolve().parents[1]
):
    del sys.path[0]

from reproduce.cli import main

sys.exit(main())
