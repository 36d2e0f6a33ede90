"""Recorded transitions played again in their world: a sample tells whether actions and rewards belong to them.

Views, checksums and shapes say nothing of an action that stands under another agent's name, or of rewards in reverse.
"""

from collections.abc import Iterator, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.worlds import bridge, mamujoco
from data.worlds.matrix import payoff_tensor
from data.worlds.mpe import Physics

N_CHECKED = 400  # transitions, evenly over the data
ENOUGH = 0.99  # of them; a contact at the very edge may be told differently in float32
NEAR = 1e-3  # of positions, velocities and rewards, relative to 1 + their size
NEAR_CONTACTS, LIKELY = 2e-2, 0.9  # in simulators whose contacts amplify the rounding of a state


def _sample(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, N_CHECKED)).round().astype(np.int64))


def _near(found: Tensor, expected: Tensor, near: float = NEAR) -> Tensor:
    """[n, ..] -> [n] bool."""
    return ((found - expected).abs() <= near * (1 + expected.abs())).flatten(1).all(1)


def particles(folder: Path, arrays: Mapping[str, np.ndarray], scenario: str, limit: int) -> dict[str, Any]:
    """{"n": transitions, "agree": share of them that the world repeats} of OMAR's arrays, by file name.

    Raises ReproduceError where the world repeats the moves but not the rewards, and where another order or sign of
    actions or rewards agrees. Without such a cause the share is a fact alone: the released files were not at hand.
    """
    physics = Physics(scenario)
    n = len(arrays["obs_0.npy"])
    at = _sample(n)

    def values(kind: str, agents: Any, rows: np.ndarray = at) -> list[Tensor]:
        return [torch.from_numpy(np.asarray(arrays[f"{kind}_{j}.npy"][rows], np.float64)) for j in agents]

    bodies, learners = range(physics.n_bodies), range(physics.n_learners)
    now, after = values("obs", bodies), values("next_obs", bodies)
    vel, pos = (torch.stack([view[:, k : k + 2] for view in now], 1) for k in (0, 2))
    next_vel, next_pos = (torch.stack([view[:, k : k + 2] for view in after], 1) for k in (0, 2))
    landmarks = now[0][:, 4 : 4 + 2 * physics.n_landmarks].unflatten(1, (-1, 2)) + pos[:, :1]
    earned = physics.rewards(next_pos, landmarks)

    def move(actions: list[Tensor]) -> Tensor:
        moved = physics.move(pos, vel, landmarks, torch.stack(actions, 1).clamp(-1, 1))
        return _near(moved[0], next_pos) & _near(moved[1], next_vel)

    def earn(rewards: list[Tensor]) -> Tensor:
        return _near(torch.stack(rewards, 1), earned)

    step, start = at % limit, at - at % limit
    later, before = np.where(step < limit - 1, at + 1, at), np.where(step > 0, at - 1, at)
    acted, got = values("acs", bodies), values("rews", learners)

    def other_actions() -> Iterator[tuple[str, Tensor]]:
        for order in permutations(bodies):
            said = ", ".join(f"acs_{j}.npy is agent {k}'s" for k, j in enumerate(order) if k != j)
            if said:
                yield f"agents are swapped: {said}", move([acted[j] for j in order])
        yield "actions are negated", move([-a for a in acted])
        yield "actions stand one row too early", move(values("acs", bodies, before))
        yield "actions stand one row too late", move(values("acs", bodies, later))

    def other_rewards() -> Iterator[tuple[str, Tensor]]:
        yield "rewards are negated", earn([-r for r in got])
        yield "rewards are in reverse order", earn(values("rews", learners, n - 1 - at))
        yield "rewards are reversed within episodes", earn(values("rews", learners, start + limit - 1 - step))
        yield "rewards stand one row too late", earn(values("rews", learners, later))
        yield "rewards stand one row too early", earn(values("rews", learners, before))
        for order in permutations(learners):
            if order != tuple(learners):
                said = ", ".join(f"rews_{j}.npy is agent {k}'s" for k, j in enumerate(order) if k != j)
                yield f"agents are swapped: {said}", earn([got[j] for j in order])

    moves, rewards = move(acted), earn(got)
    if (share := _share(moves)) < ENOUGH and (cause := _cause(other_actions())):
        raise _refusal(folder, "moves", share, len(at), scenario, cause)
    if (share := _share(rewards)) < ENOUGH:
        cause = _cause(other_rewards())
        if cause or _share(moves) >= ENOUGH:
            raise _refusal(folder, "rewards", share, len(at), scenario, cause)
    return {"n": len(at), "agree": round(_share(moves & rewards), 4)}


def mujoco(folder: Path, transitions: TensorDict, world: dict[str, Any]) -> dict[str, Any]:
    """The same of multi-agent MuJoCo. A sampled state is set anew from its float32 features, so a share of the steps
    near contacts comes out otherwise: NEAR_CONTACTS, LIKELY.

    Raises ReproduceError where another order or sign of actions or rewards explains what this one does not.
    """
    params = {key: value for key, value in world.items() if key not in ("name", "episode_limit")}
    rules, final = mamujoco.SCENARIOS[world["scenario"]], transitions["final"].squeeze(-1)
    velocity = transitions["features"][:, -mamujoco.model_of(world["scenario"]).nv :]
    known = ~final & (velocity.abs() < rules.velocity_limit).all(1)  # a clipped velocity is not the simulator's
    rows = known.nonzero().squeeze(-1)
    if not len(rows):
        return {"n": 0, "agree": 0.0}
    at = rows[torch.from_numpy(_sample(len(rows)))]
    played = mamujoco.MultiAgentMujoco(len(at), **params)
    start, after = played.start_of(transitions["features"][at]), transitions["features"][at + 1].double()
    acted, got = transitions["action"][at], transitions["reward"][at].double()

    def step(actions: Tensor) -> tuple[Tensor, Tensor]:
        """([n] bool, the moves that agree, rewards earned [n, 1])."""
        played.reset(TensorDict({"start": start}, [len(at)]))
        found: Any = played.step(TensorDict({"action": actions}, [len(at)]))["next"]
        return _near(found["features"], after, NEAR_CONTACTS), found["reward"].double()

    def other_actions() -> Iterator[tuple[str, Tensor]]:
        n = acted.shape[1]
        orders = [list(range(n))[::-1], *([_swapped(n, i, j) for i in range(n) for j in range(i)] if n > 2 else [])]
        for order in orders:
            yield f"agents are swapped: their order is {order}", step(acted[:, order])[0]
        yield "actions are negated", step(-acted)[0]
        yield "actions stand one row too early", step(transitions["action"][(at - 1).clamp(min=0)])[0]
        yield "actions stand one row too late", step(transitions["action"][at + 1])[0]

    def other_rewards() -> Iterator[tuple[str, Tensor]]:
        stored: Any = transitions["reward"]
        for said, rewards in (
            ("rewards are negated", -got),
            ("rewards are in reverse order", stored.flip(0)[at]),
            ("rewards stand one row too late", stored[at + 1]),
            ("rewards stand one row too early", stored[(at - 1).clamp(min=0)]),
        ):
            yield said, _near(earned, rewards.double(), NEAR_CONTACTS)

    moves, earned = step(acted)
    rewards = _near(earned, got, NEAR_CONTACTS)
    for what, agree, others in (("moves", moves, other_actions()), ("rewards", rewards, other_rewards())):
        if (share := _share(agree)) < LIKELY and (cause := _cause(others, LIKELY)):
            raise _refusal(folder, what, share, len(at), world["scenario"], cause, LIKELY)
    return {"n": len(at), "agree": round(_share(moves & rewards), 4)}


def _swapped(n: int, i: int, j: int) -> list[int]:
    order = list(range(n))
    order[i], order[j] = j, i
    return order


def tables(folder: Path, transitions: TensorDict, world: dict[str, Any]) -> dict[str, Any]:
    """The same of AlberDICE's games. Raises ReproduceError below ENOUGH: the released files agree throughout."""
    at = torch.from_numpy(_sample(len(transitions)))
    rows: Any = transitions[at]
    action, reward, n = rows["action"], rows["reward"].double(), len(rows)
    if world["name"] == "matrix":
        payoff = payoff_tensor(world["payoff"])

        def agree(a: Tensor, r: Tensor) -> Tensor:
            return _near(payoff[tuple(a.unbind(-1))].unsqueeze(-1), r) & still

        still = _near(rows["next", "state"], rows["state"])
    else:
        game = bridge.table()
        now, after = _joint(rows["state"], game), _joint(rows["next", "state"], game)
        at_limit = rows["truncated"] if world.get("zero_last_reward", True) else torch.zeros_like(rows["truncated"])

        def agree(a: Tensor, r: Tensor) -> Tensor:
            a0, a1 = a.unbind(-1)
            earned = game.reward[now, a0, a1].unsqueeze(-1).masked_fill(at_limit, 0.0)
            return (game.next[now, a0, a1] == after) & (now >= 0) & _near(r, earned)

    found = _share(agree(action, reward))
    if found < ENOUGH:
        backward = transitions.get("reward").flip(0)[at].double()  # type: ignore[union-attr]
        others = {
            "agents are swapped": (action.flip(-1), reward),
            "rewards are negated": (action, -reward),
            "rewards are in reverse order": (action, backward),
        }
        cause = _cause((said, agree(*other)) for said, other in others.items())
        raise _refusal(folder, "transitions", found, n, world["name"], cause)
    return {"n": n, "agree": round(found, 4)}


def _joint(state: Tensor, game: bridge.Table) -> Tensor:
    """[n, 8] -> [n] index of the joint state, -1 for none."""
    cells = state[:, [0, 1, 4, 5]].long().tolist()
    return torch.tensor([game.index.get(((r0, c0), (r1, c1)), -1) for r0, c0, r1, c1 in cells])


def _share(agree: Tensor) -> float:
    return agree.double().mean().item()


def _cause(others: Iterator[tuple[str, Tensor]], enough: float = ENOUGH) -> str | None:
    return next((said for said, agree in others if _share(agree) >= enough), None)


def _refusal(
    folder: Path, what: str, share: float, n: int, world: str, cause: str | None, enough: float = ENOUGH
) -> ReproduceError:
    likely = (
        f"Likely {cause}" if cause else "Likely agents are swapped, rewards reordered, or it is another world's data"
    )
    return ReproduceError(
        f"{folder}: {what} of {share:.0%} of {n} sampled transitions are those of {world}, expected {enough:.0%}. "
        f"{likely}. Fetch the files again, or convert them anew."
    )
