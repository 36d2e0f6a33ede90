"""OMAR's datasets, folders `datasets/<env>/<kind>/seed_<k>_data/` of .npy files, to and from trajectories.

Per agent j, the prey of simple_tag and simple_world being the last: `obs_j`, `next_obs_j` [M, O_j], `acs_j` [M, A],
`rews_j`, `dones_j` [M], float32 or float64; HalfCheetah also has `states_j`, `next_states_j` [M, F]. A row of the files
is a transition. Episodes have 25 steps (HalfCheetah: 1000) and follow one another; `dones_j` may be zero throughout, so
ends are told by position, and they are time limits. k is one of five training runs, each with data of its own.

Of a particle world the files hold no state: positions and velocities are what each agent sees of itself, landmarks what
the first agent sees; every agent's whole view must then follow from them. A sample of moves and rewards is played again
(data.official.replay). Of HalfCheetah the features are `states_0`; that `obs_j` are parts of them, in which order, is
not verified, nor is it that the other agents' states are equal.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.common.files import write_with
from data.common.spec import WorldSpec
from data.layout import Trajectories
from data.official import replay
from data.official.npy import opened
from data.schema import trajectories_of
from data.statistics import trajectory_episodes
from data.worlds import make_world, mamujoco, mpe
from data.worlds.mamujoco import view_sizes
from data.worlds.mpe import PUBLISHED_PREY, Physics, rules_of

PUBLISHED = "the Google Drive and Baidu folders that the README of ling-pan/OMAR on GitHub links"
SEEDS = range(5)
SEED = re.compile(r"(?<=seed_)\d+(?=_data)")
PREY = "../../pretrained_adv_model.pt"  # from the dataset's folder
SLAB = 4096  # rows read at once, about: what bounds the memory beyond the rows themselves
TOLERANCE = 3e-5  # of float32 views, relative to 1 + their size


def with_seed(path: str, seed: int) -> str:
    """`path` of the registry with another dataset seed. Raises ReproduceError unless it is one of SEEDS."""
    if seed not in SEEDS:
        known = ", ".join(map(str, SEEDS))
        raise ReproduceError(f"data.seed={seed}: OMAR's dataset seeds are {known}; without it {path} is read.")
    return SEED.sub(str(seed), path)


def needs_prey(world: dict) -> bool:
    """Whether someone acts in the world who does not learn."""
    return world["name"] == "mpe" and len(rules_of(world["scenario"]).sizes) > rules_of(world["scenario"]).n_learners


def world_params(folder: Path, world: dict) -> dict[str, str]:
    """Parameters of the world that the data are from, that the files decide: the official prey beside them."""
    return {"prey": str(folder.resolve().parents[1] / Path(PREY).name)} if needs_prey(world) else {}


def files(official: dict, world: dict) -> dict[str, str]:
    """Names below the dataset's folder -> what they are."""
    found = {name: _wanted(shape, world) for name, shape in layout(world).items()}
    if needs_prey(world):
        where = PUBLISHED_PREY.format(scenario=world["scenario"])
        found[PREY] = f"the official prey, without which {world['scenario']} cannot be played: {where}"
    return found


def layout(world: dict) -> dict[str, tuple[int, ...]]:
    """File name -> shape without the leading M."""
    kinds: dict[str, Any] = {"acs": (2,), "rews": (), "dones": ()}
    if world["name"] == "mamujoco":
        n_agents, action_size, n_features, _ = view_sizes(world["scenario"], world["agent_conf"])
        kinds["acs"] = (action_size,)
        kinds |= {f"{now}states": (n_features,) for now in ("", "next_")}
        widths = [2 * action_size] * n_agents  # positions and velocities of its own joints
    else:
        physics = Physics(world["scenario"])
        bodies, marks = torch.zeros(physics.n_bodies, 2), torch.zeros(physics.n_landmarks, 2)
        widths = [len(view) for view in physics.views(bodies, bodies, marks)]
    shapes = {}
    for j, width in enumerate(widths):
        shapes |= {f"{kind}_{j}.npy": (width,) for kind in ("obs", "next_obs")}
        shapes |= {f"{kind}_{j}.npy": shape for kind, shape in kinds.items()}
    return shapes


def _spec(world: dict) -> WorldSpec:
    params = {key: value for key, value in world.items() if key not in ("name", "prey")}
    return mamujoco.spec_of(**params) if world["name"] == "mamujoco" else mpe.spec_of(**params)


def _limit(world: dict) -> int:
    return world.get("episode_limit", 1000 if world["name"] == "mamujoco" else 25)


def _wanted(shape: tuple[int, ...], world: dict) -> str:
    sizes = ", ".join(map(str, ("M", *shape)))
    return f"expected float32 or float64 [{sizes}] with M a multiple of {_limit(world)}"


def _opened(folder: Path, world: dict) -> tuple[dict[str, np.ndarray], int]:
    """({file name: mapped array}, M)"""
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in folder.parent.glob("seed_*_data"))) or "none"
        known = ", ".join(map(str, SEEDS))
        raise ReproduceError(
            f"{folder} is missing; dataset seeds beside it: {there}, published: {known}. Published in {PUBLISHED}."
        )
    arrays, n = {}, None
    for name, shape in layout(world).items():
        path, wanted = folder / name, _wanted(shape, world)
        array = opened(path, wanted, PUBLISHED)
        if array.dtype.kind not in ("fbiu" if name.startswith("dones") else "f"):
            raise ReproduceError(f"{path} has dtype {array.dtype}, {wanted}.")
        if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
            raise ReproduceError(f"{path} has dtype {array.dtype}, {wanted}: were the numbers rounded on the way?")
        if array.ndim == 0 or array.shape[1:] != shape:
            raise ReproduceError(
                f"{path} is {list(array.shape)}, {wanted} for {world['scenario']}. Is it another scenario's file?"
            )
        n = len(array) if n is None else n
        if len(array) != n:
            raise ReproduceError(f"{path} has {len(array)} rows, {folder}/obs_0.npy has {n}: not one download.")
        arrays[name] = array
    if not n or n % _limit(world):
        raise ReproduceError(
            f"{folder}: {n} rows, expected a multiple of {_limit(world)}, the steps of an episode: "
            f"the files are cut short or another environment's. Fetch them again from {PUBLISHED}."
        )
    return arrays, n


class _Slab:
    """Whole episodes of the files, {name: [e, limit, ..] float64}, from row `at` on; knows how to say where."""

    def __init__(self, folder: Path, at: int, values: dict[str, Tensor]):
        self.folder, self.at, self.values = folder, at, values

    def refuse(self, name: str, bad: Tensor, why: str) -> None:
        """bad [e, limit, ..] of file `name`, or [e, limit + 1, ..], the last being the state the episode ended in."""
        if not bad.any():
            return
        length = self.values[name].shape[1]
        e, t = bad.flatten(2).any(-1).nonzero()[0].tolist() if bad.ndim > 2 else bad.nonzero()[0].tolist()
        file = name if t < length else f"next_{name}"
        raise ReproduceError(f"{self.folder}/{file} {why} first in row {self.at + e * length + min(t, length - 1)}.")

    def states(self, name: str) -> Tensor:
        """`obs_j.npy` or `states_j.npy` with each episode's last state, [e, limit + 1, ..], after checking `next`."""
        now, after = self.values[name], self.values[f"next_{name}"]
        apart = (after[:, :-1] - now[:, 1:]).abs() > TOLERANCE * (1 + now[:, 1:].abs())
        length = now.shape[1]
        why = f"is not the next state of the row before it (episodes of {length} steps, in order),"
        self.refuse(name, torch.cat([torch.zeros_like(apart[:, :1]), apart], 1), why)
        return torch.cat([now, after[:, -1:]], 1)


def load(folder: Path, world: dict) -> TensorDict:
    """The folder as trajectories, read in slabs. `world` is {"name": .., and the world's parameters}.

    Raises ReproduceError for a file that is missing, damaged, pickled or of another scenario, for lengths that differ
    or hold no whole episodes, for NaN, actions outside [-1, 1], an end before the time limit, a next state that is not
    the following row's, and views that do not come from one state.
    """
    folder = Path(folder)
    arrays, n = _opened(folder, world)
    limit, particles = _limit(world), world["name"] == "mpe"
    n_agents = sum(name.startswith("obs_") for name in arrays)
    learners = list(range(rules_of(world["scenario"]).n_learners if particles else n_agents))
    parts: list[dict[str, Tensor]] = []
    for slab in _slabs(folder, arrays, n, limit):
        for name, values in slab.values.items():
            slab.refuse(name, ~values.isfinite(), "is NaN or infinite")
            if name.startswith("acs"):
                slab.refuse(name, values.abs() > 1 + TOLERANCE, "leaves [-1, 1]")
            if name.startswith("dones"):
                slab.refuse(name, (values != 0) & (values != 1), "is neither 0 nor 1")
                early = (values != 0) & (torch.arange(limit) < limit - 1)
                slab.refuse(name, early, f"marks an end before the time limit of {limit} steps")
        seen = [slab.states(f"obs_{j}.npy") for j in range(n_agents)]
        features = _features(slab, seen, world["scenario"]) if particles else slab.states("states_0.npy").float()
        earned = torch.stack([slab.values[f"rews_{j}.npy"] for j in learners], -1)
        action = torch.stack([slab.values[f"acs_{j}.npy"] for j in learners], -2)
        parts.append({"features": features, "action": _ended(action), "rewards": _ended(earned)})
    made = {key: torch.cat([part[key] for part in parts]).flatten(0, 1) for key in parts[0]}
    made["reward"] = made["rewards"].mean(-1, keepdim=True)
    step = (torch.arange(len(made["reward"])) % (limit + 1)).unsqueeze(-1)
    made |= {"terminated": step < 0, "truncated": step == limit - 1, "final": step == limit}
    if not particles:
        del made["rewards"]  # all are the team's
    rows = trajectories_of(made)
    try:
        Trajectories(_spec(world)).check(rows)
    except ReproduceError as error:
        raise ReproduceError(f"{folder}: {error}") from error
    if particles:
        replay.particles(folder, arrays, world["scenario"], limit)
    return rows


def replayed(folder: Path, world: dict) -> dict[str, Any] | None:
    """How many recorded transitions of a sample the world repeats, where one can tell, and the share of episodes whose
    last step `dones` marks: a row's `time_limits` decides whether it ends the bootstrap, whatever the files mark."""
    arrays, limit = _opened(folder, world)[0], _limit(world)
    marked = {"ends_marked": round(float(np.mean(arrays["dones_0.npy"][limit - 1 :: limit] != 0)), 4)}
    particles = world["name"] == "mpe"
    return (replay.particles(folder, arrays, world["scenario"], limit) if particles else {}) | marked


def _slabs(folder: Path, arrays: dict[str, np.ndarray], n: int, limit: int) -> Iterator[_Slab]:
    size = max(1, SLAB // limit) * limit
    for at in range(0, n, size):
        values = {k: torch.from_numpy(a[at : at + size].astype(np.float64)) for k, a in arrays.items()}
        yield _Slab(folder, at, {k: v.unflatten(0, (-1, limit)) for k, v in values.items()})


def _ended(values: Tensor) -> Tensor:
    """[e, limit, ..] with the zeros of final rows, [e, limit + 1, ..] float32."""
    return torch.cat([values, torch.zeros_like(values[:, :1])], 1).float()


def _features(slab: _Slab, seen: list[Tensor], scenario: str) -> Tensor:
    """seen[j] [e, limit + 1, O_j] -> features [e, limit + 1, F] float32, from which every view follows again."""
    physics = Physics(scenario)
    vel, pos = (torch.stack([view[..., at : at + 2] for view in seen], -2) for at in (0, 2))
    landmarks = seen[0][..., 4 : 4 + 2 * physics.n_landmarks].unflatten(-1, (-1, 2)) + pos[..., :1, :]
    pos, vel, landmarks = (part.float().double() for part in (pos, vel, landmarks))  # as rows keep them
    for j, view in enumerate(physics.views(pos, vel, landmarks)):
        bad = (seen[j] - view).abs() > TOLERANCE * (1 + view.abs())
        if scenario == "simple_world":  # at the very edge of a forest float32 cannot tell in from out
            edge = (landmarks[..., 3:, :] - pos[..., j : j + 1, :]).norm(dim=-1)
            edge = (edge - physics.sizes[j] - physics.landmark_sizes[3:]).abs() < TOLERANCE
            bad[..., -2:] &= ~edge
        slab.refuse(f"obs_{j}.npy", bad, f"is no view of one state of {scenario} (another environment's data?)")
    return torch.cat([part.flatten(-2) for part in (pos, vel, landmarks)], -1).float()


def write(rows: TensorDict, folder: Path, world: dict, exact: bool = False) -> None:
    """A particle world's rows in OMAR's layout, float32; `load` gives them back to float32's precision.

    `exact`: in float64, from which they come back to the bit.

    The prey acts by the policy of `world`; its rewards, which rows do not have, and all `dones` are written as zeros.
    Raises ReproduceError where an episode is not `episode_limit` steps long.
    """
    made = make_world(n_worlds=1, **world)
    made.layout.check(rows)
    now = (~rows["final"].squeeze(-1)).nonzero().squeeze(-1)
    lengths = trajectory_episodes(rows["final"]).bincount() - 1
    if (lengths != made.episode_limit).any():
        e = int((lengths != made.episode_limit).nonzero()[0, 0])
        raise ReproduceError(
            f"episode {e} has {int(lengths[e])} steps; this layout tells episodes by their {made.episode_limit} steps."
        )

    def column(kind: str, j: int, at: Tensor) -> Tensor:
        """What agent j's file holds of the transitions that start in rows `at`."""
        prey = j >= made.n_agents
        if kind == "dones" or (kind == "rews" and prey):
            return torch.zeros(len(at))
        if kind in ("acs", "rews") and not prey:
            return rows["action" if kind == "acs" else "rewards"][at, j]
        state = made.parts(rows["features"][at + 1 if kind == "next_obs" else at].double())
        view = made.physics.views(*state)[j]
        return made.prey(view) if kind == "acs" else view

    descr = "<f8" if exact else "<f4"
    for name, shape in layout(world).items():
        kind, j = name.removesuffix(".npy").rsplit("_", 1)

        def save(partial: Path, kind: str = kind, j: int = int(j), shape: tuple[int, ...] = shape) -> None:
            header = {"descr": descr, "fortran_order": False, "shape": (len(now), *shape)}
            with open(partial, "wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for at in now.split(SLAB):
                    file.write(column(kind, j, at).numpy().astype(descr).tobytes())

        write_with(Path(folder) / name, save)
