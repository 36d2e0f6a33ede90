"""The base of the worlds with continuous actions: specs, and the fingerprint."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Bounded, Categorical, Composite, Unbounded

from data.common.spec import WorldSpec
from data.worlds.base import World, positive


class ContinuousWorld(World):
    """n_worlds worlds stepped at once, every agent with its own view.

    Keys, at the root: obs and state [n, N, O] float32 (equal), features [n, F] float64 (from which `observe` derives
    both), action [n, N, A], reward [n, 1] of the team, rewards [n, N] where agents have their own, done, terminated,
    truncated [n, 1]. A finished world that is stepped on keeps its state and its ends, and gives reward 0.

    A subclass hands its spec to `__init__`, and has `observe`, `draw_starts` and `fixed_starts`.
    """

    bounded_actions = True  # clamped to [-1, 1]; else the simulator does with them what it does

    def __init__(self, spec: WorldSpec, n_worlds: int, device: str | torch.device):
        super().__init__(device=torch.device(device), batch_size=[positive("n_worlds", n_worlds)])  # type: ignore
        self._spec = spec
        self.n_agents, self.action_size, self.n_features = spec.n_agents, spec.action_size, spec.n_features
        self.obs_size, self.state_size, self.episode_limit = spec.obs_size, spec.state_size, spec.episode_limit
        self._tensor_specs()

    @property
    def spec(self) -> WorldSpec:
        return self._spec

    @classmethod
    def fingerprint(cls, **params: Any) -> str:
        """The returns of three open-loop episodes from `fixed_starts`, 100 steps at most of fixed sine waves, at 4
        decimals: enough to tell two simulators apart."""
        world = cls(3, **params)  # type: ignore
        td = world.reset(TensorDict({"start": world.fixed_starts(3)}, [3]))
        n = world.n_agents * world.action_size
        phase = torch.arange(3.0).view(3, 1, 1) + torch.arange(float(n)).view(world.n_agents, -1)
        returns = torch.zeros(3, dtype=torch.float64)
        for t in range(min(world.episode_limit, 100)):
            td["action"] = 0.8 * torch.sin(0.3 * t + 1.7 * phase)
            td = world.step(td)["next"]
            returns += td["reward"].squeeze(-1).double()
        return " ".join(f"{value:.4f}" for value in returns.tolist())

    def fixed_starts(self, n: int) -> Tensor:
        """[n, start_size], the same always."""
        raise NotImplementedError

    def _tensor_specs(self) -> None:
        n, device = self.batch_size[0], self.device

        def real(*shape: int, dtype: torch.dtype = torch.float32) -> Unbounded:
            return Unbounded(shape=(n, *shape), dtype=dtype, device=device)  # type: ignore

        def flag() -> Categorical:
            return Categorical(2, shape=(n, 1), dtype=torch.bool, device=device)  # type: ignore

        batch, view = {"shape": (n,), "device": device}, (self.n_agents, self.obs_size)
        seen = {"obs": real(*view), "state": real(*view), "features": real(self.n_features, dtype=torch.float64)}
        if self.spec.individual_rewards:
            seen["rewards"] = real(self.n_agents)
        self.observation_spec = Composite(**seen, **batch)
        action = (n, self.n_agents, self.action_size)
        self.action_spec = (
            Bounded(-1.0, 1.0, shape=action, device=device) if self.bounded_actions else real(*action[1:])  # type: ignore
        )
        self.reward_spec = real(1)
        self.full_done_spec = Composite(done=flag(), terminated=flag(), truncated=flag(), **batch)
