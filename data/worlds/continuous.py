"""What the worlds with continuous actions share: specs, and what is the same for lack of chance in the dynamics."""

import torch
from torchrl.data import Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase


class ContinuousWorld(EnvBase):
    """n_worlds worlds stepped at once, every agent with its own view.

    Keys, at the root: obs and state [n, N, O] float32 (equal), features [n, F] float64 (what the views follow from:
    `views`), action [n, N, A], reward [n, 1] of the team, where `individual_rewards` rewards [n, N] too, done,
    terminated, truncated [n, 1]. A finished world that is stepped on keeps its state and its ends, and gives reward 0.

    A subclass sets the sizes, calls `_specs`, and has `views`, `draw_starts` and `fixed_starts`.
    """

    discrete, n_actions = False, 0
    individual_rewards = False
    bounded_actions = True  # clamped to [-1, 1]; else the simulator does with them what it does
    n_agents: int
    obs_size: int
    action_size: int
    n_features: int

    def _specs(self) -> None:
        n, device = self.batch_size[0], self.device

        def real(*shape: int, dtype: torch.dtype = torch.float32) -> Unbounded:
            return Unbounded(shape=(n, *shape), dtype=dtype, device=device)

        def flag() -> Categorical:
            return Categorical(2, shape=(n, 1), dtype=torch.bool, device=device)

        batch, view = {"shape": (n,), "device": device}, (self.n_agents, self.obs_size)
        seen = {"obs": real(*view), "state": real(*view), "features": real(self.n_features, dtype=torch.float64)}
        if self.individual_rewards:
            seen["rewards"] = real(self.n_agents)
        self.observation_spec = Composite(**seen, **batch)
        action = (n, self.n_agents, self.action_size)
        self.action_spec = (
            Bounded(-1.0, 1.0, shape=action, device=device) if self.bounded_actions else real(*action[1:])
        )
        self.reward_spec = real(1)
        self.full_done_spec = Composite(done=flag(), terminated=flag(), truncated=flag(), **batch)

    def _set_seed(self, seed: int | None) -> None:
        """Nothing: starts are given to `reset`, and the dynamics are deterministic."""
