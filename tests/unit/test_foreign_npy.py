"""Folders of .npy files, JSON and prey weights of strangers: links, lying headers and damage are one clear error."""

import json
import os
import random
import shutil

import numpy as np
import pytest
import torch
import written

from data.common.errors import ReproduceError
from data.common.foreign import read_json
from data.generate import generate, mpe
from data.official import alberdice, omar_npy
from data.official.npy import opened
from data.worlds import make_world
from data.worlds.mpe import PUBLISHED_PREY

SPREAD = {"name": "mpe", "scenario": "simple_spread", "episode_limit": 25}
BRIDGE = {"name": "bridge", "start_adjacent": True, "episode_limit": 50, "zero_last_reward": True}


@pytest.fixture
def omar(tmp_path):
    omar_npy.write(mpe.random(SPREAD, 0, 2, 52), tmp_path / "omar", SPREAD)
    return tmp_path / "omar"


@pytest.fixture
def buffer(tmp_path):
    written.alberdice(generate("bridge_mix", BRIDGE, 0, {"episodes": 3})[0], tmp_path / "buffer", "bridge")
    return tmp_path / "buffer"


def load(folder):
    return omar_npy.load(folder, SPREAD) if folder.name.startswith("omar") else alberdice.load(folder, "bridge")


def refused(folder, *words: str) -> str:
    with pytest.raises(ReproduceError) as error:
        load(folder)
    for word in words:
        assert word in str(error.value)
    return str(error.value)


def header(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "head",
    [
        header("(-1,)"),
        header("(-2, -2)"),
        header("(10000000000,)"),
        header("(10**30,)"),
        header(f"({10**30}, {10**30})"),
        header(f"(0, {10**30})"),
        header("(True,)"),
        header("5"),
        header("(5.0,)"),
        header("'x'"),
        header("(50,)", "'|O'"),
        header("(50,)", "'<U9'"),
        header("(50,)", "[('a', '<f4')]"),
        header("(50,)", "'<c8'"),
        header("(50,)", "'<M8[s]'"),
        header("(50,)", "'nonsense'"),
        header("(50,)", "[" * 200 + "]" * 200),
        header("(50,)", order="'yes'"),
        header("(" * 2000),
        b"\x93NUMPY\x03\x00\xff\xff\xff\xff{",
        b"\x93NUMPY\x09\x00\x10\x00",
        b"\x93NUMPY\x01\x00\xff\xff{}",
        b"\x93NUMPY",
        b"",
        b"\x80\x04K\x05.",
        b"PK\x03\x04",
    ],
)
def test_headers_that_lie(omar, head):
    for name in ("rews_0.npy", "obs_1.npy"):
        whole = (omar / name).read_bytes()
        (omar / name).write_bytes(head + bytes(200))
        refused(omar, f"{omar / name} ", "expected float32 or float64", "Fetch it again")
        (omar / name).write_bytes(whole)


def test_numbers_behind_the_array_are_refused(omar):
    with open(omar / "rews_0.npy", "ab") as file:
        np.save(file, np.zeros(50))
    refused(omar, "rews_0.npy is truncated or damaged: its header promises")


def test_fortran_order_and_big_endian_numbers_are_read(omar, buffer):
    for folder in (omar, buffer):
        before = load(folder)
        for path in folder.glob("*.npy"):
            array = np.load(path)
            np.save(path, np.asfortranarray(array).astype(array.dtype.newbyteorder(">")))
        assert (load(folder) == before).all()


@pytest.mark.parametrize("kind", ["f2", "f16", "i4", "c8", "?"])
def test_numbers_of_another_kind(omar, kind):
    np.save(omar / "rews_1.npy", np.load(omar / "rews_1.npy").astype(kind))
    refused(omar, "rews_1.npy", "expected float32 or float64")


def test_ends_between_0_and_1(omar):
    np.save(omar / "dones_1.npy", np.full(50, 0.5, np.float32))
    refused(omar, "dones_1.npy is neither 0 nor 1 first in row 0")


@pytest.mark.parametrize("name", ["rews_0.npy", "obs_1.npy"])
def test_links_pipes_and_folders_in_the_place_of_a_file(omar, tmp_path, name):
    shutil.move(omar / name, tmp_path / "elsewhere.npy")
    (omar / name).symlink_to(tmp_path / "elsewhere.npy")
    refused(omar, f"{omar / name} leads out of its folder")
    (omar / name).unlink()
    shutil.copy(tmp_path / "elsewhere.npy", omar / "beside.npy")
    (omar / name).symlink_to("beside.npy")
    load(omar)
    (omar / name).unlink()
    (omar / name).symlink_to("nowhere.npy")
    refused(omar, "is a link to nowhere.npy, which is not there")
    (omar / name).unlink()
    os.mkfifo(omar / name)
    refused(omar, "is a pipe")
    (omar / name).unlink()
    (omar / name).mkdir()
    refused(omar, "is a folder")


def test_a_folder_that_is_a_link_itself_is_the_users_choice(omar, tmp_path):
    (tmp_path / "omar_link").symlink_to(omar)
    load(tmp_path / "omar_link")


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, "\xff\xfe", '{"episodes_in_buffer": 1e400}', "9" * 9999]
)
def test_odd_json(buffer, text):
    (buffer / "meta.json").write_bytes(text.encode("latin-1"))
    refused(buffer, "meta.json")


def test_json_that_is_no_file(buffer, tmp_path):
    shutil.move(buffer / "meta.json", tmp_path / "meta.json")
    (buffer / "meta.json").symlink_to(tmp_path / "meta.json")
    refused(buffer, "leads out of its folder")
    (buffer / "meta.json").unlink()
    os.mkfifo(buffer / "meta.json")
    refused(buffer, "is a pipe")
    with pytest.raises(ReproduceError, match="is a pipe"):
        read_json(buffer / "meta.json")


@pytest.mark.parametrize("layout", ["omar", "buffer"])
def test_flipped_and_cut_bytes(layout, request):
    folder, chance = request.getfixturevalue(layout), random.Random(2)
    names = sorted(path.name for path in folder.iterdir())
    for k in range(60):
        path = folder / chance.choice(names)
        whole = path.read_bytes()
        damaged = bytearray(whole)
        if k % 3 == 0:
            damaged = damaged[: chance.randrange(len(damaged))]
        for _ in range(chance.choice([1, 4, 16]) if damaged else 0):
            damaged[chance.randrange(min(len(damaged), chance.choice([128, len(damaged)])))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            load(folder)
        except ReproduceError as error:
            assert folder.name in str(error)  # noqa: PT017
        path.write_bytes(whole)
    load(folder)


def test_opening_maps_and_allocates_nothing(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5.0))
    assert isinstance(opened(tmp_path / "a.npy", "five numbers", "nowhere"), np.memmap)


# ---- prey


def prey(**changes) -> dict:
    shapes = {"fc1": (64, 14), "fc2": (64, 64), "fc3": (2, 64)}
    weights = {f"{k}.weight": torch.ones(shape) for k, shape in shapes.items()}
    weights |= {f"{k}.bias": torch.ones(shape[0]) for k, shape in shapes.items()}
    weights |= {f"in_fn.{k}": torch.ones(14) for k in ("weight", "bias", "running_mean", "running_var")}
    return weights | changes


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (prey(**{"fc1.weight": [[1.0] * 14] * 64}), r"fc1\.weight is a list"),
        (prey(**{"fc1.weight": "text"}), r"fc1\.weight is text"),
        (prey(**{"fc1.weight": None}), r"fc1\.weight is a NoneType"),
        (prey(**{"fc1.weight": torch.ones(14, 64)}), r"fc1\.weight is \(14, 64\)"),
        (prey(**{"fc2.bias": torch.full((64,), torch.nan)}), r"fc2\.bias holds .* not all finite"),
        (prey(**{"fc2.bias": torch.ones(64, dtype=torch.int64)}), r"fc2\.bias holds torch\.int64"),
        (prey(**{"fc2.bias": torch.ones(64, dtype=torch.complex64)}), r"fc2\.bias holds"),
        (prey(**{"fc3.weight": torch.ones(2, 64).to_sparse()}), r"fc3\.weight is a"),
        (prey(**{"in_fn.running_var": -torch.ones(14)}), "no variance"),
        ({1: torch.ones(2)}, "expected tensors by name"),
        ([torch.ones(2)], "its policy is a list"),
        (None, "its policy is a NoneType"),
    ],
)
def test_odd_prey(policy, words, tmp_path):
    torch.save({"agent_params": [{}, {}, {}, {"policy": policy}]}, tmp_path / "prey.pt")
    with pytest.raises(ReproduceError, match=words) as error:
        make_world("mpe", 1, scenario="simple_tag", prey=str(tmp_path / "prey.pt"))
    assert "prey.pt" in str(error.value)


@pytest.mark.parametrize("whole", [{}, [], {"agent_params": 5}, {"agent_params": [{}] * 4}, torch.ones(3), "text"])
def test_checkpoints_without_a_prey(whole, tmp_path):
    torch.save(whole, tmp_path / "prey.pt")
    with pytest.raises(ReproduceError, match="cannot be read") as error:
        make_world("mpe", 1, scenario="simple_tag", prey=str(tmp_path / "prey.pt"))
    assert PUBLISHED_PREY.format(scenario="simple_tag") in str(error.value)


def test_a_prey_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "prey.pt")
    for path, words in ((tmp_path / "prey.pt", "is a pipe"), (tmp_path, "is a folder")):
        with pytest.raises(ReproduceError, match=words):
            make_world("mpe", 1, scenario="simple_tag", prey=str(path))


def test_json_keeps_its_value(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": [1]}))
    assert read_json(tmp_path / "a.json") == {"a": [1]}
