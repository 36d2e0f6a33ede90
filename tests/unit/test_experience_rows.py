"""Experience kept as trajectories: the layout's check, statistics, sampling, and the official file formats."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from data.buffer import OfflineDataModule
from data.common.errors import ReproduceError
from data.common.provenance import peak_memory
from data.common.rng import Stream, generator
from data.generate.mixture import noisy_act
from data.generate.play import play
from data.observe import agent_views
from data.official import omiga_hdf5, omiga_vault
from data.statistics import trajectory_statistics
from data.worlds import make_world

h5py = pytest.importorskip("h5py")
HOPPER = {"name": "mamujoco", "scenario": "Hopper-v2", "agent_conf": "3x1", "episode_limit": 40}
ANT = {"name": "mamujoco", "scenario": "Ant-v2", "agent_conf": "2x4", "episode_limit": 12}
KEYS = ("obs", "state", "action", "reward", "terminated", ("next", "obs"), ("next", "state"))
SIZES = {"Hopper-v2": (11, 3, 1), "Ant-v2": (27, 2, 4)}


def layout(world: dict):
    return make_world(n_worlds=1, **world).layout


def weights(world: dict, scale: float = 0.2) -> list[torch.Tensor]:
    """A made-up policy; with scale 0 it outputs 0, and Hopper stands for a while."""
    g = torch.Generator().manual_seed(3)
    d, a = {"Hopper-v2": (14, 1), "Ant-v2": (113, 4)}[world["scenario"]]
    shapes = [(8, d), (8,), (8, 8), (8,), (a, 8), (a,)]
    return [scale * torch.randn(shape, generator=g) for shape in shapes]


def played(world: dict, n: int = 6, noise: float = 0.6) -> TensorDict:
    return play(world, partial(noisy_act, weights(world), noise), n, generator(0, Stream.TESTS))


@pytest.fixture
def rows() -> TensorDict:
    """Six Hopper episodes of at most 40 steps, some that fell and some that timed out."""
    made = played(HOPPER)
    layout(HOPPER).check(made)
    return made


def test_played_rows_hold_whole_episodes(rows):
    s = trajectory_statistics(rows)
    assert s["n_rows"] == len(rows) == s["n_transitions"] + 6
    assert s["n_episodes"] == s["n_terminated"] + s["n_truncated"] == 6
    assert s["n_terminated"] > 0
    assert rows["action"].abs().max() > 1  # unclipped Gaussian actions
    final = rows["final"].squeeze(-1)
    assert rows["action"][final].abs().max() == 0
    assert rows["reward"][final].abs().max() == 0
    assert torch.equal(rows["final"], played(HOPPER)["final"])  # repeatable


def test_a_played_episode_is_what_the_world_does(rows):
    length = int(rows["final"].squeeze(-1).nonzero()[0])
    params = {k: v for k, v in HOPPER.items() if k != "name"}
    world = make_world("mamujoco", 1, **params)
    starts = world.draw_starts(6, generator(0, Stream.TESTS))[:1]
    td = world.reset(TensorDict({"start": starts}, [1]))
    for t in range(length):
        assert torch.equal(td["features"][0].float(), rows["features"][t])
        td["action"] = rows["action"][t : t + 1]
        td = world.step(td)["next"]
        assert torch.equal(td["reward"][0], rows["reward"][t])
        assert torch.equal(td["terminated"][0], rows["terminated"][t])
    assert torch.equal(td["features"][0].float(), rows["features"][length])


@pytest.mark.parametrize("storage", ["tensor", "memmap"])
def test_a_chunk_is_the_official_layouts_numbers(rows, storage, tmp_path):
    omiga_hdf5.write(rows, tmp_path / "x.hdf5", HOPPER)
    with h5py.File(tmp_path / "x.hdf5") as file:
        o, a, r, d = (torch.from_numpy(file[key][:]) for key in "oard")
    world = make_world("mamujoco", 1, **{k: v for k, v in HOPPER.items() if k != "name"})
    data = OfflineDataModule(rows, world.layout, KEYS, [0, 1], storage)
    chunk = data.to_schema(data.sample(3, 16))
    assert chunk.batch_size == torch.Size([3, 2, 16])
    assert chunk["obs"].shape == (3, 2, 16, 3, 14)
    # The released loader: rows with d dropped, next = the row after, mask = 1 - its d.
    kept = [t for t in range(len(o) - 1) if not d[t]]
    found = {tuple(o[t].flatten().tolist()): t for t in kept}
    for td in chunk.flatten(0, 2):
        key = min(found, key=lambda k: np.abs(np.array(k) - td["obs"].flatten().numpy()).max())
        t = found[key]
        torch.testing.assert_close(td["obs"], o[t], rtol=0, atol=1e-6)
        torch.testing.assert_close(td["next", "state"], o[t + 1], rtol=0, atol=1e-6)
        assert torch.equal(td["action"], a[t])
        assert torch.equal(td["reward"], r[t])
    ends = data.buffer.storage.get(range(len(rows)))["terminated"]
    assert torch.equal(ends, rows["terminated"])


def test_each_seed_draws_its_own_transitions_and_none_starts_in_a_final_row(rows):
    both, alone = (OfflineDataModule(rows, layout(HOPPER), KEYS, seeds) for seeds in ([0, 1], [1]))
    pair, one = both.sample(4, 50), alone.sample(4, 50)
    assert torch.equal(pair["features"][:, 1], one["features"][:, 0])
    finals = {tuple(f.tolist()) for f in rows["features"][rows["final"].squeeze(-1)]}
    assert not any(tuple(f.tolist()) in finals for f in pair["features"].flatten(0, 2))


@pytest.mark.parametrize("world", [HOPPER, ANT])
@pytest.mark.parametrize("source", ["hdf5", "vault"])
def test_round_trip(world, source, tmp_path):
    if source == "vault":
        pytest.importorskip("tensorstore")
    module = {"hdf5": omiga_hdf5, "vault": omiga_vault}[source]
    rows, path = played(world, n=4), tmp_path / "made"
    module.write(rows, path, world)
    again = module.load(path, world)
    for key in ("action", "reward", "terminated", "truncated", "final"):
        assert torch.equal(again[key], rows[key]), key
    torch.testing.assert_close(again["features"], rows["features"], rtol=2e-6, atol=2e-6)
    module_views = agent_views(again["features"], SIZES[world["scenario"]][1], 84 if world is ANT else 0)
    views = agent_views(rows["features"], SIZES[world["scenario"]][1], 84 if world is ANT else 0)
    torch.testing.assert_close(module_views, views, rtol=0, atol=1e-6)


def test_a_file_that_stops_in_the_middle_of_an_episode(rows, tmp_path):
    first_end = int(rows["final"].squeeze(-1).nonzero()[0])
    omiga_hdf5.write(rows, tmp_path / "whole.hdf5", HOPPER)
    with h5py.File(tmp_path / "whole.hdf5") as whole, h5py.File(tmp_path / "cut.hdf5", "w") as cut:
        for key in "soard":
            cut[key] = whole[key][: first_end + 5]
    again = omiga_hdf5.load(tmp_path / "cut.hdf5", HOPPER)
    statistics = trajectory_statistics(again)
    assert statistics["n_episodes"] == 2
    assert statistics["n_terminated"] + statistics["n_truncated"] == 1
    assert again["final"][-1]


@pytest.fixture
def file(rows, tmp_path):
    """Write the rows, let a test edit the open file, and give the loader's message."""

    def edited(edit, world=HOPPER) -> str:
        path = tmp_path / "edited.hdf5"
        omiga_hdf5.write(rows, path, HOPPER)
        with h5py.File(path, "r+") as opened:
            edit(opened)
        with pytest.raises(ReproduceError) as error:
            omiga_hdf5.load(path, world)
        assert str(path) in str(error.value)
        return str(error.value)

    return edited


def replace(key, change):
    def edit(opened):
        value = change(opened[key][:])
        del opened[key]
        opened[key] = value

    return edit


def put(key, row, value):
    def edit(opened):
        opened[key][row] = value

    return edit


def test_bad_files_are_refused_with_the_reason(file):
    assert "'a' is missing" in file(lambda f: f.__delitem__("a"))
    assert "3 columns" in file(replace("d", lambda d: np.repeat(d, 3, 1)))
    assert "3 columns" in file(replace("r", lambda r: np.repeat(r, 3, 1)))
    assert "NaN or infinite first in row 7" in file(put("o", 7, np.nan))
    assert "r is NaN or infinite first in row 3" in file(put("r", 3, np.inf))
    assert "beyond +-10" in file(put("a", 5, 55.0))
    assert "self-standardized" in file(put("s", 2, 0.5))
    assert "another scenario" in file(lambda f: None, ANT)
    assert "dtype" in file(replace("a", lambda a: a.astype(int)))


def test_missing_truncated_and_foreign_files(rows, tmp_path):
    with pytest.raises(ReproduceError, match="is missing"):
        omiga_hdf5.load(tmp_path / "none.hdf5", HOPPER)
    (tmp_path / "text.hdf5").write_text("hello")
    with pytest.raises(ReproduceError, match="truncated or no HDF5 file"):
        omiga_hdf5.load(tmp_path / "text.hdf5", HOPPER)
    omiga_hdf5.write(rows, tmp_path / "whole.hdf5", HOPPER)
    whole = (tmp_path / "whole.hdf5").read_bytes()
    (tmp_path / "half.hdf5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReproduceError, match=r"half\.hdf5"):
        omiga_hdf5.load(tmp_path / "half.hdf5", HOPPER)
    with pytest.raises(ReproduceError, match="no Vault"):
        omiga_vault.load(tmp_path, HOPPER)
    (tmp_path / "metadata.json").write_text(json.dumps({"structure_shape": {}}))
    with pytest.raises(ReproduceError, match="observations cannot be read"):
        omiga_vault.load(tmp_path, HOPPER)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda r: r.exclude("final"), "final is missing"),
        (lambda r: r.set("action", r["action"].double()), "float64"),
        (lambda r: r.set("features", r["features"].index_fill(0, torch.tensor([4]), torch.nan)), "row 4"),
        (lambda r: r[:-1], "last row be final"),
        (lambda r: r[:1], "needs two"),
        (
            lambda r: r.set("terminated", r["terminated"].index_fill(0, torch.tensor([2]), True)),
            "followed by its final",
        ),
        (lambda r: r.set("truncated", r["truncated"] | r["final"]), "followed by its final"),
    ],
)
def test_rows_are_validated(rows, edit, said):
    with pytest.raises(ReproduceError, match=said):
        layout(HOPPER).check(edit(rows.clone()))


def test_loading_streams_in_bounded_memory(tmp_path):
    """Peak memory over a bare import stays below 1.5 times the float32 size of what the file holds."""
    n, world = 60_000, ANT | {"episode_limit": 99}
    g = torch.Generator().manual_seed(0)
    final = torch.zeros(n, 1, dtype=torch.bool)
    final[99::100] = True
    ended = torch.zeros_like(final)
    ended[:-1] = final[1:]
    rows = TensorDict(
        {
            "features": torch.randn(n, 27, generator=g),
            "action": torch.rand(n, 2, 4, generator=g).masked_fill(final.unsqueeze(-1), 0),
            "reward": torch.rand(n, 1, generator=g).masked_fill(final, 0),
            "terminated": torch.zeros_like(final),
            "truncated": ended,
            "final": final,
        },
        [n],
    )
    path = tmp_path / "large.hdf5"
    omiga_hdf5.write(rows, path, world)
    size = 4 * n * (2 * 2 * 113 + 8 + 2)
    program = (
        "import torch; from data.common.provenance import peak_memory; from data.official import omiga_hdf5\n"
        "from data.worlds.mamujoco import sizes; import h5py; sizes('Ant-v2', '2x4'); torch.set_num_threads(1)\n"
        "before = peak_memory()\n"  # of this process; getrusage's is at least the peak of the one that started it
        f"rows = omiga_hdf5.load({str(path)!r}, {world!r})\n"
        "print(peak_memory() - before)"
    )
    if peak_memory() is None:
        pytest.skip("the system does not tell a process's peak memory")
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert 0 < grown <= 1.5 * size
