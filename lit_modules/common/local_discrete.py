"""OMIGA's networks for discrete actions, as its StarCraft branch has them: Q and policy give one number per action.

No update masks illegal actions, only evaluation does. The team's reward is that of the step, or the undiscounted return
from it on; an episode's last transition bootstraps nothing, whatever ended it.
"""

from typing import Any, Literal

from tensordict import TensorDict
from torch import Tensor

from data.common.spec import Discrete
from lit_modules.common.distributions import masked_log_softmax
from lit_modules.common.functional import agent_major, taken
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.seed_module import SeedModule


class LocalDiscrete(LocalToGlobal):
    """The settings have `reward` (return_to_go | step) and `done` (state | terminated) too."""

    actions = Discrete
    further_keys: tuple[Any, ...] = ()  # that a subclass reads beside

    @property
    def keys(self) -> tuple[Any, ...]:  # type: ignore[override]
        seen = (
            "obs",
            "state",
            "action",
            self.reward_key,
            "terminated",
            "truncated",
            ("next", "obs"),
            ("next", "state"),
        )
        return (*seen, *self.further_keys)

    @property
    def reward_key(self) -> str:
        return "return_to_go" if self.config.reward == "return_to_go" else "reward"

    def make_q(self) -> StackedMLP:
        return self.agents(self.seen_size, self.spec.n_actions)

    def make_policy(self) -> StackedMLP:
        return self.agents(self.seen_size, self.spec.n_actions)

    def q_taken(self, q: StackedMLP, d: dict[str, Tensor], when: Literal["", "next_"] = "") -> Tensor:
        return taken(self.per_agent(q, d[f"{when}obs"]), d[f"{when}action"])

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        return taken(out.log_softmax(-1), action)

    def identified(self, obs: Tensor) -> Tensor:
        return self.with_id(self.normalize_obs(obs))

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        """batch [S, B] -> agent-major tensors (S, N, B, ..); states (S, B, N * St), or (S, B, St)."""
        obs, state = self.identified(batch["obs"]), batch["state"].flatten(2)
        next_state = batch["next", "state"].flatten(2)
        done = batch["terminated"]
        if self.config.done == "state":
            done = done | batch["truncated"] | (state == next_state).all(-1, keepdim=True)
        return {
            "obs": obs,  # (S, N, B, O + N)
            "next_obs": self.identified(batch["next", "obs"]),
            "state": state,
            "next_state": next_state,
            "action": agent_major(batch["action"]),  # (S, N, B)
            "reward": batch[self.reward_key].squeeze(-1),  # (S, B)
            "mask": 1 - done.squeeze(-1).to(obs.dtype),
        }

    def policy_log_probs(self, obs: Tensor, legal: Tensor | None) -> Tensor:
        return masked_log_softmax(self.per_agent(self.policy, self.with_id(obs)), legal)

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        return SeedModule.act(self, obs, legal, uniform, carry)
