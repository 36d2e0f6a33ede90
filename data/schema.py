"""The one TensorDict layout that every source is converted into, its check, and its statistics.

A flat batch of n transitions, batch_size [n]; N agents, O observation size, St state size, A actions:

    obs             [n, N, O]  float32     action      [n, N]  int64, index of a discrete action
    state           [n, St]    float32     reward      [n, 1]  float32, team reward
    legal_actions   [n, N, A]  bool        terminated  [n, 1]  bool, the task ended
    next: obs, state, legal_actions        truncated   [n, 1]  bool, a time limit ended the episode
    episode         [n]        int64       step        [n]     int64, 0 at the start of an episode

`terminated` and `truncated` are never merged: whether a time limit bootstraps is for a row's protocol to say.

Where every agent's observation follows from one vector of features (multi-agent MuJoCo: data.observe), the features are
stored once, as rows: an episode of T transitions is T + 1 rows, the last being the state it ended in.

    features    [R, F]     float32     terminated, truncated  [R, 1]  bool, of the transition that starts here
    action      [R, N, A]  float32     final                  [R, 1]  bool, no transition starts here
    reward      [R, 1]     float32     rewards [R, N] float32, only in worlds whose agents have their own (reward: mean)
                                       action, rewards and both ends are 0 in final rows

A transition's `next` is the row after it; `obs`, `state` and `next` are derived from a sampled chunk.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError

QUANTILES = (5, 25, 50, 75, 95)
ACTION_LIMIT = 10.0  # Gaussian behavior policies leave [-1, 1] by a few deviations


def layout(n_agents: int, obs_size: int, state_size: int, n_actions: int) -> dict[str, tuple[torch.dtype, tuple]]:
    """Flat key -> (dtype, shape without the leading n)."""
    seen = {
        "obs": (torch.float32, (n_agents, obs_size)),
        "state": (torch.float32, (state_size,)),
        "legal_actions": (torch.bool, (n_agents, n_actions)),
    }
    return {
        **seen,
        "action": (torch.int64, (n_agents,)),
        "reward": (torch.float32, (1,)),
        "terminated": (torch.bool, (1,)),
        "truncated": (torch.bool, (1,)),
        **{f"next.{key}": value for key, value in seen.items()},
        "episode": (torch.int64, ()),
        "step": (torch.int64, ()),
    }


def flatten(transitions: TensorDict) -> dict[str, Tensor]:
    """{"obs": .., "next.obs": ..}: the keys of files and of messages."""
    return dict(transitions.flatten_keys(".").items())


def unflatten(tensors: dict[str, Tensor]) -> TensorDict:
    """Inverse of `flatten`; n is the length of `episode`. Raises ReproduceError when that key is missing."""
    if "episode" not in tensors:
        raise ReproduceError(f"transitions without the key episode; found {sorted(tensors)}.")
    return TensorDict(tensors, batch_size=[len(tensors["episode"])]).unflatten_keys(".")


def _first(bad: Tensor) -> int:
    """Row of the first True in [n, ...]."""
    return int(bad.flatten(1).any(1).nonzero()[0, 0])


def validate(transitions: TensorDict, n_agents: int, obs_size: int, n_actions: int) -> None:
    """Raise ReproduceError at the first key whose presence, dtype, shape or values are not the layout above.

    Values: no NaN or infinity in a float key, every action a legal one, at least one legal action per agent.
    The state size is read from `state`; everything else is expected as given.
    """
    n = transitions.batch_size[0] if transitions.batch_dims == 1 else 0
    if n == 0:
        raise ReproduceError(f"transitions: batch size {list(transitions.batch_size)}, expected [n] with n > 0.")
    found = flatten(transitions)
    state_size = found["state"].shape[-1] if "state" in found and found["state"].ndim else 0
    for key, (dtype, shape) in layout(n_agents, obs_size, state_size, n_actions).items():
        if key not in found:
            raise ReproduceError(
                f"transitions: key {key} is missing, expected {dtype} [{n}, ...]; {sorted(found)} found."
            )
        value, expected = found[key], (n, *shape)
        if value.dtype != dtype or tuple(value.shape) != expected:
            raise ReproduceError(
                f"transitions: {key} is {value.dtype} {list(value.shape)}, expected {dtype} {list(expected)}."
            )
        if dtype == torch.float32 and not value.isfinite().all():
            raise ReproduceError(f"transitions: {key} is NaN or infinite first in row {_first(~value.isfinite())}.")
    for key in ("legal_actions", "next.legal_actions"):
        stuck = ~found[key].any(-1)  # [n, N]
        # No action follows a terminal state, so nothing need be legal there.
        stuck = stuck & ~found["terminated"] if key.startswith("next.") else stuck
        if stuck.any():
            raise ReproduceError(f"transitions: {key} leaves an agent without any action first in row {_first(stuck)}.")
    action = found["action"]  # [n, N]
    legal = found["legal_actions"].gather(-1, action.clamp(0, n_actions - 1).unsqueeze(-1)).squeeze(-1)
    illegal = ~legal | (action < 0) | (action >= n_actions)
    if illegal.any():
        row = _first(illegal)
        raise ReproduceError(
            f"transitions: action is illegal first in row {row}: {action[row].tolist()}, "
            f"expected an index in 0..{n_actions - 1} allowed by legal_actions."
        )


def rows_layout(
    n_features: int, n_agents: int, action_size: int, individual: bool = False
) -> dict[str, tuple[torch.dtype, tuple]]:
    """Key of rows -> (dtype, shape without the leading R). `individual`: agents have rewards of their own."""
    flags = dict.fromkeys(("terminated", "truncated", "final"), (torch.bool, (1,)))
    return {
        "features": (torch.float32, (n_features,)),
        "action": (torch.float32, (n_agents, action_size)),
        "reward": (torch.float32, (1,)),
        **({"rewards": (torch.float32, (n_agents,))} if individual else {}),
        **flags,
    }


def rows_from(tensors: dict[str, Tensor]) -> TensorDict:
    """Rows of loaded tensors. Raises ReproduceError when `features` is missing."""
    if "features" not in tensors:
        raise ReproduceError(f"rows without the key features; found {sorted(tensors)}.")
    return TensorDict(tensors, batch_size=[len(tensors["features"])])


def validate_rows(rows: TensorDict, n_features: int, n_agents: int, action_size: int, individual: bool = False) -> None:
    """Raise ReproduceError at the first key whose presence, dtype, shape or values are not the layout of rows.

    Values: no NaN or infinity, actions within +-ACTION_LIMIT, the last row final, an end only before a final row.
    """
    n = len(rows)
    if n < 2:
        raise ReproduceError(f"rows: {n} of them, a transition needs two.")
    for key, (dtype, shape) in rows_layout(n_features, n_agents, action_size, individual).items():
        value = rows.get(key, None)
        if value is None:
            raise ReproduceError(f"rows: key {key} is missing; {sorted(rows.keys())} found.")
        if value.dtype != dtype or tuple(value.shape) != (n, *shape):
            found = f"{value.dtype} {list(value.shape)}"
            raise ReproduceError(f"rows: {key} is {found}, expected {dtype} {[n, *shape]}.")
        if dtype == torch.float32 and not value.sum().isfinite() and not value.isfinite().all():
            raise ReproduceError(f"rows: {key} is NaN or infinite first in row {_first(~value.isfinite())}.")
    if rows["action"].abs().max() > ACTION_LIMIT:
        row = _first(rows["action"].abs() > ACTION_LIMIT)
        raise ReproduceError(
            f"rows: the action in row {row} is {rows['action'][row].flatten().tolist()}; actions are meant for "
            f"[-1, 1], and beyond +-{ACTION_LIMIT:g} they are taken for another unit."
        )
    final, ends = rows["final"].squeeze(-1), (rows["terminated"] | rows["truncated"]).squeeze(-1)
    broken = ends & ~torch.cat([final[1:], final[-1:]])
    if not final[-1] or (ends & final).any() or broken.any():
        raise ReproduceError("rows: an episode's end must be followed by its final row, and the last row be final.")


def row_episodes(final: Tensor) -> Tensor:
    """final [R, 1] -> [R] int64, the episode of each row; a final row belongs to the one that it ends."""
    last = final.squeeze(-1).long()
    return last.cumsum(0) - last


def row_statistics(rows: TensorDict) -> dict:
    """`return_statistics` of rows: final rows count neither as transitions nor as reward."""
    lived = rows.select("reward", "terminated", "truncated").set("episode", row_episodes(rows["final"]))
    return return_statistics(lived[~rows["final"].squeeze(-1)]) | {"n_rows": len(rows)}


def _spread(values: Tensor) -> dict[str, float]:
    """Mean, std (ddof 0), extremes and quantiles of [E] float64."""
    marks = torch.quantile(values, torch.tensor(QUANTILES, dtype=values.dtype) / 100).tolist()
    return {
        "mean": values.mean().item(),
        "std": values.std(correction=0).item(),
        "min": values.min().item(),
        "max": values.max().item(),
        **{f"p{q}": mark for q, mark in zip(QUANTILES, marks, strict=True)},
    }


def episode_returns(transitions: TensorDict) -> Tensor:
    """Undiscounted return of each episode, [E] float64, in the order of episode ids."""
    _, index = transitions["episode"].unique(return_inverse=True)
    rewards = transitions["reward"].squeeze(-1).double()
    return torch.zeros(int(index.max()) + 1, dtype=torch.float64).index_add_(0, index, rewards)


def return_statistics(transitions: TensorDict) -> dict:
    """Counts and spreads for a manifest: n_transitions, n_episodes, n_terminated, n_truncated, return, length."""
    lengths = transitions["episode"].unique(return_counts=True)[1].double()
    return {
        "n_transitions": transitions.batch_size[0],
        "n_episodes": len(lengths),
        "n_terminated": int(transitions["terminated"].sum()),
        "n_truncated": int(transitions["truncated"].sum()),
        "return": _spread(episode_returns(transitions)),
        "length": _spread(lengths),
    }
