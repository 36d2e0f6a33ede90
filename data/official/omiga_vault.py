"""og-marl's conversion of OMIGA's MuJoCo data, a Flashbax Vault `mamujoco/<scenario>.vlt/<Quality>/`, to and from rows.

A Vault is one zarr array per leaf of the experience in an ocdbt key-value store, named by its path with a trailing dot
(`observations.`, `infos.state.`), leading axes (1, time); `vault_index` counts the rows written, metadata.json names
the leaves. The rows are those of the authors' files (see omiga_hdf5): an episode of T steps has T + 1 of them,
terminal ones included. `infos.state` is one agent's view. Written with flashbax's layout as of its version 1.2.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.common.files import write_json
from data.layout import Trajectories
from data.observe import agent_views
from data.official.omiga_hdf5 import SLAB, trajectories_of_slabs
from data.worlds.mamujoco import spec_of, view_sizes

PUBLISHED = "Hugging Face, InstaDeepAI/og-marl, folder prior_work/omiga/mamujoco"
METADATA = "metadata.json"
LEAVES = ("observations", "actions", "rewards", "terminals", "truncations", "infos.state")
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


def _open(folder: Path, leaf: str) -> Any:
    name = leaf if leaf == "vault_index" else f"{leaf}."
    try:
        return _tensorstore().open(_spec(folder, name)).result()
    except ValueError as error:
        raise ReproduceError(f"{folder}: {leaf} cannot be read: {str(error).splitlines()[0][:200]}") from error


def load(folder: Path, world: dict) -> TensorDict:
    """The Vault as trajectories, read in slabs. Raises ReproduceError as omiga_hdf5.load does."""
    folder = Path(folder)
    try:
        stated = json.loads((folder / METADATA).read_text(encoding="utf-8"))["structure_shape"]
    except FileNotFoundError:
        raise ReproduceError(f"{folder / METADATA} is missing: no Vault. Published at {PUBLISHED}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReproduceError(f"{folder / METADATA} is no Vault's metadata: {error!r}.") from error
    arrays = {leaf: _open(folder, leaf) for leaf in LEAVES}
    n = int(_open(folder, "vault_index").read().result()[0])
    for leaf, shape in layout(world).items():
        found = tuple(arrays[leaf].shape)
        if found[0] != 1 or found[2:] != shape or n > found[1]:
            raise ReproduceError(
                f"{folder}: {leaf} has shape {list(found)} with {n} rows written, expected [1, rows, "
                f"{', '.join(map(str, shape))}] for {world['scenario']} {world['agent_conf']}; metadata says {stated}."
            )
    if n < 2:
        raise ReproduceError(f"{folder}: {n} rows, a transition needs two.")

    def slab(at: int) -> dict[str, torch.Tensor]:
        part = {
            leaf: torch.from_numpy(np.array(array[0, at : min(at + SLAB, n)].read().result()))
            for leaf, array in arrays.items()
        }
        if not torch.equal(part["infos.state"], part["observations"][:, 0]):
            raise ReproduceError(
                f"{folder}: infos.state is not the first agent's observation in the rows from {at} on."
            )
        ended = (part["terminals"] != 0).all(1) | (part["truncations"] != 0).all(1)
        return {
            "o": part["observations"],
            "s": part["observations"],
            "a": part["actions"],
            "r": part["rewards"][:, 0],
            "d": ended.float(),
        }

    return trajectories_of_slabs(str(folder), n, ((at, slab(at)) for at in range(0, n, SLAB)), world)


def write(rows: TensorDict, folder: Path, world: dict) -> None:
    """Trajectories as a Vault in a folder that does not exist yet; metadata last, without which it does not load."""
    folder, ts = Path(folder), _tensorstore()
    n_agents, _, _, n_zeros = view_sizes(world["scenario"], world["agent_conf"])
    Trajectories(spec_of(world["scenario"], world["agent_conf"])).check(rows)
    if folder.exists():
        raise ReproduceError(f"{folder} exists; a Vault is written into a new folder.")
    folder.mkdir(parents=True)
    views = agent_views(rows["features"], n_agents, n_zeros).numpy()
    each = (len(rows), n_agents)
    values = {
        "observations": views, "actions": rows["action"].numpy(),
        "rewards": rows["reward"].expand(each).numpy(), "terminals": rows["final"].expand(each).numpy(),
        "truncations": np.zeros(each, bool), "infos.state": views[:, 0],
    }  # fmt: skip
    chunk = min(len(rows), 10_000)
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
