# CQL-MA for discrete actions on OMIGA's networks: ours, after the continuous form (lit_modules/cql_ma.py)
# OMIGA's StarCraft table has CQL-MA, and no code of it is published. This is no reproduction of that column.
#
# D1  The conservative term counts every action once, legal or not, where the continuous form draws actions.
# D2  The policy clones with Q(o_i, a_i) itself as weight, as in the continuous form, with its danger: an agent whose
#     Q_i is negative unlearns the data.
# D3  Rewards, ends and legal actions are those of OMIGA's StarCraft branch (lit_modules/omiga_discrete.py, D6 to D8).
# D4  n_updates: as OMIGA.
"""Conservative Q-learning for discrete actions under OMIGA's mixer."""

from typing import Literal

import torch
from torch import Tensor

from lit_modules.common.distributions import sample_categorical
from lit_modules.common.functional import taken
from lit_modules.common.local_discrete import LocalDiscrete
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, NonNegative, Positive, Size, Width
from lit_modules.cql_ma import CQLMA


class CQLMADiscreteConfig(AlgoConfig):
    """Q_tot = sum_i w_i(s) Q_i + b(s) fits the data's returns and is low where the data are not; pi clones by Q."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of Q and policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, two optimizers
    max_grad_norm: Positive  # of the policy, of Q and mixer together; per seed
    gamma: Fraction
    tau: Fraction
    conservatism: NonNegative  # weight of the conservative term
    reward: Literal["return_to_go", "step"]  # return_to_go | step
    done: Literal["state", "terminated"]  # state | terminated


@register("cql_ma_discrete")
class CQLMADiscrete(LocalDiscrete, CQLMA):
    """Update and Q loss: CQLMA, every action in the place of drawn ones."""

    def judge(self, d: dict[str, Tensor], noise: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits at o, (S, N, B, A); Q_i of the data's action, then of all, (S, N, B, 1 + A); y (S, B)."""
        q = self.per_agent(self.q, d["obs"])
        values = torch.cat([taken(q, d["action"]).unsqueeze(-1), q], -1)
        return self.per_agent(self.policy, d["obs"]), values, self.td_target(d, noise["next"])

    @torch.no_grad()
    def td_target(self, d: dict[str, Tensor], uniform: Tensor) -> Tensor:
        """y = r + gamma (1 - done) Q_tot'(s', a'), a'_i ~ pi(o'_i) -> (S, B)."""
        log_pi = self.per_agent(self.policy, d["next_obs"]).log_softmax(-1)
        q = self.q_taken(self.q_target, d | {"next_action": sample_categorical(log_pi, uniform)}, "next_")
        return d["reward"] + self.config.gamma * d["mask"] * self.total(self.mixer_target, d["next_state"], q)

    # ---- plumbing

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per update: next (S, N, B) in [0, 1)."""
        return {"next": self.uniform(chunk.n_updates, self.spec.n_agents, chunk.batch_size).to(self.dtype)}
