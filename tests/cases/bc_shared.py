"""Behavior cloning by a shared policy in small, and plainly."""

import torch
from torch import Tensor

from cases import mlp, step, with_ids
from data.common.spec import WorldSpec
from data.synthetic import LOCAL
from lit_modules.bc_shared import BCSharedConfig
from reproduce.regression.cases import Case


class PlainBCShared:
    def __init__(self, config: BCSharedConfig, spec: WorldSpec):
        self.c, self.policy = config, mlp(spec.obs_size + spec.n_agents, *config.hidden, spec.n_actions)
        self.adam = torch.optim.Adam(self.policy.parameters(), lr=config.lr)

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        loss = -torch.distributions.Categorical(logits=self.policy(with_ids(b["obs"]))).log_prob(b["action"]).mean()
        step(self.adam, loss, self.c.max_grad_norm)
        return {"loss/policy": loss.detach()}


CASE = Case(
    config=BCSharedConfig(name="bc_shared", n_updates=50, batch_size=16, hidden=[8], lr=1e-2, max_grad_norm=1.0),
    spec=LOCAL,
    plain=PlainBCShared,
    state=("policy.theta",),
)
