"""og-marl's conversion of OMIGA's MuJoCo data, a Flashbax Vault `mamujoco/<scenario>.vlt/<Quality>/`, to and from rows.

The rows are those of the authors' files (see omiga_hdf5): an episode of T steps has T + 1 of them, terminal ones
included. `infos.state` is one agent's view. data.official.vault describes the format.
"""

from pathlib import Path

import numpy as np
import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.layout import Trajectories
from data.observe import agent_views
from data.official import vault
from data.official.omiga_hdf5 import SLAB, EndsMissing, trajectories_of_slabs
from data.official.vault import Vault
from data.worlds.mamujoco import spec_of, view_sizes

PUBLISHED = "Hugging Face, InstaDeepAI/og-marl, folder prior_work/omiga/mamujoco"
LEAVES = ("observations", "actions", "rewards", "terminals", "truncations", "infos.state")
FLAGS = ("terminals", "truncations")


def layout(world: dict) -> dict[str, tuple]:
    """Leaf -> shape without the leading (1, time)."""
    n_agents, action_size, n_features, n_zeros = view_sizes(world["scenario"], world["agent_conf"])
    size = n_features + n_zeros + n_agents
    each = dict.fromkeys(("rewards", "terminals", "truncations"), (n_agents,))
    return {"observations": (n_agents, size), "actions": (n_agents, action_size), **each, "infos.state": (size,)}


def load(folder: Path, world: dict) -> TensorDict:
    """The Vault as trajectories, read in slabs. Raises ReproduceError as omiga_hdf5.load does, and for links that lead
    out of the folder and chunks that are missing or cut."""
    folder = Path(folder)
    opened = Vault.opened(folder, PUBLISHED)
    arrays = {leaf: opened.leaf(leaf) for leaf in LEAVES}
    n = opened.rows_written()
    for leaf, shape in layout(world).items():
        found, dtype = arrays[leaf].shape, arrays[leaf].dtype
        if len(found) < 2 or found[0] != 1 or found[2:] != shape or n > found[1]:
            raise ReproduceError(
                f"{folder}: {leaf} has shape {list(found)} with {n} rows written, expected [1, rows, "
                f"{', '.join(map(str, shape))}] for {world['scenario']} {world['agent_conf']}; metadata says "
                f"{opened.stated}."
            )
        if dtype.kind not in ("fbiu" if leaf in FLAGS else "f") or (dtype.kind == "f" and dtype.itemsize not in (4, 8)):
            raise ReproduceError(f"{folder}: {leaf} has dtype {dtype}, expected float32 or float64.")
    if n < 2:
        raise ReproduceError(f"{folder}: {n} rows, a transition needs two.")
    unstored = {leaf: arrays[leaf].unstored(n) for leaf in LEAVES if leaf not in FLAGS}
    for leaf in ("observations", "infos.state"):  # no state is all zeros
        if unstored[leaf]:
            raise opened.lacking(leaf, *unstored[leaf][0])

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
                    raise opened.lacking(leaf, start, end)
        if (apart := (part["rewards"] != part["rewards"][:, :1]).any(1)).any():
            row = at + int(apart.nonzero()[0])
            raise ReproduceError(
                f"{folder}: the agents' rewards differ first in row {row}, expected the team's for each."
            )
        return {
            "o": part["observations"],
            "s": part["observations"],
            "a": part["actions"],
            "r": part["rewards"][:, 0],
            "d": ended.float(),
        }

    try:
        return trajectories_of_slabs(str(folder), n, ((at, slab(at)) for at in range(0, n, SLAB)), world)
    except EndsMissing as error:
        if gaps := arrays["terminals"].unstored(n):  # their chunk is lost
            raise opened.lacking("terminals", *gaps[0]) from error
        raise


def write(rows: TensorDict, folder: Path, world: dict, exact: bool = False) -> None:
    """Trajectories as a Vault in a folder that does not exist yet; metadata last, without which it does not load.

    `exact`: views in float64, from which features come back to the bit.
    """
    n_agents, _, _, n_zeros = view_sizes(world["scenario"], world["agent_conf"])
    Trajectories(spec_of(world["scenario"], world["agent_conf"])).check(rows)
    views = agent_views(rows["features"], n_agents, n_zeros, torch.float64 if exact else torch.float32).numpy()
    each = (len(rows), n_agents)
    values = {
        "observations": views, "actions": rows["action"].numpy(),
        "rewards": rows["reward"].expand(each).numpy(), "terminals": rows["final"].expand(each).numpy(),
        "truncations": np.zeros(each, bool), "infos.state": views[:, 0],
    }  # fmt: skip
    vault.write(values, Path(folder))
