"""Multi-agent MuJoCo as OMIGA's released code defines it, over gymnasium's models and the mujoco package.

Its differences from other multi-agent MuJoCo packages: the agents' actions are concatenated in agent order (the
partition's joint indices permute nothing), every agent sees the whole standardized state (data.observe), and rewards
and observations are those of the v2 environments: a terminating step still earns the survive bonus, and Ant's 111
numbers end with 84 contact forces that MuJoCo 2.0 left at zero. mujoco 3.3.7 is the newest version whose Hopper and Ant
still move as the older ones did. Many worlds are stepped at once, in as many threads as torch has: mj_step releases
Python's lock.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from data.common.errors import ReproduceError, nearest
from data.common.extras import needed
from data.common.spec import Box, WorldSpec
from data.observe import agent_views
from data.worlds.base import positive
from data.worlds.continuous import ContinuousWorld


def _always(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    return np.ones(len(qpos), bool)


def _hopper_stands(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    state = np.concatenate([qpos, qvel], 1)
    within = np.isfinite(state).all(1) & (np.abs(state[:, 2:]) < 100).all(1)
    return within & (qpos[:, 1] > 0.7) & (np.abs(qpos[:, 2]) < 0.2)


def _ant_stands(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    finite = np.isfinite(qpos).all(1) & np.isfinite(qvel).all(1)
    return finite & (qpos[:, 2] >= 0.2) & (qpos[:, 2] <= 1.0)


@dataclass(frozen=True)
class Scenario:
    """One v2 environment. Rewards: x-velocity + survive bonus - ctrl_cost |action|^2."""

    model: str
    frame_skip: int
    hidden_positions: int  # leading positions that the observation leaves out
    n_zeros: int
    ctrl_cost: float
    survive: float
    start_noise: float
    normal_velocity: bool  # start velocities: normal with that deviation, else uniform like the positions
    velocity_limit: float = np.inf  # of observed velocities
    torso: bool = False  # progress is the torso's position, which MuJoCo updates one substep late, not qpos[0]
    healthy: Callable[[np.ndarray, np.ndarray], np.ndarray] = _always  # of positions and velocities [n, ..]: [n] bool


WORLDS = "multi-agent MuJoCo's worlds"
SCENARIOS = {
    "Hopper-v2": Scenario("hopper.xml", 4, 1, 0, 1e-3, 1.0, 0.005, False, velocity_limit=10.0, healthy=_hopper_stands),
    "HalfCheetah-v2": Scenario("half_cheetah.xml", 5, 1, 0, 0.1, 0.0, 0.1, True),
    "Ant-v2": Scenario("ant.xml", 5, 2, 84, 0.5, 1.0, 0.1, True, torso=True, healthy=_ant_stands),
}


@cache
def model_of(scenario: str) -> Any:
    """MuJoCo's model of the scenario."""
    assets = Path(needed("gymnasium", WORLDS).__file__).parent / "envs" / "mujoco" / "assets"
    return needed("mujoco", WORLDS).MjModel.from_xml_path(str(assets / SCENARIOS[scenario].model))


def sizes(scenario: str, agent_conf: str) -> tuple[int, int]:
    """(agents, actions per agent) of "2x4". Raises ReproduceError for unknown scenarios and partitions."""
    if scenario not in SCENARIOS:
        raise ReproduceError(
            f"unknown scenario {scenario!r}; known: {', '.join(SCENARIOS)}.{nearest(scenario, list(SCENARIOS))}"
        )
    actuators = model_of(scenario).nu
    parts = str(agent_conf).split("x")
    if len(parts) != 2 or not all(p.isdigit() for p in parts) or int(parts[0]) * int(parts[1]) != actuators:
        raise ReproduceError(
            f"agent_conf {agent_conf!r}: write AGENTSxACTIONS whose product is the {actuators} actuators of {scenario}."
        )
    return int(parts[0]), int(parts[1])


def view_sizes(scenario: str, agent_conf: str) -> tuple[int, int, int, int]:
    """(agents, actions per agent, features, zeros): the shapes of a dataset of this world."""
    n_agents, action_size = sizes(scenario, agent_conf)
    rules, model = SCENARIOS[scenario], model_of(scenario)
    return n_agents, action_size, model.nq - rules.hidden_positions + model.nv, rules.n_zeros


def spec_of(scenario: str, agent_conf: str, episode_limit: int = 1000) -> WorldSpec:
    """Sizes and conventions, of the world and of its datasets."""
    n_agents, action_size, n_features, n_zeros = view_sizes(scenario, agent_conf)
    size = n_features + n_zeros + n_agents
    return WorldSpec(
        n_agents, size, size, Box(action_size), positive("episode_limit", episode_limit), state_per_agent=True,
        n_features=n_features, layout="trajectories",
    )  # fmt: skip


class MultiAgentMujoco(ContinuousWorld):
    """n_worlds simulations stepped at once; every agent sees the whole state, and all earn the team's reward.

    `features` are the simulator's observation without Ant's zeros. Actions are meant for [-1, 1]. A reset takes the
    start noise from `start` [n, positions + velocities] (see `draw_starts`); without it, it draws a seed from torch's
    global stream.
    """

    bounded_actions = False
    wave, waves_apart = 100, True

    def __init__(
        self,
        n_worlds: int,
        scenario: str,
        agent_conf: str,
        episode_limit: int = 1000,
        device: str | torch.device = "cpu",
    ):
        super().__init__(spec_of(scenario, agent_conf, episode_limit), n_worlds, device)
        self.rules, self.model = SCENARIOS[scenario], model_of(scenario)
        self.n_zeros = self.rules.n_zeros
        self._mj = needed("mujoco", WORLDS)
        self._sims = [self._mj.MjData(self.model) for _ in range(n_worlds)]
        # Views of each simulation's memory, bound once: under Python's lock every attribute access counts.
        self._bound = [(sim, sim.ctrl, sim.qpos, sim.qvel, sim.xpos) for sim in self._sims]
        self._init_qpos = self._sims[0].qpos.copy()
        self._torso = self.model.body("torso").id
        self._qpos, self._qvel = np.zeros((n_worlds, self.model.nq)), np.zeros((n_worlds, self.model.nv))
        self._progress, self._steps = np.zeros(n_worlds), np.zeros(n_worlds, int)
        self._failed = np.zeros(n_worlds, bool)
        self.start_size = self.model.nq + self.model.nv
        self.dt = self.model.opt.timestep * self.rules.frame_skip
        self._workers = min(torch.get_num_threads(), n_worlds)
        self._pool = ThreadPoolExecutor(self._workers - 1) if self._workers > 1 else None

    def draw_starts(self, n: int, generator: torch.Generator) -> Tensor:
        """Start noise for n worlds, [n, positions + velocities] float64, to be given to `reset` as `start`."""
        scale, (nq, nv) = self.rules.start_noise, (self.model.nq, self.model.nv)
        uniform = torch.rand(n, nq + nv, generator=generator, dtype=torch.float64) * 2 - 1
        normal = torch.randn(n, nv, generator=generator, dtype=torch.float64)
        velocity = normal if self.rules.normal_velocity else uniform[:, nq:]
        return scale * torch.cat([uniform[:, :nq], velocity], 1)

    def start_of(self, features: Tensor) -> Tensor:
        """features [n, F] -> the start noise with which a reset shows them, positions that they leave out at 0."""
        hidden = torch.zeros(len(features), self.rules.hidden_positions, dtype=torch.float64)
        state = torch.cat([hidden, features.double()], 1)
        state[:, : self.model.nq] -= torch.from_numpy(self._init_qpos)
        return state

    def fixed_starts(self, n: int) -> Tensor:
        """No start noise."""
        return torch.zeros(n, self.start_size, dtype=torch.float64)

    def observe(self, features: Tensor) -> dict[str, Tensor]:
        """features [.., F] -> obs and state [.., N, D] float32 (they share memory)."""
        obs = agent_views(features, self.n_agents, self.n_zeros)
        return {"obs": obs, "state": obs}

    def _each(self, work: Any, worlds: np.ndarray) -> None:
        """work(indices) over equal shares of `worlds`, in threads; the caller takes a share too."""
        if self._pool is None:
            return work(worlds)
        own, *others = np.array_split(worlds, self._workers)
        waiting = [self._pool.submit(work, share) for share in others]
        work(own)
        for future in waiting:
            future.result()

    def _read(self, worlds: np.ndarray) -> None:
        """Copy the state of `worlds` out of the simulations."""
        for k in worlds.tolist():
            _, _, self._qpos[k], self._qvel[k], xpos = self._bound[k]
            if self.rules.torso:
                self._progress[k] = xpos[self._torso, 0]
        if not self.rules.torso:
            self._progress[worlds] = self._qpos[worlds, 0]

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        given = TensorDict({}, [len(self._sims)]) if tensordict is None else tensordict
        chosen = given.get("_reset", None)
        chosen = np.ones(len(self._sims), bool) if chosen is None else chosen.reshape(-1).cpu().numpy()
        start = given.get("start", None)
        if start is None:
            seed = int(torch.randint(2**31, ()).item())
            start = self.draw_starts(len(self._sims), torch.Generator().manual_seed(seed))
        noise = start.cpu().numpy()

        def restart(worlds: np.ndarray) -> None:
            for k in worlds:
                sim = self._sims[k]
                self._mj.mj_resetData(self.model, sim)
                sim.qpos[:] = self._init_qpos + noise[k, : self.model.nq]
                sim.qvel[:] = noise[k, self.model.nq :]
                self._mj.mj_forward(self.model, sim)

        self._each(restart, chosen.nonzero()[0])
        self._read(chosen.nonzero()[0])
        self._steps[chosen], self._failed[chosen] = 0, False
        return self._report()

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        action = tensordict["action"].reshape(len(self._sims), -1).double().cpu().numpy()
        live = ~(self._failed | (self._steps >= self.episode_limit))
        before = self._progress.copy()

        step, model, skip = self._mj.mj_step, self.model, self.rules.frame_skip

        def move(worlds: np.ndarray) -> None:
            for k in worlds.tolist():
                sim, ctrl, *_ = self._bound[k]
                ctrl[:] = action[k]
                step(model, sim, skip)

        moved = live.nonzero()[0]
        self._each(move, moved)
        self._read(moved)
        self._steps += live
        self._failed |= live & ~self.rules.healthy(self._qpos, self._qvel)
        reward = (self._progress - before) / self.dt + self.rules.survive - self.rules.ctrl_cost * (action**2).sum(1)
        return self._report(reward=torch.from_numpy(np.where(live, reward, 0.0)).float().unsqueeze(-1).to(self.device))

    def _report(self, **extra: Tensor) -> TensorDict:
        limit = self.rules.velocity_limit
        seen = [self._qpos[:, self.rules.hidden_positions :], np.clip(self._qvel, -limit, limit)]
        features = torch.from_numpy(np.concatenate(seen, 1)).to(self.device)
        terminated = torch.from_numpy(self._failed.copy()).to(self.device).unsqueeze(-1)
        truncated = torch.from_numpy(self._steps >= self.episode_limit).to(self.device).unsqueeze(-1) & ~terminated
        ends = {"done": terminated | truncated, "terminated": terminated, "truncated": truncated}
        return TensorDict(
            {**self.observe(features), "features": features, **ends, **extra}, self.batch_size, device=self.device
        )
