# BC: behavior cloning with one policy for all agents, told apart by a one-hot.
# Maximum likelihood of the data's actions; no source beyond that is needed.
#
# D1  Illegal actions are masked in evaluation only, as in OMIGA's StarCraft branch, which this is the baseline of.
"""Behavior cloning of discrete actions by a shared policy."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.local_discrete import LocalDiscrete
from lit_modules.common.registry import register
from lit_modules.common.settings import AlgoConfig, Batch, Positive, Size, Width


class BCSharedConfig(AlgoConfig):
    """Maximize sum_i log pi(a_i | o_i, i)."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]
    lr: Positive  # Adam
    max_grad_norm: Positive  # per seed


@register("bc_shared")
class BCShared(LocalDiscrete):
    keys = ("obs", "action")  # type: ignore[assignment]
    modes = ("greedy", "sampled")

    def __init__(self, config: BCSharedConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        self.policy = self.make_policy()

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of maximum likelihood. batch [S, B]."""
        loss = self.policy_loss({"obs": self.identified(batch["obs"]), "action": batch["action"].transpose(1, 2)})
        self.descend("policy", loss, self.config.max_grad_norm)
        return {"loss/policy": loss.detach()}

    def policy_loss(self, d: dict[str, Tensor]) -> Tensor:
        """-E log pi(a_i | o_i, i) over agents and minibatch -> [S]. D1"""
        return -self.log_pi(d).mean((1, 2))

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.adams(policy=[self.policy])
