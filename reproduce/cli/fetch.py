"""`reproduce data fetch ID`: the only command that uses the network, and it asks first."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from data.common.errors import ReproduceError
from data.common.patterns import matching
from reproduce.cli.format import size
from reproduce.cli.options import Json, complete, datasets
from reproduce.core import console

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A dataset, or a prefix or glob of datasets.",
        autocompletion=complete(datasets),
        show_default=False,
    ),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Fetch into this folder, later data.root (default: outputs/official/<format>)."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where there is no terminal.")]


def fetch(dataset: Dataset, root: Root = None, yes: Yes = False, as_json: Json = False) -> int:
    """Download the files that the authors or OG-MARL publish.

    Address, size, licence and folder are shown, and nothing is fetched before the answer. What is partly there goes on;
    size, checksum and content are checked. Rows read the files with data.kind=official data.root=DIR.
    """
    from data.catalog import registry

    names = matching(dataset, registry.datasets())
    if not names:
        registry.dataset(dataset)  # raises, with the nearest names
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ReproduceError(f"data fetch asks before it downloads, and here is no terminal: add --yes for {dataset}.")
    from data.catalog import fetch as fetching

    plans = [fetching.plan(name, root) for name in names]
    missing = [fetching.sized(plan) for plan in plans if not plan.is_there]
    if missing:
        for line in offer(missing):
            print(line, file=sys.stderr)
        if not yes and not _agreed():
            print("nothing was fetched", file=sys.stderr)
            return 0
    waiting = {plan.dataset_id: plan for plan in missing}
    documents = [_fetched(waiting.get(plan.dataset_id, plan)) for plan in plans]
    if as_json:
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1))
    for each in [] if as_json else documents:
        known = "checksums as known" if each["checked"]["sha256"] else "checksums not known before"
        print(f"{each['id']}  {each['n_transitions']} transitions  {known}; read and checked")
        print(f"    data.kind=official data.root={each['root']}")
    return 0


def offer(plans: list[Any]) -> list[str]:
    """What the question rests on: per address its size and licence, and the folder."""
    lines, seen = [], set()
    for plan in plans:
        urls = [remote.url for remote in plan.files.values()]
        url = plan.address.url if len(urls) > 1 else urls[0]
        if url in seen:
            continue
        seen.add(url)
        more = f", {len(urls)} files" if len(urls) > 1 else ""
        lines += [
            f"{plan.dataset_id}",
            f"  from     {url}{more}",
            f"  size     {size(plan.size)}{', a zip archive' if plan.address.archive else ''}",
            f"  licence  {plan.conversion.license}",
            f"  into     {plan.place}",
        ]
    return lines


def _agreed() -> bool:
    """The answer on the terminal; no answer is no."""
    print("Fetch this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _fetched(plan: Any) -> dict[str, Any]:
    """Fetch, then read the dataset as rows do: its loader checks the content."""
    from data.catalog import fetch as fetching
    from data.catalog import store

    with console.bar(f"fetch {plan.dataset_id}", plan.size or 1, "B") as bar:
        sums = fetching.fetch(plan, bar.update)
    with console.bar(f"read {plan.dataset_id}", 1, "steps"):
        manifest = store.get(plan.dataset_id, "official", plan.folder).manifest
    return {
        "id": plan.dataset_id,
        "root": str(plan.folder),
        "path": manifest["path"],
        "n_transitions": manifest["statistics"]["n_transitions"],
        "files": manifest["files"],
        "fetched": sums,
        "license": plan.conversion.license,
        "checked": {
            "size": plan.size is not None,
            "sha256": bool(plan.files) and all(remote.sha256 for remote in plan.files.values()),
            "content": True,
        },
    }
