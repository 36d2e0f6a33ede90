"""Datasets on disk: built, verified, refused; the registry."""

import errno
import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import safetensors
import written

from data.catalog import registry, store
from data.common.errors import ReproduceError
from data.common.files import sha256
from data.common.paths import ROOT
from data.generate import generate
from data.statistics import return_statistics
from data.worlds import fingerprint

RELEASE = ROOT.parent / "shared" / "data" / "alberdice"
IDS = [
    "xor/ab",
    "xor/ab_ba",
    "xor/aa_ab_ba",
    "xor/all",
    "m_ne/balanced",
    "m_ne/imbalanced",
    "bridge/optimal",
    "bridge/mix",
]
QUALITIES = ("expert", "medium", "medium-replay", "medium-expert")
SIMULATED = [f"omiga/{task}-{q}" for task in ("hopper_3x1", "halfcheetah_6x1", "ant_2x4") for q in QUALITIES]
SIMULATED += [f"omiga/ant_2x4-{q}-v1" for q in ("expert", "medium", "medium-expert")]
SIMULATED += [f"omiga/halfcheetah_6x1-{q}" for q in ("medium-v1", "medium-v2", "medium-expert-v2")]
SIMULATED += [f"omar/simple_{s}-{q}" for s in ("spread", "tag", "world") for q in ("random", *QUALITIES[:3])]
SIMULATED += ["bandit/three_agents", "bandit/two_mode"]
SIMULATED += [f"omar/simple_{s}-{q}-one-team" for s in ("spread", "tag", "world") for q in ("medium", "expert")]
SIMULATED += [
    f"smax/{game}-{q}"
    for game in ("3m", "2s3z", "5m_vs_6m", "3s_vs_5z", "6h_vs_8z")
    for q in ("poor", "medium", "good", "expert", "medium-replay", "mixed")
]
SIMULATED += [f"smax/corridor-{q}" for q in ("poor", "medium", "good")]
OFFICIAL = [
    f"smac/{game}-{q}"
    for game in ("2c_vs_64zg", "5m_vs_6m", "6h_vs_8z", "corridor")
    for q in ("poor", "medium", "good")
]
OFFICIAL += [
    f"smac/{game}-cfcql-{q}"
    for game in ("2s3z", "3s_vs_5z", "5m_vs_6m", "6h_vs_8z")
    for q in ("medium", "medium-replay", "expert", "mixed")
]
BRIDGE = {"name": "bridge", "episode_limit": 50}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRODUCE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def built(home):
    store.build("bridge/optimal")
    return home / "data" / "bridge" / "optimal"


@pytest.fixture
def edit_entry(monkeypatch):
    """Change one dataset's registry entry for a test."""

    def edit(dataset_id, **changes):
        changed = registry.entries()
        changed[dataset_id] |= changes
        monkeypatch.setattr(registry, "_parsed", lambda: changed)

    return edit


def test_registry_lists_every_dataset_without_torch():
    assert sorted(registry.datasets()) == sorted(IDS + SIMULATED + OFFICIAL)
    code = "import sys, data.catalog.registry as r; r.datasets(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_unknown_dataset_names_the_nearest():
    with pytest.raises(ReproduceError, match=r"unknown dataset 'bridge/optimum'.*Nearest: bridge/optimal"):
        store.get("bridge/optimum")
    with pytest.raises(ReproduceError, match="expected regenerated or official"):
        store.get("bridge/optimal", kind="offical")


def test_registry_copies_cannot_be_spoiled():
    registry.datasets()["xor/ab"].world.params["payoff"][0][0] = 7
    registry.entries()["xor/ab"]["world"]["params"]["payoff"][0][0] = 7
    assert registry.dataset("xor/ab").world.params["payoff"] == [[0, 1], [1, -2]]


@pytest.mark.parametrize("dataset_id", IDS)
def test_every_dataset_builds_to_the_registered_bits(dataset_id, home):
    calls = []
    dataset = store.get(dataset_id, progress=lambda done, total: calls.append((done, total)))
    entry, manifest = registry.dataset(dataset_id), dataset.manifest
    folder = home / "data" / dataset_id
    assert manifest["sha256"] == entry.sha256 == sha256(folder / "transitions.safetensors")
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "transitions.safetensors"]
    assert manifest["statistics"] == return_statistics(dataset.transitions)
    assert manifest["fingerprint"] == fingerprint(entry.world.name, **entry.world.params)
    assert all(check["passed"] for check in manifest["acceptance"].values())
    assert set(manifest["acceptance"]) == set(entry.acceptance)
    assert (manifest["id"], manifest["kind"], manifest["license"]) == (dataset_id, "regenerated", "MIT")
    assert calls[-1][0] == calls[-1][1]


def test_what_is_read_is_what_was_generated(built):
    transitions, _ = generate("bridge_optimal", BRIDGE, 0, {"episodes": 500})
    assert (store.get("bridge/optimal").transitions == transitions).all()


def test_a_sound_build_is_left_alone_unless_forced(built):
    before = (built / "transitions.safetensors").stat().st_mtime_ns
    store.build("bridge/optimal")
    assert (built / "transitions.safetensors").stat().st_mtime_ns == before
    store.build("bridge/optimal", force=True)
    assert (built / "transitions.safetensors").stat().st_mtime_ns > before


def test_what_another_process_builds_is_waited_for(monkeypatch, home):
    """A thread stands for the process: a lock belongs to an open file."""
    begun, go_on, generated, told = threading.Event(), threading.Event(), [], []

    def slowly(*args):
        generated.append(args)
        begun.set()
        assert go_on.wait(60)
        return generate(*args)

    def waiting(done, total, text=""):
        told.append(text)
        go_on.set()

    monkeypatch.setattr(store, "generate", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.build, "xor/ab")
        assert begun.wait(60)
        second = pool.submit(store.get, "xor/ab", progress=waiting)
        assert second.result().manifest == first.result()
    assert len(generated) == 1
    assert told == ["data xor/ab: another process builds it, waiting", "data xor/ab"]


def test_without_locks_a_dataset_is_built_all_the_same(monkeypatch, home):
    def without(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(store.FileLock, "acquire", without)
    assert store.build("xor/ab")["id"] == "xor/ab"


def test_a_folder_without_manifest_counts_as_not_built(built):
    (built / "manifest.json").unlink()
    (built / "transitions.safetensors").write_bytes(b"half")
    assert len(store.get("bridge/optimal").transitions) == 4000


@pytest.mark.parametrize("left", [0, 7, 500, 100_000])
def test_truncated_data(built, left):
    path = built / "transitions.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ReproduceError, match=r"sha256 .*`reproduce data build bridge/optimal`"):
        store.get("bridge/optimal")
    store.build("bridge/optimal")  # what the message says to do mends it
    assert len(store.get("bridge/optimal").transitions) == 4000


def test_one_flipped_bit(built):
    path = built / "transitions.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReproduceError, match="its manifest says"):
        store.get("bridge/optimal")


def test_missing_data_beside_a_manifest(built):
    (built / "transitions.safetensors").unlink()
    with pytest.raises(ReproduceError, match="cannot be read"):
        store.get("bridge/optimal")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_damaged_manifest(built, text):
    (built / "manifest.json").write_text(text)
    with pytest.raises(ReproduceError, match=r"manifest.json is damaged.*reproduce data build"):
        store.get("bridge/optimal")


def test_a_build_of_other_data_is_refused_even_with_its_own_manifest(built):
    """Another seed's file and manifest, consistent with each other, are not the registered dataset."""
    other = built.parents[1] / "xor" / "ab"
    store.build("xor/ab")
    shutil.copytree(other, built, dirs_exist_ok=True)
    with pytest.raises(ReproduceError, match=r"data/catalog/datasets/bridge.yaml says"):
        store.get("bridge/optimal")


def test_unreadable_tensors_behind_a_right_checksum(built, edit_entry):
    path = built / "transitions.safetensors"
    path.write_bytes(b"\xff" * 64)
    manifest = json.loads((built / "manifest.json").read_text()) | {"sha256": sha256(path)}
    (built / "manifest.json").write_text(json.dumps(manifest))
    edit_entry("bridge/optimal", sha256=None)
    with pytest.raises(ReproduceError, match="is damaged"):
        store.get("bridge/optimal")


def test_bits_that_differ_from_the_registry_are_not_written(built, edit_entry):
    before = store.get("bridge/optimal").manifest
    recipe = registry.entries()["bridge/optimal"]["generator"] | {"seed": 1}
    edit_entry("bridge/optimal", generator=recipe)
    with pytest.raises(ReproduceError, match=r"this build has sha256"):
        store.build("bridge/optimal", force=True)
    assert store.get("bridge/optimal").manifest == before
    assert len(list(built.iterdir())) == 2


def test_a_missed_acceptance_interval_is_refused(home, edit_entry):
    edit_entry("bridge/optimal", acceptance={"return_mean": [-1.2, -1.1]}, sha256=None)
    with pytest.raises(ReproduceError, match=r"return_mean is -1.26164, accepted is -1.2 to -1.1"):
        store.build("bridge/optimal")
    assert not (home / "data").exists()


def test_a_joint_action_that_never_occurs_counts_as_zero(edit_entry):
    edit_entry("xor/ab", acceptance={"joint_11": [1, 5000]})
    with pytest.raises(ReproduceError, match="joint_11 is 0"):
        store.build("xor/ab")


def test_full_disk_is_seen_before_building(monkeypatch, home):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ReproduceError, match=r"needs up to [\d.]+ MB, 0.0 MB are free"):
        store.build("bridge/mix")
    assert not (home / "data").exists()


def test_the_estimate_covers_the_file(monkeypatch):
    for dataset_id in IDS:
        store.build(dataset_id)
        size = (store.folder_of(dataset_id) / "transitions.safetensors").stat().st_size
        monkeypatch.setattr(store.shutil, "disk_usage", lambda _, size=size: SimpleNamespace(free=size - 1))
        with pytest.raises(ReproduceError, match="MB are free"):
            store.build(dataset_id, force=True)
        monkeypatch.undo()


def test_full_disk_while_writing_leaves_nothing(monkeypatch, home):
    def fail(*_):
        raise safetensors.SafetensorError("I/O error: no space left on device")

    monkeypatch.setattr(store, "save_file", fail)
    with pytest.raises(ReproduceError, match="no space left"):
        store.build("xor/ab")
    assert list((home / "data" / "xor" / "ab").iterdir()) == []


# ---- official files


@pytest.fixture
def root(tmp_path):
    """The authors' folder names with our own `mix` in them: no checksum of the real ones is known."""
    transitions, _ = generate("bridge_mix", BRIDGE, 0, {"episodes": 500})
    written.alberdice(transitions, tmp_path / "root" / "bridge_from_start" / "buffer_mix", "bridge")
    return tmp_path / "root"


def test_official_needs_a_root():
    with pytest.raises(ReproduceError, match=r"data.root=DIR; nothing is downloaded.*dematsunaga/alberdice"):
        store.get("bridge/optimal", "official")


def test_official_that_does_not_exist_says_why():
    with pytest.raises(ReproduceError, match="InSPO publishes neither"):
        store.get("m_ne/balanced", "official")


def test_official_missing_file_names_size_checksum_and_place(tmp_path):
    known = registry.dataset("bridge/optimal").official.files["state.npy"]
    with pytest.raises(ReproduceError, match=rf"state.npy is missing \(816128 bytes, sha256 {known}\).*dematsunaga"):
        store.get("bridge/optimal", "official", root=tmp_path)


@pytest.mark.parametrize("inside", ["", "alberdice", "buffer", "alberdice/buffer"])
def test_official_without_known_checksums(root, tmp_path, inside):
    place = tmp_path / "elsewhere" / inside
    shutil.copytree(root, place, dirs_exist_ok=True)
    dataset = store.get("bridge/mix", "official", root=tmp_path / "elsewhere")
    assert dataset.manifest["license"] == "not stated"
    assert dataset.manifest["checksums_known"] == []
    assert len(dataset.manifest["files"]) == 9
    assert (dataset.transitions == store.get("bridge/mix").transitions).all()


def test_official_wrong_checksum(root):
    (root / "bridge_from_start" / "buffer_mix").rename(root / "bridge_from_start" / "buffer_optimal")
    with pytest.raises(ReproduceError, match=r"state.npy has sha256 .* damaged or another version"):
        store.get("bridge/optimal", "official", root=root)


@pytest.mark.skipif(not RELEASE.is_dir(), reason="AlberDICE's released buffers are not at hand")
@pytest.mark.parametrize(("dataset_id", "limit"), [("bridge/optimal", 50), ("xor/aa_ab_ba", 50)])
def test_official_release(dataset_id, limit):
    dataset = store.get(dataset_id, "official", root=RELEASE)
    assert dataset.manifest["world"]["params"]["episode_limit"] == limit
    assert len(dataset.manifest["checksums_known"]) == 9
    assert dataset.manifest["kind"] == "official"
