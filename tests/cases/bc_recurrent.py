"""Behavior cloning of whole episodes in small, and plainly."""

import torch
from torch import Tensor

from cases import MARINES, step
from cases.cfcql_discrete import PlainAgent, agent_inputs, rows
from data.common.spec import WorldSpec
from data.synthetic import DISCRETE
from lit_modules.bc_recurrent import BCRecurrentConfig
from reproduce.regression.cases import Benchmark, Case


class PlainBCRecurrent:
    def __init__(self, config: BCRecurrentConfig, spec: WorldSpec):
        self.c, self.a = config, spec.n_actions
        self.agent = PlainAgent(spec.obs_size + spec.n_actions + spec.n_agents, config.gru_hidden, spec.n_actions)
        self.adam = torch.optim.Adam(self.agent.parameters(), lr=config.lr)

    def update_clone(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        seen, legal = agent_inputs(b, self.a), rows(b, "legal_actions")[:, :-1]
        logits = self.agent(seen.flatten(0, 1)).view(*seen.shape[:3], -1).transpose(1, 2)[:, :-1]
        log_pi = logits.masked_fill(~legal, -1e8).log_softmax(-1).gather(-1, b["action"].unsqueeze(-1)).squeeze(-1)
        loss = -log_pi[b["mask"] > 0].mean()
        step(self.adam, loss, self.c.max_grad_norm)
        return {"loss/policy": loss.detach()}


CASE = Case(
    config=BCRecurrentConfig(
        name="bc_recurrent", n_updates=30, batch_size=6, gru_hidden=8, lr=1e-2, max_grad_norm=10.0
    ),
    spec=DISCRETE,
    plain=PlainBCRecurrent,
    state=("agent.theta",),
    benchmarks=(
        Benchmark(
            "bc_recurrent 3m", "inspo/xor/ab_ba", MARINES, ("algo=bc_recurrent",), {"batch_size": 32, "gru_hidden": 64}
        ),
    ),
)
