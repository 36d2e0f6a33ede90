"""OMIGA's multi-agent MuJoCo files, `<scenario>-<agent_conf>-<quality>.hdf5`, to and from trajectories (data.schema).

Datasets: `o` and `s` [M, N, D] (equal: each agent's self-standardized view of the whole state), `a` [M, N, A], `r` and
`d` [M] or [M, 1]. `d` of a row belongs to its STATE: an episode of T steps is T + 1 rows, the last holding the state it
ended in with a dummy action and reward. The released loader drops rows with `d` set and cuts the bootstrap where the
next row has it set, so with this reading it is exact. Time limits carry `d` like failures; they are told apart here by
the episode's length. Actions are those of a Gaussian policy and leave [-1, 1].
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.common.extras import needed
from data.common.files import write_with
from data.layout import Trajectories
from data.observe import agent_views, features_of
from data.official.hdf5 import Hdf5, opened
from data.schema import trajectories_of
from data.statistics import trajectory_episodes
from data.worlds.mamujoco import spec_of, view_sizes

PUBLISHED = "the cloud folder that the README of ZhengYinan-AIR/OMIGA (branch master) links"
SLAB = 4096  # rows read at once: what bounds the memory beyond the rows themselves
VIEW_TOLERANCE = 1e-4  # of float32 views; another standardization is off by orders of magnitude more
SCALARS = ("r", "d")


def layout(world: dict) -> dict[str, tuple]:
    """Dataset -> shape without the leading M."""
    n_agents, action_size, n_features, n_zeros = view_sizes(world["scenario"], world["agent_conf"])
    view = (n_agents, n_features + n_zeros + n_agents)
    return {"s": view, "o": view, "a": (n_agents, action_size), "r": (), "d": ()}


def _check(path: Path, file: Hdf5, world: dict) -> int:
    """M. Raises ReproduceError at the first dataset that is missing or has another shape or dtype."""
    where = f"{world['scenario']} {world['agent_conf']}"
    n_rows = None
    for key, shape in layout(world).items():
        if (described := file.describe(key)) is None:
            raise ReproduceError(f"{path}: dataset {key!r} is missing; found {file.names()}. Expected s, o, a, r, d.")
        found, dtype = described[0] or (), described[1]
        n_rows = (found[0] if found else 0) if n_rows is None else n_rows
        allowed = [(n_rows, *shape)] + ([(n_rows, 1)] if key in SCALARS else [])
        if found not in allowed:
            why = ""
            if key in SCALARS and len(found) == 2 and found[0] == n_rows:
                why = f" With {found[1]} columns the released loader would silently pair wrong masks and rewards."
            raise ReproduceError(
                f"{path}: {key} has shape {list(found)}, expected {' or '.join(str(list(a)) for a in allowed)} "
                f"for {where}.{why} Is it another scenario's file?"
            )
        if dtype.kind not in ("f" if key != "d" else "fbiu"):
            raise ReproduceError(f"{path}: {key} has dtype {dtype}, expected {'numbers' if key == 'd' else 'floats'}.")
        if dtype.kind == "f" and dtype.itemsize not in (4, 8):
            raise ReproduceError(
                f"{path}: {key} has dtype {dtype}, expected float32 or float64: were the numbers rounded on the way?"
            )
    if n_rows is None or n_rows < 2:
        raise ReproduceError(f"{path}: {n_rows} rows, a transition needs two.")
    return n_rows


class EndsMissing(ReproduceError):
    """An episode is longer than the world lets one be."""


def load(path: Path, world: dict) -> TensorDict:
    """The file as trajectories, read in slabs. `world` is the world's parameters.

    Raises ReproduceError for a file that is missing, damaged, of another scenario or with parts in other files, for
    NaN, for ends other than 0 and 1, for views that are not self-standardized or whose contact forces are not zero,
    and for actions far outside [-1, 1].
    """
    path = Path(path)
    with opened(path, PUBLISHED) as file:
        n = _check(path, file, world)
        slabs = (
            (at, {key: torch.from_numpy(file.read(key, at, min(at + SLAB, n))) for key in "soard"})
            for at in range(0, n, SLAB)
        )
        return trajectories_of_slabs(str(path), n, slabs, world)


def trajectories_of_slabs(what: str, n: int, slabs: Iterator[tuple[int, dict[str, Tensor]]], world: dict) -> TensorDict:
    """Trajectories from slabs (start, {o, s, a, r, d}) of n rows in all, whose `d` belongs to the state."""
    n_agents, action_size, n_features, n_zeros = view_sizes(world["scenario"], world["agent_conf"])
    features, action = torch.empty(n, n_features), torch.empty(n, n_agents, action_size)
    reward, final = torch.empty(n, 1), torch.empty(n, 1, dtype=torch.bool)
    for at, slab in slabs:
        part = slice(at, at + len(slab["r"]))
        for key, value in slab.items():
            if not (bad := value.isfinite().flatten(1) if value.ndim > 1 else value.isfinite().unsqueeze(1)).all():
                raise ReproduceError(
                    f"{what}: {key} is NaN or infinite first in row {at + int((~bad).any(1).nonzero()[0])}."
                )
        if (bad := (slab["d"] != 0) & (slab["d"] != 1)).any():
            row = at + int(bad.flatten().nonzero()[0])
            raise ReproduceError(f"{what}: d in row {row} is {slab['d'].flatten()[row - at]}, expected 0 or 1.")
        features[part] = features_of(slab["o"], n_features, n_agents, n_zeros)
        _compare_views(what, at, features[part], slab, n_agents, n_zeros)
        action[part], reward[part] = slab["a"].float(), slab["r"].reshape(-1, 1).float()
        final[part] = slab["d"].reshape(-1, 1) != 0
    if final.all():
        raise ReproduceError(f"{what}: d is 1 in all of {n} rows: every row is an end, so there is no transition.")
    final[-1] = True  # the released loader drops the last row in any case: it has no next
    action[final.squeeze(-1)], reward[final.squeeze(-1)] = 0.0, 0.0  # dummies
    ended = torch.zeros_like(final)
    ended[:-1] = final[1:] & ~final[:-1]
    if slab["d"].reshape(-1)[-1] == 0:  # the file stops in the middle of an episode, which neither failed nor timed out
        ended[-2] = False
    episode = trajectory_episodes(final)
    lengths = (episode.bincount() - 1)[episode].unsqueeze(-1)  # (R, 1), of the row's episode
    limit = world.get("episode_limit", 1000)
    if (lengths > limit).any():
        row = int((lengths > limit).squeeze(1).nonzero()[0])
        raise EndsMissing(
            f"{what}: the episode of row {row} has {int(lengths[row])} steps, the world's limit is {limit}: are ends "
            "(d) missing?"
        )
    truncated = ended & (lengths >= limit)
    flags = {"terminated": ended & ~truncated, "truncated": truncated, "final": final}
    rows = trajectories_of({"features": features, "action": action, "reward": reward, **flags})
    try:
        Trajectories(spec_of(world["scenario"], world["agent_conf"])).check(rows)
    except ReproduceError as error:
        raise ReproduceError(f"{what}: {error}") from error
    return rows


def _compare_views(what: str, at: int, features: Tensor, slab: dict[str, Tensor], n_agents: int, n_zeros: int) -> None:
    views = agent_views(features, n_agents, n_zeros)
    for key in ("o", "s"):
        gap = (views - slab[key]).abs().flatten(1).amax(1)
        if not (gap < VIEW_TOLERANCE).all():
            row = int((~(gap < VIEW_TOLERANCE)).nonzero()[0])
            contact = ", or contact forces that are not zero (another MuJoCo)" if n_zeros else ""
            raise ReproduceError(
                f"{what}: {key} in row {at + row} is not the self-standardized view of one state "
                f"(off by {gap[row]:.2g}): another environment's data{contact}."
            )


def write(rows: TensorDict, path: Path, world: dict, exact: bool = False) -> None:
    """Trajectories in the authors' layout, float32; `load` gives them back (to 1e-6, final rows zero).

    `exact`: views in float64, from which features come back to the bit.
    """
    dtype = torch.float64 if exact else torch.float32
    n_agents, _, _, n_zeros = view_sizes(world["scenario"], world["agent_conf"])
    Trajectories(spec_of(world["scenario"], world["agent_conf"])).check(rows)

    def save(partial: Path) -> None:
        with needed("h5py", "HDF5 files").File(partial, "w") as file:
            kinds = {"s": "f8", "o": "f8"} if exact else {}
            made = {
                k: file.create_dataset(k, (len(rows), *shape), kinds.get(k, "f4"))
                for k, shape in layout(world).items()
                if shape
            }
            scalars = {k: file.create_dataset(k, (len(rows), 1), "f4") for k in SCALARS}
            for at in range(0, len(rows), SLAB):
                part = rows[at : at + SLAB]
                views = agent_views(part["features"], n_agents, n_zeros, dtype).numpy()  # type: ignore
                values = {"s": views, "o": views, "a": part["action"].numpy()}  # type: ignore
                values |= {"r": part["reward"].numpy(), "d": part["final"].float().numpy()}  # type: ignore
                for key, value in values.items():
                    (made | scalars)[key][at : at + SLAB] = value

    write_with(Path(path), save)
