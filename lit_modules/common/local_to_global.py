"""OMIGA's networks, which OMIGA and the baselines of its MuJoCo table share: agents' networks and a linear mixer.

Every agent network sees a one-hot of the agent behind its observation, and Q between both the action: [o, a, one-hot].
The team's value is Q_tot = sum_i w_i(s) Q_i(o_i, a_i) + b(s) with w_i >= 0.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import Box
from lit_modules.common.distributions import tanh_normal_log_prob, tanh_normal_mode
from lit_modules.common.functional import agent_major, with_agent_id
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.optim import Adam
from lit_modules.common.schedule import Phase
from lit_modules.common.seed_module import SeedModule


class LocalToGlobal(SeedModule):
    """Local networks under a linear mixer. The settings have n_updates, batch_size, hidden, mixer_hidden and lr.

    A subclass has `policy`, whose outputs are mean and log-deviation of a squashed Gaussian, or an `act` of its own.
    """

    keys = ("obs", "state", "action", "reward", "terminated", ("next", "obs"), ("next", "state"))
    actions, modes = Box, ("greedy",)
    shared = True  # one network for all agents, told apart by a one-hot; False: one for each
    config: Any
    policy: StackedMLP

    @property
    def seen_size(self) -> int:
        """Of an agent's observation, with its one-hot where networks are shared."""
        return self.spec.obs_size + (self.spec.n_agents if self.shared else 0)

    def agents(self, inputs: int, outputs: int, hidden: Sequence[int] | None = None) -> StackedMLP:
        lead = (len(self.seeds),) if self.shared else (len(self.seeds), self.spec.n_agents)
        return StackedMLP(
            (inputs, *(self.config.hidden if hidden is None else hidden), outputs), lead, self.weight_rngs
        )

    def make_mixer(self) -> StackedMLP:
        sizes = (math.prod(self.spec.state_shape), *self.config.mixer_hidden, self.spec.n_agents + 1)
        return StackedMLP(sizes, (len(self.seeds),), self.weight_rngs)

    def make_q(self) -> StackedMLP:
        return self.agents(self.seen_size + self.spec.action_size, 1)

    def make_policy(self) -> StackedMLP:
        return self.agents(self.seen_size, 2 * self.spec.action_size)

    def q_taken(self, q: StackedMLP, d: dict[str, Tensor], when: Literal["", "next_"] = "") -> Tensor:
        """Q_i(o_i, a_i) of the data's actions, or of its next ones, [S, N, B]."""
        return self.per_agent(q, d[f"{when}obs_action"]).squeeze(-1)

    def log_prob(self, out: Tensor, action: Tensor) -> Tensor:
        """log pi_i(a_i | o_i) [S, N, B] of the policy's outputs."""
        return tanh_normal_log_prob(out, action)

    def log_pi(self, d: dict[str, Tensor]) -> Tensor:
        """log pi_i(a_i | o_i) of the data's actions, [S, N, B]."""
        return self.log_prob(self.per_agent(self.policy, d["obs"]), d["action"])

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        """batch [S, B] -> agent-major tensors (S, N, B, ..); states (S, B, N * St)."""
        obs, action = self.identified(batch["obs"]), agent_major(batch["action"])
        return {
            "obs": obs,  # (S, N, B, O + N)
            "obs_action": self.with_action(obs, action),  # (S, N, B, O + A + N)
            "next_obs": self.identified(batch["next", "obs"]),
            "state": batch["state"].flatten(2),
            "next_state": batch["next", "state"].flatten(2),
            "action": action,  # (S, N, B, A)
            "reward": batch["reward"].squeeze(-1),  # (S, B)
            "mask": 1 - batch["terminated"].squeeze(-1).to(obs.dtype),
        }

    def identified(self, obs: Tensor) -> Tensor:
        """obs [S, B, N, O] -> [S, N, B, O + N], or without the one-hot where each agent has its own networks."""
        return self.with_id(agent_major(obs))

    def with_id(self, obs: Tensor) -> Tensor:
        """The same of agent-major observations [S, N, B, O]."""
        return with_agent_id(obs) if self.shared else obs

    def with_action(self, obs: Tensor, action: Tensor) -> Tensor:
        """The input of Q: observation, action, one-hot, in the released order."""
        size = self.spec.obs_size
        return torch.cat([obs[..., :size], action, obs[..., size:]], -1)

    def per_agent(self, net: StackedMLP, x: Tensor) -> Tensor:
        """x [S, N, B, in] -> [S, N, B, out], by one network for all agents or one for each."""
        return net(x.flatten(1, 2)).view(*x.shape[:3], -1) if self.shared else net(x)

    def of_many(
        self, net: StackedMLP, obs: Tensor, many: Tensor, at: int | None = None, frozen: bool = False
    ) -> Tensor:
        """A network at M values for each observation: obs [S, N, B, O + N], many [S, N, B, M, k] -> [S, N, B, M, out].

        The values stand before input `at` of the observation, by default where Q has its action. `frozen`: gradients
        reach the values, and not the network.
        """
        x, y, theta = obs, many, net.theta.detach() if frozen else net.theta
        if self.shared:
            x, y = x.flatten(1, 2), y.flatten(1, 2)
        return net.of_many(x, y, self.spec.obs_size if at is None else at, theta).view(*many.shape[:-1], -1)

    def mix(self, mixer: StackedMLP, state: Tensor) -> tuple[Tensor, Tensor]:
        """state [S, B, N * St] -> w = |.| [S, N, B] and b [S, B]."""
        out = mixer(state)  # (S, B, N + 1)
        return out[..., :-1].abs().transpose(1, 2), out[..., -1]

    def total(self, mixer: StackedMLP, state: Tensor, local: Tensor) -> Tensor:
        """Q_tot = sum_i w_i(s) Q_i + b(s): local [S, N, B] -> [S, B]."""
        w, b = self.mix(mixer, state)
        return (w * local).sum(1) + b

    def phases(self) -> list[Phase]:
        return [Phase("train", self.config.n_updates, self.config.batch_size)]

    def adams(self, **groups: list[StackedMLP]) -> dict[str, torch.optim.Optimizer]:
        """One Adam for each group of networks."""
        return {name: Adam([net.theta for net in nets], lr=self.config.lr) for name, nets in groups.items()}

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A]: the squashed mean. Nothing samples."""
        return tanh_normal_mode(self.per_agent(self.policy, self.identified(obs))).transpose(1, 2), carry
