# OMAR-MA for discrete actions on OMIGA's networks: ours, after the continuous form (lit_modules/omar_ma.py)
# OMIGA's StarCraft table has OMAR, and no code of it is published. This is no reproduction of that column.
#
# D1  The critic is CQL-MA's (lit_modules/cql_ma_discrete.py).
# D2  Over finitely many actions nothing needs to be sampled: a* is the best action under Q_i. Probabilities move
#     towards its one-hot by squared distance, and Q's part is the mean of Q_i under pi. CFCQL's discrete OMAR takes the
#     mean over actions where this takes the sum: the same coefficient pulls A times as hard here.
# D3  Policy and a* are judged by the local, unmixed Q_i, over all actions. Nothing clones the data.
"""Actor rectification for discrete actions, under OMIGA's mixer."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from lit_modules.common.registry import register
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, NonNegative, Positive, Size, Width
from lit_modules.cql_ma_discrete import CQLMADiscrete


class OMARMADiscreteConfig(AlgoConfig):
    """CQL-MA's critic. The policy climbs Q_i, and moves towards the best action under Q_i."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of Q and policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, two optimizers
    max_grad_norm: Positive  # of the policy, of Q and mixer together; per seed
    gamma: Fraction
    tau: Fraction
    conservatism: NonNegative  # weight of the conservative term
    coefficient: Fraction  # of the distance to the best action; the rest is Q's
    reward: Literal["return_to_go", "step"]  # return_to_go | step
    done: Literal["state", "terminated"]  # state | terminated


@register("omar_ma_discrete")
class OMARMADiscrete(CQLMADiscrete):
    """Update, critic and target: CQLMADiscrete."""

    def policy_loss(self, d: dict[str, Tensor], out: Tensor, q: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """c E sum_a (pi(a | o_i) - 1[a = a*_i])^2 - (1 - c) E sum_a pi(a | o_i) Q_i(o_i, a), a* = argmax Q_i; means
        over agents and minibatch -> [S]. D2"""
        c, pi, values = self.config.coefficient, out.softmax(-1), q[..., 1:].detach()  # (S, N, B, A) both
        best = F.one_hot(values.argmax(-1), values.shape[-1])
        loss = c * (pi - best).square().sum(-1) - (1 - c) * (pi * values).sum(-1)
        return loss.mean((1, 2))
