"""`reproduce data list|show|build|compare`: datasets."""

import json
from typing import Annotated, Any

import typer

from data.common.errors import ReproduceError, nearest
from data.common.patterns import matching
from reproduce.cli.format import dataset_cell, hanging
from reproduce.cli.options import Json, complete, datasets
from reproduce.core import console

MENTION = "A dataset, a prefix or a glob of datasets, e.g. bridge/mix or bridge."
Some = Annotated[
    str, typer.Argument(metavar="PATTERN", help=MENTION, autocompletion=complete(datasets), show_default=False)
]
Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help=MENTION, autocompletion=complete(datasets), show_default=False)
]
Root = Annotated[
    str | None,
    typer.Option("--root", help="Read the authors' files under this folder instead of the regenerated data."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="With --root: another dataset seed than the one rows read.")]
Force = Annotated[bool, typer.Option("--force", help="Build again although it is there.")]


def list_datasets(pattern: Some = "*", as_json: Json = False) -> int:
    """List the datasets that rows can read."""
    from data.catalog import registry

    known = registry.datasets()
    entries = {name: known[name].description for name in matching(pattern, known)}
    if not entries:
        raise ReproduceError(f"no dataset named {pattern!r}.{nearest(pattern, list(known))}")
    print(json.dumps(entries, indent=1) if as_json else "\n".join(hanging(k, v, 25) for k, v in entries.items()))
    return 0


def show(dataset: Dataset, root: Root = None, seed: Seed = None, as_json: Json = False) -> int:
    """Print a dataset's manifest, and what cloning earns on it.

    The manifest holds statistics and checksums, and how the data were made. It is shown as it was written; nothing is
    built for it.
    """
    from data.catalog.manifest import is_built, read_manifest

    found, names = {}, _named(dataset)
    here = root is None and seed is None
    missing = [name for name in names if here and not is_built(name)]
    for name in missing if len(missing) < len(names) else []:
        console.note(_not_built(name))
    if len(missing) == len(names):
        said, made = _not_built(names[0]), not any(map(_authors_alone, names))
        if len(names) > 1:
            cure = f"`reproduce data build {dataset}` builds all {len(names)}." if made else f"name one, as {names[0]}."
            said = f"none of the {len(names)} datasets {dataset} is built: {cure}"
        also = " Running a row builds its own;" if made else ""
        raise ReproduceError(f"{said}{also} `reproduce data compare` shows what records say of datasets.")
    for name in names:
        if name not in missing:
            found[name] = read_manifest(name) if here else _got(name, root, seed)
    print(json.dumps(_first_or_all(_with_cloning(found)), indent=1))
    return 0


def _not_built(name: str) -> str:
    """What to do for a dataset that is not here; of one that cannot be made here, where the authors' files are."""
    if official := _authors_alone(name):
        from data.catalog.official_files import where

        read = "read with --root DIR, by rows with data.kind=official data.root=DIR"
        return f"{name} is the authors' alone, {read}. {where(name, official)}"
    return f"{name} is not built: `reproduce data build {name}` builds it."


def _authors_alone(name: str) -> Any:
    """The catalog's entry of the official files where the data cannot be made here, else None."""
    from data.catalog import registry

    entry = registry.dataset(name)
    return entry.official if entry.generator.name == "official_only" else None


def build(dataset: Dataset, force: Force = False, root: Root = None, seed: Seed = None, as_json: Json = False) -> int:
    """Build datasets that are not there yet; a sound one is left alone.

    With --root nothing is built: the authors' files are read and checked, as a row would.
    """
    if seed is not None and root is None:
        raise ReproduceError("--seed picks among official datasets, which --root names; regenerated data take none.")
    found = {}
    for name in _named(dataset):
        if root is None:
            from data.catalog import store

            with console.bar(f"data {name}", 1, "steps") as bar:
                store.build(name, force=force, progress=bar.update)
        found[name] = _got(name, root, seed)
    if as_json:
        print(json.dumps(_first_or_all(_with_cloning(found)), indent=1))
        return 0
    for name, manifest in found.items():
        checksum = (manifest["sha256"] or "unknown")[:12]  # official files have none here
        print(f"{name}  {manifest['statistics']['n_transitions']} transitions  sha256 {checksum}")
    return 0


def compare(pattern: Some = "*", as_json: Json = False) -> int:
    """Show statistics beside the published ones of the official data.

    Ours are of the built dataset, else of the newest record that ran on it. The return of cloning stands beside either
    where it is known.
    """
    from data.catalog import registry

    entries = registry.datasets()
    known = {name: entries[name] for name in matching(pattern, entries) if entries[name].published}
    if not known:
        raise ReproduceError(f"no dataset named {pattern!r} has published statistics; `reproduce data list` shows all.")
    ours = _statistics(list(known))
    compared = {name: {"official": _published(entry), "ours": ours.get(name)} for name, entry in known.items()}
    if as_json:
        print(json.dumps(compared, indent=1))
        return 0
    print("| dataset | official: return mean ± std [min, max] | regenerated here |\n|---|---|---|")
    for name, pair in compared.items():
        print(f"| {name} | {dataset_cell(pair['official'])} | {dataset_cell(pair['ours'])} |")
    return 0


def _published(entry: Any) -> dict[str, Any]:
    """The official data's statistics, and the return of cloning on them, of a catalog entry."""
    cloning = entry.published_cloning
    return entry.published.model_dump() | {"cloning": cloning.model_dump() if cloning else None}


def _statistics(names: list[str]) -> dict[str, dict[str, Any]]:
    """Statistics by name of those datasets that are built, from their manifests, or that a record ran on."""
    from data.catalog.manifest import is_built, read_manifest
    from reproduce import records

    runs, found = records.read_sound("*", "row"), {}
    read = [record["data"] for record in runs if record["data"].keys() >= {"return", "n_transitions", "n_episodes"}]
    read = [data for data in read if data["return"].keys() >= {"mean", "std", "min", "max"}]
    recorded = {data["id"]: data for data in read if data["kind"] == "regenerated"}  # the newest of each stays
    for name in names:
        if is_built(name):
            manifest = read_manifest(name)
            statistics, data = manifest["statistics"], records.data_facts(manifest)
            n_rows = statistics.get("n_rows") or statistics["n_transitions"]
        elif name in recorded:
            data = recorded[name]
            n_rows = data["n_transitions"] + data["n_episodes"]  # an episode's last state is a row too
        else:
            continue
        found[name] = {key: data["return"][key] for key in ("mean", "std", "min", "max")}
        found[name] |= {"n_rows": n_rows, "n_episodes": data["n_episodes"]}
        found[name] |= {"cloning": records.cloning_returns(data, runs), "from": "build" if is_built(name) else "record"}
    return found


def _named(pattern: str) -> list[str]:
    """The datasets that a word stands for. Raises ReproduceError with the nearest names."""
    from data.catalog import registry

    found = matching(pattern, registry.datasets())
    if not found:
        registry.dataset(pattern)  # raises
    return found


def _got(name: str, root: str | None, seed: int | None) -> dict[str, Any]:
    """The manifest of a dataset whose files were read and checked."""
    from data.catalog import store

    with console.bar(f"data {name}", 1, "steps") as bar:
        return store.get(name, "official" if root else "regenerated", root, bar.update, seed).manifest


def _with_cloning(manifests: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    from reproduce import records

    runs = records.read_sound("*", "row") if manifests else []
    return {
        name: manifest | {"cloning": records.cloning_returns(records.data_facts(manifest), runs)}
        for name, manifest in manifests.items()
    }


def _first_or_all(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return manifests if len(manifests) > 1 else next(iter(manifests.values()))
