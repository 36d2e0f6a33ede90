"""Behavior cloning of discrete actions in small, and plainly."""

import torch
from torch import Tensor

from cases import BRIDGE, mlp, step
from data.common.spec import WorldSpec
from data.synthetic import DISCRETE
from lit_modules.bc import BCConfig
from reproduce.regression.cases import Benchmark, Case


class PlainBC:
    """One network and one Adam per agent."""

    def __init__(self, config: BCConfig, spec: WorldSpec):
        self.c = config
        self.policy = [mlp(spec.obs_size, *config.hidden, spec.n_actions) for _ in range(spec.n_agents)]
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=config.lr) for net in self.policy]

    def update_clone(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs [B, N, O] scaled, legal [B, N, A], action [B, N] int64."""
        total = torch.zeros(())
        for i, (net, optimizer) in enumerate(zip(self.policy, self.optimizers, strict=True)):
            log_pi = net(b["obs"][:, i]).masked_fill(~b["legal"][:, i], -1e8).log_softmax(-1)
            loss = -log_pi.gather(-1, b["action"][:, i, None]).mean()
            step(optimizer, loss, self.c.max_grad_norm)
            total = total + loss.detach()
        return {"loss/policy": total}


CASE = Case(
    config=BCConfig(name="bc", n_updates=50, batch_size=16, hidden=[8], lr=1e-2, max_grad_norm=10.0, joint=False),
    spec=DISCRETE,
    plain=PlainBC,
    state=("policy.theta",),
    variants={"joint": {"joint": True}},
    benchmarks=(Benchmark("bc bridge", "inspo/bridge/mix", BRIDGE, overrides=("algo=bc",)),),
)
