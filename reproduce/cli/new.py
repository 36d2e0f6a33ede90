"""`reproduce new`: the files of an algorithm or of a paper."""

from typing import Annotated

import typer

from data.common.paths import ROOT

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Lower-case letters, digits and underscores.", show_default=False),
]
Paper = Annotated[
    str, typer.Argument(metavar="NAME", help="A paper, or PAPER/TABLE for one of its tables.", show_default=False)
]
Kind = Annotated[str, typer.Option("--actions", help="The kind that it is for: continuous or discrete.")]


def algorithm(name: Name, actions: Kind = "continuous") -> int:
    """Write the four files of an algorithm, which clones the data until you change it.

    Its tests, loss fingerprint, parity and benchmark follow from tests/cases/NAME.py. The JSON Schemas for editors are
    written anew.
    """
    from lit_modules import algorithms
    from reproduce import new

    written = new.algorithm(name, actions)
    algorithms.cache_clear()
    from reproduce import schemas

    schemas.main()
    print("\n".join(str(path.relative_to(ROOT)) for path in written))
    row = {"continuous": "omsd/bandit/two_mode", "discrete": "inspo/xor/ab_ba"}[actions]
    print(f"Next: `reproduce {row} algo={name}` runs it; `reproduce record losses` adds its loss fingerprint.")
    return 0


def paper(name: Paper) -> int:
    """Write paper_results/PAPER/TABLE.yaml with comments for margin, decimals and number of seeds."""
    from reproduce import new

    (path,) = new.paper(name)
    print(path.relative_to(ROOT))
    print("Next: enter its numbers; `.venv/bin/python docs/gen/readme.py` refreshes the tables of the README.")
    return 0
