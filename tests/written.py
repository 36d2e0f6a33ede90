"""Official layouts as their authors' programs write them, which the readers of data/official give back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from data.common.files import write_json
from data.official import smac_vault as reader
from data.official import vault
from data.official.alberdice import HORIZON, SIZES, World
from data.official.alberdice import layout as files_of
from data.official.smac_h5 import shapes
from data.schema import flatten
from data.worlds import layout_for


def alberdice(transitions: TensorDict, folder: Path, world: World, horizon: int = HORIZON) -> None:
    """Transitions of whole episodes; the unexecuted action of entry T is written as 0 (the schema has none)."""
    n_actions = SIZES[world][2]
    numbers, episode = transitions["episode"].unique(return_inverse=True)
    step, last = transitions["step"], (transitions["terminated"] | transitions["truncated"]).squeeze(-1)
    lengths = torch.bincount(episode)  # [N]
    wanted = files_of(world, len(numbers), horizon)
    files = {name: np.zeros(shape, dtype) for name, (dtype, shape) in wanted.items()}
    e, t, end = episode.numpy(), step.numpy(), last.numpy()
    now = {"state.npy": "state", "obs.npy": "obs", "avail_actions.npy": "legal_actions", "reward.npy": "reward"}
    for name, key in now.items():
        files[name][e, t] = transitions[key].numpy()  # type: ignore
        if name != "reward.npy":
            files[name][e[end], t[end] + 1] = transitions["next", key][last].numpy()  # type: ignore
    files["actions.npy"][e, t, :, 0] = transitions["action"].numpy()  # type: ignore
    files["terminated.npy"][e, t, 0] = end  # type: ignore
    files["filled.npy"][..., 0] = np.arange(horizon + 1) <= lengths.numpy()[:, None]
    filled = files["filled.npy"][..., None] != 0
    files["actions_onehot.npy"][:] = np.eye(n_actions, dtype=np.float32)[files["actions.npy"][..., 0]] * filled

    folder.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        np.save(folder / name, array, allow_pickle=False)
    count = len(numbers)
    write_json(folder / "meta.json", {"buffer_index": 0, "episodes_in_buffer": count, "buffer_size": count})


def madt(rows: TensorDict, folder: Path) -> None:
    """Trajectories in this layout, values in lists and `done` at the last step; the final states are left out."""
    folder.mkdir(parents=True)
    lengths = torch.diff(rows["final"].squeeze(-1).nonzero().squeeze(-1), prepend=torch.tensor([-1])).tolist()
    for number, episode in enumerate(rows.split(lengths)):
        lived, n_agents = flatten(episode[:-1]), episode["action"].shape[1]  # type: ignore[arg-type]
        steps = zip(
            *(lived[key].tolist() for key in ("state", "obs", "action", "reward", "legal_actions")), strict=True
        )
        agents: list[list] = [[] for _ in range(n_agents)]
        for t, (state, obs, action, reward, legal) in enumerate(steps):
            for i, agent in enumerate(agents):
                agent.append([state[i], obs[i], [action[i]], reward, t == len(episode) - 2, [int(x) for x in legal[i]]])
        torch.save(agents, folder / f"{number:05d}")


def smac_h5(rows: TensorDict, path: Path, world: dict[str, Any], onehot: bool = False) -> None:
    """Trajectories in this layout, `load` gives them back; `onehot`: as ICQ stores them."""
    limit, final = layout_for(**world).spec.episode_limit, rows["final"].squeeze(-1)
    lengths = torch.diff(final.nonzero().squeeze(-1), prepend=torch.tensor([-1])).tolist()  # rows of each
    kinds = {"actions": "i8", "avail_actions": "i4", "terminated": "u1", "filled": "i8"}
    names = {"actions": "action", "avail_actions": "legal_actions"}
    padded = {
        key: np.zeros((len(lengths), limit + 1, *shape), kinds.get(key, "f4")) for key, shape in shapes(world).items()
    }
    for e, episode in enumerate(rows.split(lengths)):
        for key, array in padded.items():
            values: torch.Tensor = torch.ones(len(episode), 1)
            if key != "filled":
                values = episode[names.get(key, key)]
            array[e, : len(episode)] = np.asarray(values).reshape(len(episode), *array.shape[2:])
    if onehot:
        padded["actions_onehot"] = np.eye(padded["avail_actions"].shape[-1], dtype="f4")[padded["actions"][..., 0]]
    with pytest.importorskip("h5py").File(path, "w") as file:
        for key, array in padded.items():
            file.create_dataset(key, data=array, compression="gzip")


def smac_vault(rows: TensorDict, folder: Path, world: dict[str, Any], final: bool = False) -> None:
    """Trajectories as a Vault in a folder that does not exist yet. `final`: with the states after the ends, and ends
    marked there; else without them, marked in the last steps."""
    n_agents, final_row = rows["action"].shape[1], rows["final"].squeeze(-1)
    mark = rows["final"] if final else rows["terminated"] | rows["truncated"]
    kept: Any = rows if final else rows[~final_row]
    mark = mark if final else mark[~final_row]
    each = (len(kept), n_agents)
    values = {
        "observations": kept["obs"].numpy(), "actions": kept["action"].int().numpy(),
        "rewards": kept["reward"].expand(each).numpy(), "terminals": mark.expand(each).numpy(),
        "truncations": np.zeros(each, bool), "infos.state": kept["state"].flatten(1).numpy(),
        "infos.legals": kept["legal_actions"].float().numpy(),
    }  # fmt: skip
    assert {leaf: value.shape[1:] for leaf, value in values.items()} == reader.layout(world)
    vault.write(values, folder)
