# BC of whole episodes by one recurrent policy for all agents, as CFCQL's released code clones StarCraft's data
# (thu-rllab/CFCQL 3441019, folder discrete): maximum likelihood over legal actions.
#
# D1  n_updates: the released clock counts steps of the sampled episodes, 10,050,000 in all.
"""Behavior cloning of discrete actions by a shared recurrent policy."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.distributions import masked_log_softmax
from lit_modules.common.functional import taken
from lit_modules.common.optim import Adam
from lit_modules.common.recurrent import Recurrent, masked_mean
from lit_modules.common.registry import register
from lit_modules.common.schedule import Phase
from lit_modules.common.settings import AlgoConfig, Batch, Positive, Size, Width


class BCRecurrentConfig(AlgoConfig):
    """Maximize sum_i log pi(a_i | history of agent i)."""

    n_updates: Size
    batch_size: Batch  # episodes
    gru_hidden: Width
    lr: Positive  # Adam
    max_grad_norm: Positive  # per seed


@register("bc_recurrent")
class BCRecurrent(Recurrent):
    def __init__(self, config: BCRecurrentConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(config, seeds, spec, **clock)
        self.agent = self.make_agent(spec.n_actions)

    def update_clone(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of maximum likelihood. batch [S, B, T]."""
        loss = self.policy_loss(self.unpack(batch))
        self.descend("policy", loss, self.config.max_grad_norm)
        return {"loss/policy": loss.detach()}

    def policy_loss(self, d: dict[str, Tensor]) -> Tensor:
        """-E log pi(a_i | history) over agents and the steps of the episodes -> [S]."""
        log_pi = self.action_log_probs(self.per_agent(self.agent, d["seen"]), d["legal"])[:, :, :-1]
        return masked_mean(-taken(log_pi, d["action"]).mean(-1), d["mask"])

    # ---- plumbing

    def phases(self) -> list[Phase]:
        return [self.episodes("clone", self.config.n_updates)]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"policy": Adam(self.agent.parameters(), lr=self.config.lr)}

    def action_log_probs(self, out: Tensor, legal: Tensor | None) -> Tensor:
        return masked_log_softmax(out, legal)
