"""AlberDICE's released episode buffers: a folder of eight .npy files and meta.json, to and from the schema.

Layout as measured on the release (dematsunaga/alberdice, commit 4d69f0e). N episodes of at most `horizon` steps; the
second axis is time, horizon + 1 long. An episode of T steps fills entries 0..T: entry t < T is a transition; entry T is
its final state with an action that was sampled but never executed, so it is only ever read as "next". The rest is 0.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tensordict import TensorDict

from data.common.errors import ReproduceError
from data.common.foreign import check_regular, read_json
from data.common.spec import Discrete, WorldSpec
from data.layout import Transitions
from data.official.npy import opened
from data.schema import transitions_of
from data.worlds.bridge import GOALS

PUBLISHED = "the repository dematsunaga/alberdice on GitHub, folder buffer/<env>_from_start/buffer_<id>/"
World = Literal["bridge", "matrix"]
HORIZON = 50
# world -> (agents, state size, actions); obs equals state
SIZES = {"bridge": (2, 8, 5), "matrix": (2, 4, 2)}


def layout(world: World, n_episodes: int, horizon: int = HORIZON) -> dict[str, tuple[str, tuple[int, ...]]]:
    """File name -> (dtype, shape)."""
    (agents, state, actions), axes = SIZES[world], (n_episodes, horizon + 1)
    return {
        "state.npy": ("float32", (*axes, state)),
        "obs.npy": ("float32", (*axes, agents, state)),
        "actions.npy": ("int64", (*axes, agents, 1)),
        "actions_onehot.npy": ("float32", (*axes, agents, actions)),
        "avail_actions.npy": ("int32", (*axes, agents, actions)),
        "reward.npy": ("float32", (*axes, 1)),
        "terminated.npy": ("uint8", (*axes, 1)),
        "filled.npy": ("int64", (*axes, 1)),
    }


def _layout(world: World, horizon: int) -> Transitions:
    n_agents, size, n_actions = SIZES[world]
    return Transitions(WorldSpec(n_agents, size, size, Discrete(n_actions), episode_limit=horizon))


def file_size(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of an .npy file: a header of 128 and the numbers."""
    return 128 + int(np.prod(shape)) * np.dtype(dtype).itemsize


def _read_meta(path: Path) -> int:
    """Number of episodes."""
    try:
        check_regular(path, path.parent)
        count = read_json(path)["episodes_in_buffer"]
    except FileNotFoundError:
        raise ReproduceError(f"{path} is missing. Published in {PUBLISHED}.") from None
    except (KeyError, TypeError, IndexError) as error:
        raise ReproduceError(f"{path} is not the buffer's meta.json (needs episodes_in_buffer): {error!r}.") from error
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ReproduceError(f"{path}: episodes_in_buffer is {count!r}, expected a whole number of at least 1.")
    return count


def _read(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """One array, checked."""
    wanted = f"expected {dtype} {list(shape)}, {file_size(dtype, shape)} bytes"
    array = opened(path, wanted, PUBLISHED)
    if array.dtype.newbyteorder("=") != np.dtype(dtype) or array.shape != shape:
        raise ReproduceError(f"{path} is {array.dtype} {list(array.shape)}, {wanted}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        episode, entry = np.argwhere(~np.isfinite(array))[0][:2]
        raise ReproduceError(f"{path} is NaN or infinite first in episode {episode}, entry {entry}.")
    return np.array(array, dtype)


def _where(bad: np.ndarray) -> str:
    """First True of [N, ...] in words."""
    return f"first in episode {int(np.argwhere(bad)[0][0])}"


def _lengths(folder: Path, terminated: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """T of each episode, [N] int64. terminated, filled: [N, horizon + 1]."""
    if (bad := terminated > 1).any():
        raise ReproduceError(f"{folder}/terminated.npy: {_where(bad)} it is {terminated[bad][0]}, expected 0 or 1.")
    ends = (terminated != 0).sum(1)
    if (ends != 1).any():
        raise ReproduceError(
            f"{folder}/terminated.npy: {_where(ends != 1)} there are {ends[np.argmax(ends != 1)]} ends, expected 1: "
            "an episode that never terminates has no final state to read."
        )
    lengths = terminated.argmax(1) + 1
    expected = np.arange(filled.shape[1]) <= lengths[:, None]
    if (lengths == filled.shape[1]).any() or (filled != expected).any():
        bad = (lengths == filled.shape[1]) | (filled != expected).any(1)
        raise ReproduceError(
            f"{folder}/filled.npy: {_where(bad)} it is not 1 for the T + 1 entries up to the final state."
        )
    return lengths


def load(folder: Path, world: World, horizon: int = HORIZON) -> TensorDict:
    """The folder's transitions in the schema, episodes in file order.

    The files mark success and time-out alike; they are told apart here: Bridge terminated when both agents stand on
    their goals in the final state, a matrix game when it is one step long (data.worlds.matrix); else it is truncated.
    Raises ReproduceError for a file that is missing, damaged, pickled or of another shape or dtype, for NaN, for an
    action that is out of range or disagrees with its one-hot copy, and for an episode without exactly one end.
    """
    folder = Path(folder)
    n_episodes = _read_meta(folder / "meta.json")
    files = {name: _read(folder / name, *want) for name, want in layout(world, n_episodes, horizon).items()}
    n_actions = SIZES[world][2]
    actions = files["actions.npy"][..., 0]  # [N, horizon + 1, agents]
    if (bad := (actions < 0) | (actions >= n_actions)).any():
        raise ReproduceError(
            f"{folder}/actions.npy: {_where(bad)} an action is {actions[bad][0]}, expected 0..{n_actions - 1}."
        )
    lengths = _lengths(folder, files["terminated.npy"][..., 0], files["filled.npy"][..., 0])
    is_step = np.arange(horizon) < lengths[:, None]  # [N, horizon]
    onehot = np.eye(n_actions, dtype=np.float32)[actions]
    if (bad := (onehot != files["actions_onehot.npy"]).any((2, 3))[:, :horizon] & is_step).any():
        raise ReproduceError(f"{folder}/actions_onehot.npy: {_where(bad)} it disagrees with actions.npy.")

    def now(name: str) -> torch.Tensor:
        return torch.from_numpy(files[name][:, :horizon][is_step])

    def then(name: str) -> torch.Tensor:
        return torch.from_numpy(files[name][:, 1:][is_step])

    episode, step = (torch.from_numpy(axis) for axis in np.nonzero(is_step))
    last = now("terminated.npy") != 0  # [n, 1]
    if world == "bridge":
        success = (then("state.npy")[:, [0, 1, 4, 5]] == torch.tensor([*GOALS[0], *GOALS[1]])).all(1, keepdim=True)
    else:
        success = torch.full_like(last, horizon == 1)
    transitions = transitions_of(
        {
            "obs": now("obs.npy"),
            "state": now("state.npy"),
            "legal_actions": now("avail_actions.npy") != 0,
            "action": now("actions.npy").squeeze(-1),
            "reward": now("reward.npy"),
            "terminated": last & success,
            "truncated": last & ~success,
            "next.obs": then("obs.npy"),
            "next.state": then("state.npy"),
            "next.legal_actions": then("avail_actions.npy") != 0,
            "episode": episode,
            "step": step,
        }
    )
    _layout(world, horizon).check(transitions)
    return transitions
