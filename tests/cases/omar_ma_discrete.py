"""OMAR-MA for discrete actions in small, and plainly."""

import torch.nn.functional as F
from torch import Tensor

from cases import with_ids
from cases.cql_ma_discrete import CQL_DISCRETE_SMALL, PlainCQLMADiscrete, spread
from data.synthetic import LOCAL
from lit_modules.omar_ma_discrete import OMARMADiscreteConfig
from reproduce.regression.cases import Case, Parity


class PlainOMARMADiscrete(PlainCQLMADiscrete):
    """Critic of CQL-MA."""

    def policy_loss(self, b: dict[str, Tensor]) -> Tensor:
        c, obs = self.c.coefficient, with_ids(b["obs"])  # type: ignore[attr-defined]
        q, pi = self.q(obs).detach(), self.policy(obs).softmax(-1)
        best = F.one_hot(q.argmax(-1), q.shape[-1])
        return c * (pi - best).square().sum(-1).mean() - (1 - c) * (pi * q).sum(-1).mean()


OMAR_DISCRETE_SMALL = OMARMADiscreteConfig(
    **CQL_DISCRETE_SMALL.model_dump(exclude={"name"}), name="omar_ma_discrete", coefficient=0.5
)
CASE = Case(
    config=OMAR_DISCRETE_SMALL,
    spec=LOCAL,
    plain=PlainOMARMADiscrete,
    state=tuple(f"{net}.theta" for net in ("q", "policy", "mixer", "q_target", "mixer_target")),
    variants={"climb": {"coefficient": 0.1, "reward": "step"}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "clipped": Parity({"lr": 1e-3, "max_grad_norm": 0.02, "coefficient": 0.9}, spread),
    },
)
