# ICQ on OMIGA's networks for discrete actions: ours, after the continuous form (lit_modules/icq_ma.py)
# OMIGA's StarCraft table has ICQ, and no code of it is published. This is no reproduction of that column. ICQ as its
# own authors released it is lit_modules/icq_discrete.py.
#
# D1  Twin Q, temperatures, weights and the decay over rows are the continuous form's (its D1 to D3).
# D2  a' is the data's next action, 0 after an episode's last transition, where no target bootstraps.
# D3  Rewards, ends and legal actions are those of OMIGA's StarCraft branch (lit_modules/omiga_discrete.py, D6 to D8).
# D4  n_updates: as OMIGA.
"""Implicit constraint Q-learning for discrete actions under OMIGA's mixer."""

from typing import Literal

from tensordict import TensorDict
from torch import Tensor

from lit_modules.common.functional import agent_major
from lit_modules.common.local_discrete import LocalDiscrete
from lit_modules.common.registry import register
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, Positive, Size, Width
from lit_modules.icq_ma import ICQMA


class ICQMADiscreteConfig(AlgoConfig):
    """Actions of the data alone: their values are weighted by a softmax over the minibatch in place of a maximum."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of Q and policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, two optimizers
    max_grad_norm: Positive  # of the policy, of both Q and the mixer together; per seed
    gamma: Fraction
    tau: Fraction
    target_temperature: Positive
    policy_temperature: Positive
    td_lambda: Fraction | None
    weights: Literal["released", "batch"]  # released | batch
    reward: Literal["return_to_go", "step"]  # return_to_go | step
    done: Literal["state", "terminated"]  # state | terminated


@register("icq_ma_discrete")
class ICQMADiscrete(LocalDiscrete, ICQMA):
    """Update and losses: ICQMA."""

    further_keys = (("next", "action"),)

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        return super().unpack(batch) | {"next_action": agent_major(batch["next", "action"])}
