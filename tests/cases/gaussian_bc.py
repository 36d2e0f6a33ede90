"""Behavior cloning of continuous actions in small, and plainly."""

import torch
from torch import Tensor

from cases import HALFCHEETAH, mlp, squashed_log_prob, step, with_ids
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS
from lit_modules.gaussian_bc import GaussianBCConfig
from reproduce.regression.cases import Benchmark, Case


class PlainGaussianBC:
    """One network for all agents."""

    def __init__(self, config: GaussianBCConfig, spec: WorldSpec):
        self.c = config
        self.policy = mlp(spec.obs_size + spec.n_agents, *config.hidden, 2 * spec.action_size)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.lr)

    def update_clone(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs [B, N, O], action [B, N, A] float."""
        loss = -squashed_log_prob(self.policy(with_ids(b["obs"])), b["action"]).mean()
        step(self.optimizer, loss, self.c.max_grad_norm)
        return {"loss/policy": loss.detach()}


CASE = Case(
    config=GaussianBCConfig(name="gaussian_bc", n_updates=50, batch_size=16, hidden=[8], lr=1e-2, max_grad_norm=1.0),
    spec=CONTINUOUS,
    plain=PlainGaussianBC,
    state=("policy.theta",),
    benchmarks=(
        Benchmark(
            "gaussian_bc halfcheetah", "omiga/mujoco/halfcheetah_medium", HALFCHEETAH, overrides=("algo=gaussian_bc",)
        ),
    ),
)
