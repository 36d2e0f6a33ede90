"""The one TensorDict layout that updates read, and the two ways in which experience is stored (data.layout).

A minibatch is a TensorDict of transitions; N agents, O observation size, St state size, A actions or numbers of one:

    obs             [.., N, O]  float32     action      [.., N] int64, index of a discrete action, or [.., N, A] float32
    state           [.., St]    float32     reward      [.., 1] float32, team reward
    legal_actions   [.., N, A]  bool        rewards     [.., N] float32, in worlds whose agents have their own
    next: obs, state, legal_actions,        terminated  [.., 1] bool, the task ended
          action                            truncated   [.., 1] bool, a time limit ended the episode

`state` is [.., N, St] where every agent has one of its own; `legal_actions` are there where actions are discrete.
Derived where an algorithm reads them, and never stored: the next action, 0 after an episode's last transition;
`return_to_go` [.., 1], the undiscounted sum of the team's rewards from a transition to the end of its episode; and
`is_init` [.., 1] bool, an episode's first transition.
`terminated` and `truncated` are never merged: whether a time limit bootstraps is for a row's protocol to say.

Transitions [n] are stored as they are read, with two keys more: `episode` [n] int64 and `step` [n] int64, 0 at the
start of an episode.

Trajectories [R] store every state once: an episode of T transitions is T + 1 rows, the last being the state it ended
in, and a transition's `next` is the row after it. Where everything seen follows from one vector (`world.observe`), that
vector stands for obs and state:

    features    [R, F]  float32     terminated, truncated  [R, 1]  bool, of the transition that starts here
    action      [R, N, A]           final                  [R, 1]  bool, no transition starts here
    reward      [R, 1]              rewards                [R, N]  in worlds whose agents have their own (reward: mean)

Action, rewards and both ends are 0 in final rows.

A sequence [.., T] is T transitions of one episode in order; `mask` [.., T, 1] bool is False in steps beyond the
episode's end, which repeat the last one, and `is_init` [.., T, 1] bool is True at the episode's first step.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError


def flatten(experience: TensorDict) -> dict[str, Tensor]:
    """{"obs": .., "next.obs": ..}: the keys of files and of messages."""
    return dict(experience.flatten_keys(".").items())


def transitions_of(tensors: dict[str, Tensor]) -> TensorDict:
    """Inverse of `flatten`; n is the length of `episode`. Raises ReproduceError when that key is missing."""
    if "episode" not in tensors:
        raise ReproduceError(f"transitions without the key episode; found {sorted(tensors)}.")
    return TensorDict(tensors, batch_size=[len(tensors["episode"])]).unflatten_keys(".")


def trajectories_of(tensors: dict[str, Tensor]) -> TensorDict:
    """Trajectories of loaded tensors; R is the length of `final`. Raises ReproduceError when that key is missing."""
    if "final" not in tensors:
        raise ReproduceError(f"trajectories without the key final; found {sorted(tensors)}.")
    return TensorDict(tensors, batch_size=[len(tensors["final"])])


def next_action(transitions: TensorDict) -> Tensor:
    """The action of the transition after each one in its episode, [n, ..]; 0 after the last. Raises ReproduceError
    where episodes are not known."""
    if "step" not in transitions or "episode" not in transitions:
        raise ReproduceError("next actions need experience whose episodes are known: the keys episode and step.")
    episode, step, action = (transitions[key] for key in ("episode", "step", "action"))
    follows = (episode[1:] == episode[:-1]) & (step[1:] > 0)
    later = action.clone()
    later[-1] = 0
    later[:-1] = action[1:] * follows.view(-1, *(1,) * (action.ndim - 1))
    return later


def return_to_go(transitions: TensorDict) -> Tensor:
    """The team's rewards from each transition to the end of its episode, summed without discount, [n, 1]. Raises
    ReproduceError where episodes are not known."""
    if "final" in transitions:  # trajectories: a final row has no reward
        last = transitions["final"].squeeze(-1)
    elif "step" in transitions and "episode" in transitions:
        step, episode = transitions["step"], transitions["episode"]
        last = torch.ones_like(step, dtype=torch.bool)
        last[:-1] = (step[1:] == 0) | (episode[1:] != episode[:-1])
    else:
        raise ReproduceError("returns to go need experience whose episodes are known: the keys episode and step.")
    reward: Tensor = transitions["reward"]
    after = torch.cumsum(reward.double().flip(0), 0).flip(0)  # (n, 1), to the end of the data
    ends = last.nonzero().squeeze(-1)
    end = ends[torch.searchsorted(ends, torch.arange(len(last)))]  # of each transition's episode
    beyond = torch.cat([after[1:], torch.zeros_like(after[:1])])
    return (after - beyond[end]).to(reward.dtype)


def is_init(transitions: TensorDict) -> Tensor:
    """Whether a transition is the first of its episode, [n, 1]. Raises ReproduceError where episodes are not known."""
    if "final" in transitions:  # trajectories: an episode begins in the row after a final one
        return torch.cat([torch.ones_like(transitions["final"][:1]), transitions["final"][:-1]])
    if "step" not in transitions:
        raise ReproduceError("first transitions need experience whose episodes are known: the key step.")
    return (transitions["step"] == 0).unsqueeze(-1)
