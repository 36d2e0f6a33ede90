"""OG-MARL's conversions of StarCraft data, Flashbax Vaults `smac_v1/<map>.vlt/<Quality>/`: OMIGA's choice of MADT's
episodes in the modified view, CFCQL's in the plain one.

Leaves: observations (1, T, n, O), actions, rewards, terminals, truncations (1, T, n), infos.legals (1, T, n, A), and
infos.state (1, T, S), in the modified view (1, T, n S): the agents' states side by side. What an agent sees in the
modified view already holds its identity and its last action. `terminals` of an agent also say that it died: an episode
ends where all agents' are set, or all truncations.

OG-MARL does not state whether the row of an episode's end is its last step or the state after it. In a state after the
end nothing is earned, and no fight of these data ends every time without a reward: so rewards decide. Where no end row
has one, end rows are final ones, as in OMIGA's files of MuJoCo. Where many have, they are steps, the state after is not
stored, and the last one repeated stands for it, as in MADT's files. Time limits are told as there: by length, where
nobody won.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.official import battles
from data.official.vault import Leaf, Vault
from data.worlds import layout_for

PUBLISHED = {
    "omiga": "Hugging Face, InstaDeepAI/og-marl, folder prior_work/omiga/smac_v1",
    "cfcql": "Hugging Face, InstaDeepAI/og-marl, folder prior_work/cfcql/smac_v1",
}
FLAGS = ("terminals", "truncations")
KINDS = {"observations": "f", "infos.state": "f", "rewards": "f"}  # of the others: numbers
WHOLE = ("observations", "infos.state", "actions", "infos.legals", "rewards")  # zeros throughout mean that it is lost
FEWEST_EARNING = 0.01  # share of ends with a reward where ends are steps
SLAB = 16_384  # rows read at once


def layout(world: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Leaf -> shape without the leading (1, time)."""
    spec = layout_for(**world).spec
    n = spec.n_agents
    each = dict.fromkeys(("actions", "rewards", *FLAGS), (n,))
    state = (int(np.prod(spec.state_shape)),)
    return {"observations": (n, spec.obs_size), **each, "infos.state": state, "infos.legals": (n, spec.n_actions)}


def load(folder: Path, world: dict[str, Any], source: str = "cfcql") -> TensorDict:
    """The Vault as trajectories, read in slabs.

    Raises ReproduceError for a Vault that is missing, damaged or of another map or view, for NaN, illegal actions,
    rewards that differ between agents, rows that are padding, and for an episode without an end.
    """
    folder = Path(folder)
    found = Vault.opened(folder, PUBLISHED[source])
    n = found.rows_written()
    leaves = {leaf: _leaf(found, leaf, shape, n, world) for leaf, shape in layout(world).items()}
    for leaf in WHOLE:
        if gaps := leaves[leaf].unstored(n):
            raise found.lacking(leaf, *gaps[0])
    flags = {leaf: _flags(leaves[leaf], n) for leaf in FLAGS}
    reward = _team_reward(leaves["rewards"], n)
    columns = _ends(found, leaves, flags, reward, n, world)
    twice = columns.pop("twice")
    parts: list[dict[str, Tensor]] = []
    for at in range(0, n, SLAB):
        times = 1 + twice[at : at + SLAB].long()
        slab = _slab(found, leaves, at, min(at + SLAB, n), world)
        parts.append({key: value.repeat_interleave(times, 0) for key, value in slab.items()})
    columns |= {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return battles.rows_of(str(folder), columns, world)


def _leaf(found: Vault, name: str, shape: tuple[int, ...], n: int, world: dict[str, Any]) -> Leaf:
    leaf = found.leaf(name)
    if len(leaf.shape) < 2 or leaf.shape[0] != 1 or leaf.shape[2:] != shape or not 2 <= n <= leaf.shape[1]:
        raise ReproduceError(
            f"{found.folder}: {name} has shape {list(leaf.shape)} with {n} rows written, expected [1, rows, "
            f"{', '.join(map(str, shape))}] for {world['map_name']}, view {world.get('view', 'plain')}. Is it another "
            "map's or another source's Vault?"
        )
    if leaf.dtype.kind not in KINDS.get(name, "fbiu") or (leaf.dtype.kind == "f" and leaf.dtype.itemsize not in (4, 8)):
        wanted = "float32 or float64" if name in KINDS else "whole numbers"
        raise ReproduceError(f"{found.folder}: {name} has dtype {leaf.dtype}, expected {wanted}.")
    return leaf


def _read(leaf: Leaf, start: int, stop: int) -> Tensor:
    values = leaf.read((0, slice(start, stop)))
    return torch.from_numpy(values.astype(np.int64) if values.dtype.kind == "u" else values)


def _flags(leaf: Leaf, n: int) -> Tensor:
    """[n, agents]"""
    values = _read(leaf, 0, n)
    if (bad := (values != 0) & (values != 1)).any():
        row = int(bad.any(1).nonzero()[0])
        raise ReproduceError(f"{leaf.vault.folder}: {leaf.leaf} in row {row} is {values[row].tolist()}, not 0 or 1.")
    return values != 0


def _team_reward(leaf: Leaf, n: int) -> Tensor:
    """[n]"""
    rewards = _read(leaf, 0, n).float()
    if (apart := (rewards != rewards[:, :1]).any(1)).any():  # NaN too
        row = int(apart.nonzero()[0])
        raise ReproduceError(
            f"{leaf.vault.folder}: the agents' rewards in row {row} are {rewards[row].tolist()}, expected the team's "
            "for each of them."
        )
    return rewards[:, 0].contiguous()


def _ends(
    found: Vault, leaves: dict[str, Leaf], flags: dict[str, Tensor], reward: Tensor, n: int, world: dict[str, Any]
) -> dict[str, Tensor]:
    """reward, terminated, truncated, final of the trajectories' rows, and `twice` [n] bool: rows that give two."""
    spec = layout_for(**world).spec
    timed = flags["truncations"].all(1)
    end = flags["terminals"].all(1) | timed
    ends = end.nonzero().squeeze(-1)
    if not len(ends) or int(ends[-1]) != n - 1:
        raise ReproduceError(
            f"{found.folder}: the episode of the last row has no end: neither all terminals nor all truncations are "
            f"set in row {n - 1}. Was the Vault cut? Fetch it again from {found.published}."
        )
    earning = int((reward[ends] != 0).sum())
    if 0 < earning < FEWEST_EARNING * len(ends):
        row = int(ends[reward[ends] != 0][0])
        raise ReproduceError(
            f"{found.folder}: {earning} of {len(ends)} ends have a reward, first in row {row}: expected none, or at "
            "least some in a hundred. Are ends marked where there is none?"
        )
    final_stored = earning == 0
    lengths = torch.diff(ends, prepend=torch.tensor([-1])) - int(final_stored)  # steps
    for bad, why in (
        (lengths < 1, "has no step: rows of padding?"),
        (lengths > spec.episode_limit, f"has no end within the map's limit of {spec.episode_limit} steps"),
    ):
        if bad.any():
            which = int(bad.nonzero()[0])
            if gaps := leaves["terminals"].unstored(n) if lengths[which] > 0 else []:
                raise found.lacking("terminals", *gaps[0])
            raise ReproduceError(f"{found.folder}: the episode that ends in row {int(ends[which])} {why}.")
    last = torch.zeros(n, dtype=torch.bool)  # the last steps
    last[ends - int(final_stored)] = True
    won = reward[last] > 0.999 * (spec.win_reward or 0.0)
    out = torch.zeros_like(last)
    out[last] = timed[ends] | ((lengths == spec.episode_limit) & ~won)
    twice = torch.zeros_like(last) if final_stored else end
    times = 1 + twice.long()
    final = end if final_stored else _second(twice)

    def rows(value: Tensor) -> Tensor:
        return value.repeat_interleave(times, 0).unsqueeze(-1)

    lived = ~final.unsqueeze(-1)
    return {
        "reward": rows(reward),
        "terminated": rows(last & ~out) & lived,
        "truncated": rows(out) & lived,
        "final": final.unsqueeze(-1),
        "twice": twice,
    }


def _second(twice: Tensor) -> Tensor:
    """[n + number of rows that give two] bool, True at the second of each two."""
    place = torch.arange(len(twice)) + twice.long().cumsum(0)  # of each row's last copy
    final = torch.zeros(len(twice) + int(twice.sum()), dtype=torch.bool)
    final[place[twice]] = True
    return final


def _slab(found: Vault, leaves: dict[str, Leaf], start: int, stop: int, world: dict[str, Any]) -> dict[str, Tensor]:
    spec = layout_for(**world).spec
    obs, state, action, legal = (_read(leaves[leaf], start, stop) for leaf in WHOLE[:4])
    whole = action.long()
    for leaf, bad in (("actions", whole != action), ("infos.legals", (legal != 0) & (legal != 1))):
        if bad.any():
            row = int(bad.flatten(1).any(1).nonzero()[0])
            wanted = "whole numbers" if leaf == "actions" else "0 or 1"
            raise ReproduceError(f"{found.folder}: {leaf} in row {start + row} are not {wanted}.")
    return {
        "obs": obs.float(),
        "state": state.float().reshape(stop - start, *spec.state_shape),
        "legal_actions": legal != 0,
        "action": whole,
    }
