"""Statistics of a dataset, as its manifest states them and as acceptance intervals check them."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

QUANTILES = (5, 25, 50, 75, 95)


def trajectory_episodes(final: Tensor) -> Tensor:
    """final [R, 1] -> [R] int64, the episode of each row; a final row belongs to the one that it ends."""
    last = final.squeeze(-1).long()
    return last.cumsum(0) - last


def trajectory_statistics(trajectories: TensorDict, win_reward: float | None = None) -> dict[str, Any]:
    """`return_statistics` of trajectories, and `n_rows`: final rows count neither as transitions nor as reward."""
    lived = trajectories.select("reward", "terminated", "truncated")
    lived = lived.set("episode", trajectory_episodes(trajectories["final"]))
    stated = return_statistics(lived[~trajectories["final"].squeeze(-1)], win_reward)
    return stated | {"n_rows": len(trajectories)}


def episode_returns(transitions: TensorDict) -> Tensor:
    """Undiscounted return of each episode, [E] float64, in the order of episode ids."""
    _, index = transitions["episode"].unique(return_inverse=True)
    rewards = transitions["reward"].squeeze(-1).double()
    return torch.zeros(int(index.max()) + 1, dtype=torch.float64).index_add_(0, index, rewards)


def return_statistics(transitions: TensorDict, win_reward: float | None = None) -> dict[str, Any]:
    """Counts and spreads for a manifest: n_transitions, n_episodes, n_terminated, n_truncated, return, length; and
    win_rate, the share of episodes that terminate with a reward of `win_reward` or more, where a world has one."""
    lengths = transitions["episode"].unique(return_counts=True)[1].double()
    return {
        "n_transitions": transitions.batch_size[0],
        "n_episodes": len(lengths),
        "n_terminated": int(transitions["terminated"].sum()),
        "n_truncated": int(transitions["truncated"].sum()),
        "return": _spread(episode_returns(transitions)),
        "length": _spread(lengths),
        **({} if win_reward is None else {"win_rate": won(transitions, win_reward).sum().item() / len(lengths)}),
    }


def won(transitions: TensorDict, win_reward: float) -> Tensor:
    """[n] bool, the transitions that end an episode with a win."""
    return (transitions["terminated"] & (transitions["reward"] > 0.999 * win_reward)).squeeze(-1)


def flat_statistics(statistics: dict[str, Any]) -> dict[str, float]:
    """{"return_mean": .., "length_max": .., "n_episodes": ..}: the measures that any dataset has."""
    flat: dict[str, float] = {}
    for key, value in statistics.items():
        flat |= {f"{key}_{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat


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
