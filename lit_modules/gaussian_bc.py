# Gaussian BC: behavior cloning for continuous actions, the baseline that every offline method has to beat.
# OMIGA's policy loss with weight 1 in place of exp(z), same network and optimizer: what remains is OMIGA's own idea.
#
# D1  ComaDICE's released cloning computes this loss and never steps its optimizer; here it learns.
"""Behavior cloning with a squashed Gaussian policy, shared by the agents."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import Box, WorldSpec
from lit_modules.common.distributions import tanh_normal_log_prob, tanh_normal_mode
from lit_modules.common.functional import agent_major, with_agent_id
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.optim import Adam
from lit_modules.common.registry import register
from lit_modules.common.schedule import Phase
from lit_modules.common.seed_module import SeedModule
from lit_modules.common.settings import AlgoConfig, Batch, Positive, Size, Width


class GaussianBCConfig(AlgoConfig):
    """Maximize E sum_i log pi(a_i | o_i, i) / n."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]
    lr: Positive  # Adam
    max_grad_norm: Positive  # per seed


@register("gaussian_bc")
class GaussianBC(SeedModule):
    keys = ("obs", "action")
    actions, modes = Box, ("greedy",)

    def __init__(self, config: GaussianBCConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        sizes = (spec.obs_size + spec.n_agents, *config.hidden, 2 * spec.action_size)
        self.policy = StackedMLP(sizes, (len(seeds),), self.weight_rngs)

    def update_clone(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of maximum likelihood. batch [S, B]."""
        loss = self.policy_loss(agent_major(batch["obs"]), agent_major(batch["action"]))
        self.descend("policy", loss, self.config.max_grad_norm)
        return {"loss/policy": loss.detach()}

    def policy_loss(self, obs: Tensor, action: Tensor) -> Tensor:
        """-E log pi(a_i | o_i, i) over agents and minibatch. obs [S, N, B, O], action [S, N, B, A] -> [S]."""
        return -tanh_normal_log_prob(self.outputs(obs), action).mean((1, 2))

    # ---- plumbing

    def outputs(self, obs: Tensor) -> Tensor:
        """[S, N, B, O] -> [S, N, B, 2 A]."""
        x = with_agent_id(obs)
        return self.policy(x.flatten(1, 2)).view(*x.shape[:3], -1)

    def phases(self) -> list[Phase]:
        return [Phase("clone", self.config.n_updates, self.config.batch_size)]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"policy": Adam(self.policy.parameters(), lr=self.config.lr)}

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A]: the squashed mean. Nothing samples."""
        return tanh_normal_mode(self.outputs(agent_major(obs))).transpose(1, 2), carry
