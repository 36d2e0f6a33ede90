"""og-marl's conversion of OMIGA's MuJoCo data, a Flashbax Vault `mamujoco/<scenario>.vlt/<Quality>/`, to and from rows.

A Vault is one zarr array per leaf of the experience in an ocdbt key-value store, named by its path with a trailing dot
(`observations.`, `infos.state.`), leading axes (1, time); `vault_index` counts the rows written, metadata.json names
the leaves. The rows are those of the authors' files (see omiga_hdf5): an episode of T steps has T + 1 of them,
terminal ones included. `infos.state` is one agent's view. Written with flashbax's layout as of its version 1.2.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.common.files import write_json
from data.common.foreign import check_tree, read_json
from data.layout import Trajectories
from data.observe import agent_views
from data.official.omiga_hdf5 import SLAB, trajectories_of_slabs
from data.statistics import trajectory_episodes
from data.worlds.mamujoco import spec_of, view_sizes

PUBLISHED = "Hugging Face, InstaDeepAI/og-marl, folder prior_work/omiga/mamujoco"
METADATA = "metadata.json"
LEAVES = ("observations", "actions", "rewards", "terminals", "truncations", "infos.state")
FLAGS = ("terminals", "truncations")
MOST_MISSING = 10_000  # chunks: more are not counted one by one
CHUNK = 10_000  # rows, as written
VERSION = 1.2


def _tensorstore() -> Any:
    try:
        import tensorstore
    except ImportError as error:
        raise ReproduceError(
            "Vaults need the package tensorstore: install the extra with `pip install -e '.[vault]'`."
        ) from error
    return tensorstore


def _spec(folder: Path, name: str) -> dict[str, Any]:
    return {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": f"file://{folder.resolve()}", "path": name}}


def layout(world: dict) -> dict[str, tuple]:
    """Leaf -> shape without the leading (1, time)."""
    n_agents, action_size, n_features, n_zeros = view_sizes(world["scenario"], world["agent_conf"])
    size = n_features + n_zeros + n_agents
    each = dict.fromkeys(("rewards", "terminals", "truncations"), (n_agents,))
    return {"observations": (n_agents, size), "actions": (n_agents, action_size), **each, "infos.state": (size,)}


class _Leaf:
    """One array of a Vault, every look at it guarded: tensorstore raises a dozen kinds for damage."""

    def __init__(self, folder: Path, leaf: str):
        self.folder, self.leaf = folder, leaf
        self.name = leaf if leaf == "vault_index" else f"{leaf}."
        self.array = self._guarded(lambda: _tensorstore().open(_spec(folder, self.name)).result())
        self.shape, self.dtype = tuple(self.array.shape), np.dtype(self.array.dtype.numpy_dtype)

    def read(self, index: Any) -> np.ndarray:
        part = self._guarded(lambda: np.array(self.array[index].read().result()))
        return part.astype(part.dtype.newbyteorder("="), copy=False)

    def unstored(self, n: int) -> list[tuple[int, int]]:
        """(start, stop) of the rows, of the first n, whose chunk lies nowhere: the format reads them as zeros.

        Raises ReproduceError where the first of them follow no stored chunk at all.
        """
        chunks = self._guarded(lambda: self.array.chunk_layout.read_chunk.shape)
        store = {"driver": "ocdbt", "base": f"file://{self.folder.resolve()}", "path": f"{self.name}/"}
        listed = self._guarded(lambda: _tensorstore().KvStore.open(store).result().list().result())
        found = {key for raw in listed if (key := raw.decode(errors="replace")).replace(".", "").isdigit()}
        each = -(-n // chunks[1])
        per_time = [
            -(-size // chunk) for axis, (size, chunk) in enumerate(zip(self.shape, chunks, strict=True)) if axis != 1
        ]
        wanted = 1
        for count in per_time:
            wanted *= count
        counts: dict[int, int] = {}
        for key in found:
            at = int(key.split(".")[1]) if key.count(".") == len(chunks) - 1 else -1
            counts[at] = counts.get(at, 0) + 1
        if each > len(counts) + MOST_MISSING:
            raise ReproduceError(
                f"{self.folder}: {self.leaf} lacks {each - len(counts)} of {each} chunks. Fetch the Vault again from "
                f"{PUBLISHED}."
            )
        missing = [k for k in range(each) if counts.get(k, 0) < wanted]
        return [(k * chunks[1], min((k + 1) * chunks[1], n)) for k in missing]

    def _guarded(self, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except ReproduceError:
            raise
        except Exception as error:
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise ReproduceError(
                f"{self.folder}: {self.leaf} cannot be read: {why}. Fetch the Vault again from {PUBLISHED}."
            ) from error


def _stated(folder: Path) -> Any:
    """The shapes that metadata.json names."""
    try:
        return read_json(folder / METADATA)["structure_shape"]
    except FileNotFoundError:
        raise ReproduceError(f"{folder / METADATA} is missing: no Vault. Published at {PUBLISHED}.") from None
    except (KeyError, TypeError, IndexError) as error:
        raise ReproduceError(f"{folder / METADATA} is no Vault's metadata: {error!r}.") from error


def load(folder: Path, world: dict) -> TensorDict:
    """The Vault as trajectories, read in slabs. Raises ReproduceError as omiga_hdf5.load does, and for links that lead
    out of the folder and chunks that are missing or cut."""
    folder = Path(folder)
    if folder.is_dir():
        check_tree(folder)
    stated = _stated(folder)
    arrays = {leaf: _Leaf(folder, leaf) for leaf in LEAVES}
    n = _rows_written(folder)
    for leaf, shape in layout(world).items():
        found, dtype = arrays[leaf].shape, arrays[leaf].dtype
        if len(found) < 2 or found[0] != 1 or found[2:] != shape or n > found[1]:
            raise ReproduceError(
                f"{folder}: {leaf} has shape {list(found)} with {n} rows written, expected [1, rows, "
                f"{', '.join(map(str, shape))}] for {world['scenario']} {world['agent_conf']}; metadata says {stated}."
            )
        if dtype.kind not in ("fbiu" if leaf in FLAGS else "f") or (dtype.kind == "f" and dtype.itemsize not in (4, 8)):
            raise ReproduceError(f"{folder}: {leaf} has dtype {dtype}, expected float32 or float64.")
    if n < 2:
        raise ReproduceError(f"{folder}: {n} rows, a transition needs two.")
    unstored = {leaf: arrays[leaf].unstored(n) for leaf in LEAVES if leaf not in FLAGS}
    for leaf in ("observations", "infos.state"):  # no state is all zeros
        if unstored[leaf]:
            raise _lacking(folder, leaf, *unstored[leaf][0])

    def slab(at: int) -> dict[str, torch.Tensor]:
        stop = min(at + SLAB, n)
        part = {leaf: torch.from_numpy(array.read((0, slice(at, stop)))) for leaf, array in arrays.items()}
        if not torch.equal(part["infos.state"], part["observations"][:, 0]):
            raise ReproduceError(
                f"{folder}: infos.state is not the first agent's observation in the rows from {at} on."
            )
        for leaf in FLAGS:
            if (bad := (part[leaf] != 0) & (part[leaf] != 1)).any():
                row = int(bad.any(1).nonzero()[0])
                raise ReproduceError(f"{folder}: {leaf} in row {at + row} is {part[leaf][row].tolist()}, not 0 or 1.")
        ended = (part["terminals"] != 0).all(1) | (part["truncations"] != 0).all(1)
        for leaf in ("actions", "rewards"):  # zeros in all rows but the ends, where they mean nothing
            for start, end in unstored[leaf]:
                if not ended[max(start - at, 0) : max(end - at, 0)].all():
                    raise _lacking(folder, leaf, start, end)
        return {
            "o": part["observations"],
            "s": part["observations"],
            "a": part["actions"],
            "r": part["rewards"][:, 0],
            "d": ended.float(),
        }

    rows = trajectories_of_slabs(str(folder), n, ((at, slab(at)) for at in range(0, n, SLAB)), world)
    if gaps := arrays["terminals"].unstored(n):  # no end in them, or lost
        steps = trajectory_episodes(rows["final"]).bincount() - 1
        if steps.max() > world.get("episode_limit", 1000):
            raise _lacking(folder, "terminals", *gaps[0])
    return rows


def _rows_written(folder: Path) -> int:
    index = _Leaf(folder, "vault_index")
    if index.shape != (1,) or index.dtype.kind not in "iu":
        raise ReproduceError(
            f"{folder}: vault_index is {index.dtype} {list(index.shape)}, expected one whole number, the rows written."
        )
    return int(index.read(0))


def _lacking(folder: Path, leaf: str, start: int, stop: int) -> ReproduceError:
    return ReproduceError(
        f"{folder}: {leaf} lacks the chunk of the rows {start} to {stop - 1}, which would be read as zeros. Fetch the "
        f"Vault again from {PUBLISHED}."
    )


def write(rows: TensorDict, folder: Path, world: dict, exact: bool = False) -> None:
    """Trajectories as a Vault in a folder that does not exist yet; metadata last, without which it does not load.

    `exact`: views in float64, from which features come back to the bit.
    """
    folder, ts = Path(folder), _tensorstore()
    n_agents, _, _, n_zeros = view_sizes(world["scenario"], world["agent_conf"])
    Trajectories(spec_of(world["scenario"], world["agent_conf"])).check(rows)
    if folder.exists():
        raise ReproduceError(f"{folder} exists; a Vault is written into a new folder.")
    folder.mkdir(parents=True)
    views = agent_views(rows["features"], n_agents, n_zeros, torch.float64 if exact else torch.float32).numpy()
    each = (len(rows), n_agents)
    values = {
        "observations": views, "actions": rows["action"].numpy(),
        "rewards": rows["reward"].expand(each).numpy(), "terminals": rows["final"].expand(each).numpy(),
        "truncations": np.zeros(each, bool), "infos.state": views[:, 0],
    }  # fmt: skip
    chunk = min(len(rows), CHUNK)
    for leaf, value in values.items():
        grid = {"chunks": [1, chunk, *value.shape[1:]], "compressor": {"id": "gzip", "level": 5}}
        array = ts.open(
            _spec(folder, f"{leaf}.") | {"metadata": grid}, shape=(1, *value.shape), dtype=value.dtype.name, create=True
        ).result()
        array[0].write(np.ascontiguousarray(value)).result()
    index = ts.open(_spec(folder, "vault_index"), shape=(1,), dtype="int32", create=True).result()
    index.write(np.array([len(rows)], np.int32)).result()
    shapes = {leaf: str((1, *value.shape)) for leaf, value in values.items()}
    state = shapes.pop("infos.state")
    write_json(folder / METADATA, {"version": VERSION, "structure_shape": shapes | {"infos": {"state": state}}})
