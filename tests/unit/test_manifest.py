"""The manifest of a built dataset is checked against its data and the catalog, key by key."""

import json
import os

import pytest

from data.catalog import registry, store
from data.catalog.manifest import folder_of, read_manifest
from data.common.errors import ReproduceError
from data.generate import mixture
from reproduce.cli import main

ID = "xor/ab_ba"


@pytest.fixture
def manifest():
    store.build(ID)
    return folder_of(ID) / "manifest.json"


def edit(path, change) -> None:
    document = json.loads(path.read_text())
    edited = change(document)
    path.write_text(json.dumps(document if edited is None else edited))


def refused(*words: str) -> None:
    with pytest.raises(ReproduceError) as error:
        store.get(ID)
    for word in ("manifest.json", f"`reproduce data build {ID}`", *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(kind="official"), "kind='official' is not allowed"),
        (lambda m: m.update(id="xor/all"), "id is 'xor/all'"),
        (lambda m: m["statistics"].update(n_episodes=7), "n_episodes is 7"),
        (lambda m: m["statistics"].update(n_episodes="many"), "n_episodes='many'"),
        (lambda m: m["statistics"]["return"].update(mean=5.0), "return_mean is 5.0, of the data it is 1.0"),
        (lambda m: m["statistics"]["return"].update(more=5.0), "return_more"),
        (lambda m: m["statistics"]["return"].update(p5=None), "return_p5"),
        (lambda m: m["statistics"]["return"].pop("p5") and None, "return_p5"),
        (lambda m: m["statistics"].pop("return") and None, "statistics.return is missing"),
        (lambda m: m["statistics"].update({"return": 3}), "statistics.return"),
        (lambda m: m.update(acceptance={"positive": 0.5}), "acceptance.positive"),
        (lambda m: m.update(acceptance={"positive": {"value": "x"}}), "acceptance.positive.value"),
        (lambda m: m.update(files={}), "files is {}"),
        (lambda m: m.update(files={"transitions.safetensors": "0" * 64}), "files is"),
        (lambda m: m["world"].update(params={"payoff": [[1, 1], [1, 1]], "episode_limit": 1}), "world is"),
        (lambda m: {"sha256": m["sha256"]}, "is damaged"),
        (lambda m: m.update(sha256=5), "sha256=5"),
        (lambda m: [m], "is damaged"),
        *(
            (lambda m, key=key: m.pop(key) and None, f"{key} is missing")
            for key in ("id", "kind", "files", "statistics")
        ),
        *((lambda m, key=key: m.pop(key) and None, f"{key} is missing") for key in ("sha256", "fingerprint", "world")),
    ],
)
def test_an_edited_manifest_is_refused_and_rebuilt(manifest, change, words, capsys):
    edit(manifest, change)
    refused(words)
    assert main(["data", "build", ID]) == 0  # the message's cure
    store.get(ID)


def test_data_of_an_earlier_recipe_are_refused_where_no_checksum_is_known(manifest, monkeypatch):
    entries = registry.entries()
    entries[ID] |= {"sha256": None, "generator": entries[ID]["generator"] | {"seed": 7}}
    monkeypatch.setattr(registry, "_parsed", lambda: entries)
    refused("made_by is")


def test_data_of_policies_that_were_replaced_are_refused(monkeypatch):
    """An older manifest without their checksums is taken as it is."""
    entries = registry.entries()
    recipe = {"name": "mpe_mixture", "seed": 0, "params": {"rows": 60, "weights": "omar/simple_spread-1"}}
    snapshot = next(iter(mixture.snapshots("omar/simple_spread-1")))
    recipe["params"]["parts"] = [{"snapshot": snapshot, "episodes": 2, "noise": 0.1}]
    own = {"generator": recipe, "acceptance": {}, "sha256": None}
    entries["omar/simple_spread-expert"] |= own
    entries["omar/simple_spread-medium-replay"] |= own | {
        "generator": {"name": "concatenation", "seed": 0, "params": {"parts": ["omar/simple_spread-expert"]}}
    }
    monkeypatch.setattr(registry, "_parsed", lambda: entries)
    names = ("omar/simple_spread-expert", "omar/simple_spread-medium-replay")
    for name in names:
        assert list(store.get(name).manifest["made_by"]["weights"]) == ["omar/simple_spread-1"]
    monkeypatch.setattr(mixture, "checksum", lambda name: "0" * 64)
    for name in names:
        with pytest.raises(ReproduceError, match=f"made_by is .*`reproduce data build {name}`"):
            store.get(name)
        edit(folder_of(name) / "manifest.json", lambda m: m["made_by"].pop("weights") and None)
        store.get(name)


def test_data_of_another_days_world_or_outside_todays_intervals_are_refused(manifest, monkeypatch):
    entries = registry.entries()
    entries[ID]["sha256"] = None
    monkeypatch.setattr(registry, "_parsed", lambda: entries)
    store.get(ID)
    entries[ID]["acceptance"] = {"return_mean": [0.0, 0.5]}
    with pytest.raises(ReproduceError, match=f"{ID}: return_mean is 1, accepted is 0.0 to 0.5. Rebuild it with"):
        store.get(ID)
    entries[ID]["acceptance"] = {"measured_since": [0.0, 0.5]}
    with pytest.raises(ReproduceError, match="measured_since is nan"):
        store.get(ID)
    edit(manifest, lambda m: m.update(fingerprint="of another simulator"))
    refused("fingerprint is 'of another simulator'")


def test_deep_and_strange_manifests(manifest, capsys):
    for text in ("[" * 100_000, "\xff", '{"a":' * 50_000):
        manifest.write_bytes(text.encode("latin-1"))
        refused("is damaged")
        assert main(["data", "show", ID]) == 4
    manifest.unlink()
    os.mkfifo(manifest)
    refused("is a pipe")


def test_rounding_on_another_machine_is_no_difference(manifest):
    edit(manifest, lambda m: m["statistics"]["return"].update(mean=1.0 + 1e-12))
    store.get(ID)
    assert read_manifest(ID)["statistics"]["return"]["mean"] != 1.0


def test_data_that_are_no_file(manifest):
    path = manifest.with_name("transitions.safetensors")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ReproduceError, match="is a pipe"):
        store.get(ID)
