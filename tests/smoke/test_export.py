"""`data export`: what comes back is the original to the bit, and FILE is whole or not there."""

import json

import pytest
import torch
from test_rows import shrink

from data.catalog import export, registry, store
from data.common.errors import ReproduceError
from data.official import minari
from data.schema import flatten
from reproduce.cli import main

PARTICLES = ["omar/simple_spread-expert", "omar/simple_tag-medium", "omar/simple_world-random"]
MUJOCO = ["omiga/hopper_3x1-expert", "omiga/ant_2x4-medium", "omiga/halfcheetah_6x1-medium"]
HELD = [(name, to) for name in PARTICLES for to in ("minari", "omar")]
HELD += [("bandit/two_mode", "minari")]
HELD += [(name, to) for name in MUJOCO for to in ("minari", "omiga", "vault")]


@pytest.fixture(autouse=True)
def _tiny_data(monkeypatch):
    entries = shrink(registry.entries())
    monkeypatch.setattr(registry, "_parsed", lambda: entries)


def dataset(name: str) -> store.Dataset:
    if name in MUJOCO:
        pytest.importorskip("mujoco")
    return store.get(name)


def readable(to: str) -> None:
    pytest.importorskip("tensorstore" if to == "vault" else "h5py")


@pytest.mark.parametrize(("name", "to"), HELD)
def test_continuous_data_come_back_to_the_bit(name, to, tmp_path):
    readable(to)
    found = dataset(name)
    document = export.export(name, found, to, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    entry = registry.dataset(name)
    again = export.FORMATS[to].load(
        tmp_path / "out", {"name": entry.world.name, **found.manifest["world"]["params"]}, export.layout_of(entry.world)
    )
    one, other = flatten(found.transitions), flatten(again)
    assert set(one) == set(other)
    for key, value in one.items():
        assert value.dtype == other[key].dtype
        assert torch.equal(value, other[key]), key
    assert document["files"]
    assert document["license"] == entry.license


@pytest.mark.parametrize("name", ["bridge/mix", "xor/ab"])
def test_minari_holds_legal_actions_and_states(name, tmp_path):
    pytest.importorskip("h5py")
    found = store.get(name)
    ends = found.transitions["episode"] < 20
    few = store.Dataset(found.transitions[ends], found.manifest)
    export.export(name, few, "minari", tmp_path / "out")
    layout = export.layout_of(registry.dataset(name).world)
    assert export.difference(few.transitions, minari.load(tmp_path / "out", layout)) == ""
    stated = json.loads((tmp_path / "out" / "data" / "metadata.json").read_text())
    assert (stated["total_episodes"], stated["dataset_id"]) == (20, f"{name}-v0")
    spaces = json.loads(stated["observation_space"])["subspaces"]
    assert set(spaces) == {"obs", "state", "legal_actions"}


def test_minari_itself_reads_them(tmp_path):
    library = pytest.importorskip("minari")
    found = dataset(PARTICLES[0])
    export.export(PARTICLES[0], found, "minari", tmp_path / "out")
    read = library.MinariDataset(tmp_path / "out" / "data")
    assert read.total_steps == found.manifest["statistics"]["n_transitions"]
    assert torch.equal(torch.from_numpy(read[0].actions), found.transitions["action"][:25])


def test_transitions_that_do_not_follow_one_another_are_refused(tmp_path):
    pytest.importorskip("h5py")
    found = store.get("bridge/mix")
    broken = found.transitions[:200].clone()
    broken["next", "obs"][3] += 1.0
    with pytest.raises(ReproduceError, match=r"next\.obs is not the obs of the row after it"):
        export.export("bridge/mix", store.Dataset(broken, found.manifest), "minari", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "to", "words"),
    [
        ("bridge/mix", "omar", "can be exported to minari."),
        ("bridge/mix", "vault", "no place for the states, legal actions or episodes of bridge"),
        ("omar/simple_tag-medium", "omiga", "can be exported to minari, omar."),
        ("omiga/hopper_3x1-expert", "omar", "can be exported to minari, omiga, vault."),
        ("bridge/mix", "minary", "choose one of minari, omar, omiga, vault. Nearest: minari"),
        ("bridge/mixx", "minari", "Nearest: bridge/mix"),
    ],
)
def test_what_a_format_cannot_hold_is_told_before_anything_is_built(name, to, words, tmp_path, capsys):
    assert main(["data", "export", name, str(tmp_path / "out"), "--to", to]) == 4
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_left_alone(tmp_path, capsys):
    taken = tmp_path / "out"
    taken.write_text("mine")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    for place in (taken, tmp_path, tmp_path / "dead"):
        assert main(["data", "export", PARTICLES[0], str(place), "--to", "omar"]) == 4
        assert "is left as it is" in capsys.readouterr().err
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("when", ["write", "load"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ReproduceError("no"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing(when, error, tmp_path, monkeypatch):
    found = dataset(PARTICLES[0])
    chosen = export.FORMATS["omar"]

    def fails(*args):
        if when == "write":
            args[1].mkdir()
            (args[1] / "half").write_text("half")
        raise error

    changed = {**chosen.__dict__, when: fails}
    monkeypatch.setitem(export.FORMATS, "omar", export.Format(**changed))
    with pytest.raises((ReproduceError, KeyboardInterrupt)):
        export.export(PARTICLES[0], found, "omar", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_loses_something_is_refused(tmp_path, monkeypatch):
    found = dataset(PARTICLES[0])
    cut = store.Dataset(found.transitions.clone(), found.manifest)
    cut.transitions["reward"][3] += 1.0  # no longer the mean of the agents' rewards
    with pytest.raises(ReproduceError, match=r"does not give .* back: reward differs first in row 3"):
        export.export(PARTICLES[0], cut, "omar", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path, capsys):
    pytest.importorskip("h5py")
    assert main(["data", "export", PARTICLES[0], "--to", "omar", str(tmp_path / "deep" / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["n_transitions"] == dataset(PARTICLES[0]).manifest["statistics"]["n_transitions"]
    assert (tmp_path / "deep" / "out" / "acs_0.npy").is_file()
    assert main(["data", "export", PARTICLES[0], "--to", "minari", str(tmp_path / "m")]) == 0
    assert "No environment is registered" in capsys.readouterr().out
