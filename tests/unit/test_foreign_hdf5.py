"""HDF5 files and Vaults of strangers: nothing outside them is read, and damage is one clear error."""

import json
import os
import random
import shutil

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.official import omiga_hdf5, omiga_vault
from data.official import vault as vaults
from data.official.hdf5 import opened

h5py = pytest.importorskip("h5py")
WORLD = {"name": "mamujoco", "scenario": "Hopper-v2", "agent_conf": "3x1", "episode_limit": 9}


@pytest.fixture(scope="module")
def rows() -> TensorDict:
    """Six episodes of nine steps."""
    g = torch.Generator().manual_seed(0)
    n = 60
    final = (torch.arange(n) % 10 == 9).unsqueeze(-1)
    ends = (torch.arange(n) % 10 == 8).unsqueeze(-1)
    return TensorDict(
        {
            "features": torch.randn(n, 11, generator=g),
            "action": torch.rand(n, 3, 1, generator=g).masked_fill(final.unsqueeze(-1), 0),
            "reward": torch.rand(n, 1, generator=g).masked_fill(final, 0),
            "terminated": torch.zeros_like(final),
            "truncated": ends,
            "final": final,
        },
        batch_size=[n],
    )


@pytest.fixture
def path(rows, tmp_path):
    omiga_hdf5.write(rows, tmp_path / "data" / "hopper.hdf5", WORLD)
    return tmp_path / "data" / "hopper.hdf5"


def refused(path, *words: str) -> str:
    with pytest.raises(ReproduceError) as error:
        omiga_hdf5.load(path, WORLD)
    message = str(error.value)
    assert str(path) in message
    for word in words:
        assert word in message
    return message


def edit(path, key, make) -> None:
    with h5py.File(path, "r+") as file:
        value = file[key][:]
        del file[key]
        make(file, value)


# ---- parts that lie elsewhere


def test_external_links_are_refused(path, tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["r"] = np.zeros((60, 1), "f4")

    def link(file, value):
        file["r"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/r")

    edit(path, "r", link)
    refused(path, "r is a link to another file")


def test_an_external_link_that_no_loader_reads_is_refused_too(path):
    with h5py.File(path, "r+") as file:
        file.create_group("more")["x"] = h5py.ExternalLink("/etc/passwd", "/")
    refused(path, "more/x is a link to another file")


def test_a_soft_link_to_a_neighbor_is_read_and_every_other_is_refused(path, rows):
    edit(path, "s", lambda file, value: file.__setitem__("s", h5py.SoftLink("/o")))
    assert torch.equal(omiga_hdf5.load(path, WORLD)["reward"], rows["reward"])
    for target in ("/group/o", "../o", "o2", "s"):
        with h5py.File(path, "r+") as file:
            del file["s"]
            file["s"] = h5py.SoftLink(target)
        refused(path, "s is a link to")


def test_virtual_datasets_are_refused(path, tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["r"] = np.zeros((60, 1), "f4")
    layout = h5py.VirtualLayout((60, 1), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "r", (60, 1))
    edit(path, "r", lambda file, value: file.create_virtual_dataset("r", layout))
    refused(path, "r is a virtual dataset")


def test_external_raw_storage_is_refused(path, tmp_path):
    (tmp_path / "secret.txt").write_bytes(b"x" * 240)

    def elsewhere(file, value):
        file.create_dataset("r", (60, 1), "f4", external=[(str(tmp_path / "secret.txt"), 0, 240)])

    edit(path, "r", elsewhere)
    refused(path, "lie in another file", "secret.txt")


def test_user_blocks_are_refused(path, rows):
    with h5py.File(path) as file:
        values = {key: file[key][:] for key in "soard"}
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in values.items():
            file[key] = value
    refused(path, "user block")


def test_foreign_filters_are_refused_and_known_ones_are_read(path, rows):
    packed = [{"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True}]
    for how in packed:
        edit(path, "r", lambda file, value, how=how: file.create_dataset("r", data=value, **how))
        assert torch.equal(omiga_hdf5.load(path, WORLD)["reward"], rows["reward"])

    def foreign(file, value):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((60, 1))
        plist.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple((60, 1))
        h5py.h5d.create(file.id, b"r", h5py.h5t.IEEE_F32LE, space, dcpl=plist)

    edit(path, "r", foreign)
    refused(path, "filter 32001")


def test_no_plugin_folder_is_searched(path, monkeypatch, tmp_path):
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    monkeypatch.setenv("HDF5_DRIVER", "family")
    monkeypatch.setenv("HDF5_VOL_CONNECTOR", "none_such")
    with opened(path, "nowhere") as file:
        assert file.names() == list("adors")
        assert h5py.h5pl.size() == 0
        assert "HDF5_PLUGIN_PATH" not in os.environ
    assert os.environ["HDF5_PLUGIN_PATH"] == str(tmp_path)


def test_no_file_at_all(path, tmp_path):
    os.mkfifo(tmp_path / "pipe.hdf5")
    refused(tmp_path / "pipe.hdf5", "is a pipe")
    refused(tmp_path / "data", "is a folder")
    (tmp_path / "gone.hdf5").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "gone.hdf5", "is a link to", "not there")
    (tmp_path / "loop.hdf5").symlink_to(tmp_path / "loop.hdf5")
    refused(tmp_path / "loop.hdf5")


# ---- damage


@pytest.mark.parametrize("value", [h5py.Empty("f4"), np.float32(1), np.zeros((0, 1), "f4"), "text", b"bytes"])
def test_null_scalar_and_empty_datasets(path, value):
    edit(path, "r", lambda file, _: file.create_dataset("r", data=value))
    refused(path, "r ")
    edit(path, "s", lambda file, _: file.create_dataset("s", data=value))
    refused(path)


def test_a_group_in_the_place_of_a_dataset(path):
    edit(path, "r", lambda file, _: file.create_group("r"))
    refused(path, "'r' is missing")


def test_big_endian_and_double_numbers_are_read(path, rows):
    for kind in (">f4", ">f8", "<f8"):
        for key in "soard":
            edit(path, key, lambda file, value, key=key, kind=kind: file.create_dataset(key, data=value.astype(kind)))
        again = omiga_hdf5.load(path, WORLD)
        for key in ("action", "reward", "truncated", "final"):
            assert torch.equal(again[key], rows[key]), (kind, key)
    edit(path, "d", lambda file, value: file.create_dataset("d", data=value.astype(">u2")))
    assert torch.equal(omiga_hdf5.load(path, WORLD)["final"], rows["final"])


def test_half_precision_and_strange_ends(path):
    edit(path, "d", lambda file, value: file.create_dataset("d", data=value * 0.5))
    refused(path, "d in row 9 is 0.5, expected 0 or 1")
    edit(path, "d", lambda file, value: file.create_dataset("d", data=np.ones_like(value)))
    refused(path, "d is 1 in all of 60 rows")
    edit(path, "d", lambda file, value: file.create_dataset("d", data=np.zeros_like(value)))
    refused(path, "the episode of row 0 has 59 steps, the world's limit is 9: are ends (d) missing?")
    edit(path, "r", lambda file, value: file.create_dataset("r", data=value.astype("f2")))
    refused(path, "r has dtype float16")


def test_chunks_that_were_never_written_are_no_zeros(path):
    def half(file, value):
        made = file.create_dataset("r", value.shape, value.dtype, chunks=(10, *value.shape[1:]), compression="gzip")
        made[:30] = value[:30]

    edit(path, "r", half)
    refused(path, "r has 3 of its 6 chunks", "read as zeros")


@pytest.mark.parametrize("packing", [{}, {"compression": "gzip"}])
def test_headers_that_promise_more_than_the_file_holds(path, packing):
    """Refused before anything of the promised size is made."""

    def promise(file, value):
        file.create_dataset("r", (10**10, 1), "f4", chunks=(1000, 1), **packing)

    for key in "soard":
        edit(path, key, lambda file, value, key=key: file.create_dataset(
            key, (10**10, *value.shape[1:]), "f4", chunks=(1000, *value.shape[1:]), **packing
        ))  # fmt: skip
    refused(path, "promises", "and stores 0")


def load_or_refuse(load) -> bool:
    """Whether it loads; every exception but the one for bad input fails the test."""
    try:
        load()
    except ReproduceError:
        return False
    return True


@pytest.mark.parametrize("packing", [{}, {"chunks": (16, 1), "compression": "gzip"}])
def test_flipped_bytes_never_end_in_another_exception(path, packing, tmp_path):
    if packing:
        edit(path, "r", lambda file, value: file.create_dataset("r", data=value, **packing))
    whole, chance = path.read_bytes(), random.Random(0)
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 4, 16])):
            damaged[chance.randrange(min(len(damaged), chance.choice([600, 3000, len(damaged)])))] = chance.randrange(
                256
            )
        (tmp_path / "flipped.hdf5").write_bytes(damaged)
        load_or_refuse(lambda: omiga_hdf5.load(tmp_path / "flipped.hdf5", WORLD))


def test_truncated_files(path, tmp_path):
    whole = path.read_bytes()
    for left in [*range(0, 100, 17), *range(100, len(whole), len(whole) // 20)]:
        (tmp_path / "cut.hdf5").write_bytes(whole[:left])
        refused(tmp_path / "cut.hdf5")


# ---- Vaults


@pytest.fixture
def vault(rows, tmp_path):
    pytest.importorskip("tensorstore")
    omiga_vault.write(rows, tmp_path / "vault", WORLD)
    return tmp_path / "vault"


def vault_refused(folder, *words: str) -> str:
    with pytest.raises(ReproduceError) as error:
        omiga_vault.load(folder, WORLD)
    for word in (str(folder), *words):
        assert word in str(error.value)
    return str(error.value)


def test_links_out_of_a_vault_are_refused(vault, tmp_path):
    assert len(omiga_vault.load(vault, WORLD)) == 60
    big = max((p for p in vault.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    shutil.move(big, tmp_path / "elsewhere")
    big.symlink_to(tmp_path / "elsewhere")
    vault_refused(vault, "leads out of its folder")
    big.unlink()
    shutil.move(tmp_path / "elsewhere", big)
    (vault / "more").symlink_to(tmp_path)
    vault_refused(vault, "link to the folder")
    (vault / "more").unlink()
    os.mkfifo(vault / "pipe")
    vault_refused(vault, "is a pipe")


def test_a_vault_with_a_missing_or_cut_part(vault, tmp_path, rows):
    """Files of earlier states of the key-value store are not needed: without one it loads as before."""
    files = [p.relative_to(vault) for p in vault.rglob("*") if p.is_file()]
    n_refused = 0
    for name in files:
        for left in (None, 0, 0.5):
            copy = tmp_path / "copy"
            shutil.copytree(vault, copy)
            if left is None:
                (copy / name).unlink()
            else:
                whole = (copy / name).read_bytes()
                (copy / name).write_bytes(whole[: int(left * len(whole))])
            try:
                again = omiga_vault.load(copy, WORLD)
            except ReproduceError:
                n_refused += 1
            else:
                assert all(torch.equal(again[key], rows[key]) for key in ("action", "reward", "truncated", "final"))
            shutil.rmtree(copy)
    assert n_refused > 6


@pytest.mark.parametrize("leaf", ["observations", "actions", "rewards", "terminals", "infos.state"])
def test_a_chunk_that_is_not_stored_is_no_row_of_zeros(rows, leaf, tmp_path, monkeypatch):
    tensorstore = pytest.importorskip("tensorstore")
    monkeypatch.setattr(vaults, "CHUNK", 20)
    omiga_vault.write(rows, tmp_path / "vault", WORLD)
    assert torch.equal(omiga_vault.load(tmp_path / "vault", WORLD)["reward"], rows["reward"])
    base = f"file://{tmp_path / 'vault'}"
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base, "path": f"{leaf}./"}).result()
    keys = [key for key in store.list().result() if key.startswith(b"0.1")]
    assert len(keys) == 1
    store.delete_range(tensorstore.KvStore.KeyRange(keys[0], keys[0] + b"\0")).result()
    vault_refused(tmp_path / "vault", f"{leaf} lacks the chunk of the rows 20 to 39")


def test_a_vault_whose_agents_were_rewarded_apart(vault):
    import tensorstore

    array = tensorstore.open(vaults.spec(vault, "rewards.")).result()
    array[0, 3, 1].write(array[0, 3, 1].read().result() + 1).result()
    vault_refused(vault, "the agents' rewards differ first in row 3, expected the team's for each")


def test_a_vault_that_promises_too_much(vault):
    import tensorstore

    index = tensorstore.open(vaults.spec(vault, "vault_index")).result()
    for n in (-1, 0, 61, 2**31 - 1):
        index.write(np.array([n], np.int32)).result()
        vault_refused(vault, f"{n} rows")
    array = tensorstore.open(vaults.spec(vault, "observations.")).result()
    array.resize(exclusive_max=[1, 2**31, 3, 14]).result()
    for leaf in ("actions", "rewards", "terminals", "truncations", "infos.state"):
        array = tensorstore.open(vaults.spec(vault, f"{leaf}.")).result()
        array.resize(exclusive_max=[1, 2**31, *array.shape[2:]]).result()
    vault_refused(vault, "lacks")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"structure_shape": ' * 50_000, "[]", "1", '{"a": 1}', "\xff\xfe", ""]
)
def test_odd_metadata(vault, text):
    (vault / "metadata.json").write_bytes(text.encode("latin-1"))
    vault_refused(vault, "metadata")


def test_flipped_bytes_in_a_vault(vault, tmp_path):
    chance = random.Random(1)
    files = [p.relative_to(vault) for p in vault.rglob("*") if p.is_file()]
    for _ in range(40):
        copy = tmp_path / "copy"
        shutil.copytree(vault, copy)
        name = copy / chance.choice(files)
        damaged = bytearray(name.read_bytes())
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        name.write_bytes(damaged)
        load_or_refuse(lambda copy=copy: omiga_vault.load(copy, WORLD))
        shutil.rmtree(copy)


def test_the_vaults_metadata_names_what_it_holds(vault):
    assert set(json.loads((vault / "metadata.json").read_text())["structure_shape"]) == {
        "observations", "actions", "rewards", "terminals", "truncations", "infos",
    }  # fmt: skip
