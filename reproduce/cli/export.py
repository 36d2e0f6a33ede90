"""`reproduce data export ID --to FORMAT FILE`: a dataset for other people's programs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from reproduce.cli.options import Json, complete, datasets
from reproduce.core import console

FORMATS = ("minari", "omar", "omiga", "vault")
Dataset = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="A dataset.", autocompletion=complete(datasets), show_default=False),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes: a file for omiga, else a folder.")]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}.",
        autocompletion=complete(lambda: list(FORMATS)),
    ),
]
Root = Annotated[str | None, typer.Option("--root", help="Export the authors' files under this folder instead.")]
Seed = Annotated[int | None, typer.Option("--seed", help="With --root: another dataset seed than the one rows read.")]


def export(dataset: Dataset, file: File, to: To, root: Root = None, seed: Seed = None, as_json: Json = False) -> int:
    """Write a dataset in the format of Minari, OMAR, OMIGA or OG-MARL.

    It is read back and compared to the bit before it is put in place: FILE is whole or not there. An existing FILE is
    left alone. A dataset that is not there is built first.
    """
    from data.catalog.registry import dataset as entry_of

    entry_of(dataset)  # a misspelt one is told before torch is imported
    from data.catalog import export as exporting
    from data.catalog import store

    exporting.check(dataset, to, file)
    with console.bar(f"data {dataset}", 1, "steps") as bar:
        found = store.get(dataset, "official" if root else "regenerated", root, bar.update, seed)
    console.note(f"writing {file}, and reading it back")
    document = exporting.export(dataset, found, to, file)
    if as_json:
        print(json.dumps(document, indent=1))
        return 0
    print(f"{dataset}  {document['n_transitions']} transitions  {to}  {file}")
    print(f"    {document['note']}. License of the data: {document['license']}.")
    return 0
