"""`python -m reproduce`."""

import sys
from pathlib import Path

# Python puts the current folder first: a file of that folder named as a library would be imported in its place.
if sys.path and not sys.flags.safe_path and Path(sys.path[0] or ".").resolve() != Path(__file__).resolve().parents[1]:
    del sys.path[0]

from reproduce.cli import main

sys.exit(main())
