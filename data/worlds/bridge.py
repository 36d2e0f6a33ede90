"""Bridge: two agents must cross, in opposite directions, a bridge that is one cell wide.

Rules as in AlberDICE's release (dematsunaga/alberdice, commit 4d69f0e), written anew as a table of 184 joint states.

    row0  g1  .  #  #  .  .      g_i = goal of agent i: (2,5) and (0,0)
    row1  .   .  s0 s1 .  .      s_i = start of agent i (start_adjacent; else (1,1) and (1,4))
    row2  .   .  #  #  .  g0     actions: 0 stay, 1 up, 2 down, 3 right, 4 left
"""

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from data.worlds.discrete import DiscreteWorld

Cell = tuple[int, int]

ROWS, COLS = 3, 6
WALLS = {(0, 2), (0, 3), (2, 2), (2, 3)}
CELLS = [(r, c) for r in range(ROWS) for c in range(COLS) if (r, c) not in WALLS]
GOALS = ((2, 5), (0, 0))
STARTS = {True: ((1, 2), (1, 3)), False: ((1, 1), (1, 4))}  # keyed by start_adjacent
MOVES = ((0, 0), (-1, 0), (1, 0), (0, 1), (0, -1))
# Agents share a cell only where one of them is finished.
JOINT_STATES = [(p, q) for p in CELLS for q in CELLS if p != q or p in GOALS]


def intended(cell: Cell, action: int) -> Cell:
    """Where one agent alone would go: its own cell when the move hits a wall or the edge."""
    target = (cell[0] + MOVES[action][0], cell[1] + MOVES[action][1])
    return target if target in CELLS else cell


def move(p0: Cell, p1: Cell, a0: int, a1: int) -> tuple[Cell, Cell]:
    """Next cells of both agents. A finished agent stands still for good and is in nobody's way."""
    if p0 == GOALS[0] or p1 == GOALS[1]:
        return (p0 if p0 == GOALS[0] else intended(p0, a0)), (p1 if p1 == GOALS[1] else intended(p1, a1))
    t0, t1 = intended(p0, a0), intended(p1, a1)
    if t0 == t1 and t0 != p0 and t1 != p1:  # both want one cell: agent 0 gets it, also when it is agent 1's goal
        return t0, p1
    if t0 == p1 and t1 == p0:  # exchange: refused, unless agent 0 thereby reaches its goal (not so for agent 1)
        return (t0, t1) if t0 == GOALS[0] else (p0, p1)
    if t0 == p1 == t1:  # onto a standing agent: refused, unless onto the own goal
        return (t0 if t0 == GOALS[0] else p0), p1
    if t1 == p0 == t0:
        return p0, (t1 if t1 == GOALS[1] else p1)
    return t0, t1


def reward_of(p0: Cell, p1: Cell) -> float:
    """-0.05 x (sum of the Euclidean distances from the new cells to the goals)."""
    distances = [sqrt((p[0] - g[0]) ** 2 + (p[1] - g[1]) ** 2) for p, g in zip((p0, p1), GOALS, strict=True)]
    return 0.0 - 0.05 * sum(distances)  # 0.0 - 0.0 is +0.0


class Table(NamedTuple):
    """The whole game, J = 184 joint states. Shared by all worlds: never write into it."""

    index: dict[tuple[Cell, Cell], int]
    next: Tensor  # [J, 5, 5] int64
    reward: Tensor  # [J, 5, 5] float64
    features: Tensor  # [J, 8] float32: r0 c0 goal0 r1 c1 goal1
    end: int  # the joint state with both agents on their goals


@lru_cache(maxsize=1)
def table() -> Table:
    """Build the table from the rules."""
    index = {joint: i for i, joint in enumerate(JOINT_STATES)}
    after = [[[move(*joint, a0, a1) for a1 in range(5)] for a0 in range(5)] for joint in JOINT_STATES]
    return Table(
        index=index,
        next=torch.tensor([[[index[joint] for joint in row] for row in rows] for rows in after]),
        reward=torch.tensor(
            [[[reward_of(*joint) for joint in row] for row in rows] for rows in after], dtype=torch.float64
        ),
        features=torch.tensor([[*p, *GOALS[0], *q, *GOALS[1]] for p, q in JOINT_STATES], dtype=torch.float32),
        end=index[GOALS],
    )


class Bridge(DiscreteWorld):
    """obs = state = [r0, c0, 2, 5, r1, c1, 0, 0], raw numbers, the same for both agents.

    terminated: both agents on their goals. truncated: the limit was reached otherwise. The release ends both alike and
    forces the reward of the step at the limit to 0; `zero_last_reward` keeps that, so that returns compare.
    The release's data has episode_limit 50, its training and evaluation 20.
    """

    def __init__(
        self,
        n_worlds: int,
        start_adjacent: bool = True,
        episode_limit: int = 20,
        zero_last_reward: bool = True,
        device="cpu",
    ):
        high = [float(ROWS - 1), float(COLS - 1)] * 4
        super().__init__(n_worlds, 2, len(MOVES), [0.0] * 8, high, episode_limit, device)
        game = table()
        self.zero_last_reward = bool(zero_last_reward)
        self._start, self._end = game.index[STARTS[bool(start_adjacent)]], game.end
        self.register_buffer("_next", game.next.to(self.device), persistent=False)
        self.register_buffer("_reward", game.reward.to(torch.float32).to(self.device), persistent=False)
        self.register_buffer("_rows", game.features.to(self.device), persistent=False)
        self.register_buffer("joint_state", torch.full_like(self._steps, self._start))  # [n] index into JOINT_STATES

    def _restart(self, chosen: Tensor) -> None:
        self.joint_state = self.joint_state.masked_fill(chosen, self._start)

    def _advance(self, action: Tensor, live: Tensor) -> Tensor:
        a0, a1 = action.unbind(-1)
        reward = self._reward[self.joint_state, a0, a1]  # type: ignore
        # The step counter still stands before this step; at success the reward is 0 in any case.
        reward = reward.masked_fill(self._steps + 1 >= self.episode_limit, 0.0) if self.zero_last_reward else reward
        self.joint_state = torch.where(live, self._next[self.joint_state, a0, a1], self.joint_state)  # type: ignore
        return reward

    def _terminated(self) -> Tensor:
        return self.joint_state == self._end

    def _features(self) -> Tensor:
        return self._rows[self.joint_state]  # type: ignore

    @staticmethod
    def exact_return(
        policy: Tensor | None = None,
        start_adjacent: bool = True,
        episode_limit: int = 20,
        gamma: float = 1.0,
        zero_last_reward: bool = True,
    ) -> float:
        """Expected return from the start by backward induction in float64.

        policy: [J, 5, 5] probabilities of joint actions; None: the best joint action of each state and time, hence the
        optimum that no score can exceed.
        """
        game = table()
        value = torch.zeros(len(JOINT_STATES), dtype=torch.float64)
        for left in range(1, episode_limit + 1):
            now = torch.zeros_like(game.reward) if zero_last_reward and left == 1 else game.reward
            q = (now + gamma * value[game.next]).flatten(1)  # [J, 25]
            value = q.max(1).values if policy is None else (policy.double().flatten(1) * q).sum(1)
            value[game.end] = 0.0
        return value[game.index[STARTS[bool(start_adjacent)]]].item()
