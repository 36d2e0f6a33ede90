"""The base of the table worlds: specs, the step counter, ends, and the rule for stepping a finished world."""

import hashlib
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded

from data.common.spec import Discrete, WorldSpec
from data.worlds.base import World, positive


class DiscreteWorld(World):
    """n_worlds deterministic, fully observed games stepped at once; every agent sees the state.

    Keys, at the root: obs [n, N, O], state [n, O], legal_actions [n, N, A] (all True), action [n, N] int64,
    reward [n, 1], done, terminated, truncated [n, 1]. Both ends follow from the state and the step counter alone, so a
    finished world that is stepped on keeps its state and its ends, and gives reward 0.

    Every reset leads to the same start, so there is no start noise to draw.

    A subclass fills `_restart`, `_advance`, `_terminated` and `_features`.
    """

    def __init__(self, n_worlds: int, n_agents: int, n_actions: int, low: list, high: list, episode_limit: int, device):
        super().__init__(device=torch.device(device), batch_size=[positive("n_worlds", n_worlds)])  # type: ignore
        self.n_agents, self.n_actions = n_agents, n_actions
        self.obs_size = self.state_size = len(low)
        self.episode_limit = positive("episode_limit", episode_limit)
        self._bounds = (tuple(map(float, low)), tuple(map(float, high)))
        self.register_buffer("_steps", torch.zeros(n_worlds, dtype=torch.int64, device=self.device))

        def box(*shape: int) -> Bounded:
            bounds = [torch.tensor(b, dtype=torch.float32).expand(n_worlds, *shape, -1) for b in (low, high)]
            return Bounded(*bounds, dtype=torch.float32, device=self.device)  # type: ignore

        def flag() -> Categorical:
            return Categorical(2, shape=(n_worlds, 1), dtype=torch.bool, device=self.device)  # type: ignore

        agents, batch = (n_worlds, n_agents), {"shape": (n_worlds,), "device": self.device}
        self.observation_spec = Composite(
            obs=box(n_agents),
            state=box(),
            legal_actions=Binary(n_actions, shape=(*agents, n_actions), dtype=torch.bool, device=self.device),  # type: ignore
            **batch,
        )
        self.action_spec = Categorical(n_actions, shape=agents, dtype=torch.int64, device=self.device)  # type: ignore
        self.reward_spec = Unbounded(shape=(n_worlds, 1), dtype=torch.float32, device=self.device)  # type: ignore
        self.full_done_spec = Composite(done=flag(), terminated=flag(), truncated=flag(), **batch)

    @property
    def spec(self) -> WorldSpec:
        return WorldSpec(
            n_agents=self.n_agents,
            obs_size=self.obs_size,
            state_size=self.state_size,
            action=Discrete(self.n_actions),
            episode_limit=self.episode_limit,
            obs_bounds=self._bounds,
        )

    @classmethod
    def fingerprint(cls, **params: Any) -> str:
        """12 hex digits over observations, legal actions, rewards and ends.

        64 worlds are stepped open-loop for min(episode_limit, 200) steps; world w takes at step t the joint action
        w + floor(40503 t (w + 1) / 16) modulo the number of joint actions. No random numbers. Floats are hashed at 6
        decimals, so rounding noise does not count. Behavior outside the states visited is not covered.
        """
        world = cls(64, **params)
        w = torch.arange(64)
        place = world.n_actions ** torch.arange(world.n_agents)  # a joint action's digits, base A
        digest = hashlib.sha256()

        def add(td: TensorDictBase) -> None:
            for key in ("obs", "state", "legal_actions", "reward", "terminated", "truncated"):
                if (value := td.get(key, None)) is not None:
                    rounded = torch.round(value.double(), decimals=6) + 0.0  # -0.0 + 0.0 = 0.0
                    digest.update(f"{key}{list(rounded.shape)}".encode() + rounded.numpy().astype("<f8").tobytes())

        td = world.reset().exclude("reward")
        add(td)
        for t in range(min(world.episode_limit, 200)):
            joint = (w + (40503 * t * (w + 1)) // 16) % world.n_actions**world.n_agents
            td["action"] = joint.unsqueeze(-1) // place % world.n_actions
            td = world.step(td)["next"]
            add(td)
        return digest.hexdigest()[:12]

    def _restart(self, chosen: Tensor) -> None:
        """Put the worlds in `chosen` [n] bool back to their start."""
        raise NotImplementedError

    def _advance(self, action: Tensor, live: Tensor) -> Tensor:
        """Move the worlds in `live` [n] bool by action [n, N]; reward [n] float32, whatever it is where not live."""
        raise NotImplementedError

    def _terminated(self) -> Tensor:
        """[n] bool, from the state and the step counter."""
        raise NotImplementedError

    def _features(self) -> Tensor:
        """A fresh state tensor [n, O] float32."""
        raise NotImplementedError

    def _ends(self) -> tuple[Tensor, Tensor]:
        terminated = self._terminated()
        return terminated, (self._steps >= self.episode_limit) & ~terminated  # [n], [n]

    def _report(self, **extra: Tensor) -> TensorDict:
        state = self._features()  # [n, O]
        terminated, truncated = (end.unsqueeze(-1) for end in self._ends())
        return TensorDict(
            {
                "obs": state.unsqueeze(1).repeat(1, self.n_agents, 1),
                "state": state,
                "legal_actions": state.new_ones((len(state), self.n_agents, self.n_actions), dtype=torch.bool),
                "done": terminated | truncated,
                "terminated": terminated,
                "truncated": truncated,
                **extra,
            },
            batch_size=self.batch_size,
            device=self.device,
        )

    def _reset(self, tensordict: TensorDictBase | None = None, **_) -> TensorDict:
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        chosen = torch.ones_like(self._steps, dtype=torch.bool) if chosen is None else chosen.reshape(-1)
        self._steps = self._steps.masked_fill(chosen, 0)
        self._restart(chosen)
        return self._report()

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        terminated, truncated = self._ends()
        live = ~(terminated | truncated)
        reward = self._advance(tensordict["action"], live)
        self._steps = self._steps + live
        return self._report(reward=reward.masked_fill(~live, 0.0).unsqueeze(-1))
