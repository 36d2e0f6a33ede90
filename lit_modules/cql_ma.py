# CQL-MA: conservative Q-learning (Kumar et al. 2020) on OMIGA's networks, a baseline of its MuJoCo table
# OMIGA's authors published no baseline. This is the continuous CQL agent of vietbt/ComaDICE (eef0f74), by inference
# their own code: same skeleton, names and networks as their OMIGA file. The poster's numbers are known, how they were
# made is not.
#
# D1  The policy clones the data with Q(o_i, a_i) itself as weight, not with an advantage. Q_tot leaves the level of
#     each Q_i open, so that an agent whose Q_i is negative unlearns the data. No published code or formula says what
#     would stand in its place (an advantage, maximizing Q): no switch.
# D2  The conservative term is per agent, on w_i Q_i + b: it counts b once for each agent and once in Q_tot.
# D3  conservatism=1 and 10 actions per source for every dataset; no temperature and no importance correction.
# D4  Actions at o' are judged at o too, as in the released code of CQL.
# D5  One Q and no slow policy. The policy samples with its mean as it is; density and evaluation clamp it to +-9.
# D6  n_updates: unknown for the baselines; as OMIGA.
"""Conservative Q-learning under OMIGA's mixer."""

from typing import Any

import torch
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.distributions import tanh_normal_sample
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, NonNegative, Positive, Size, Width


class CQLMAConfig(AlgoConfig):
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
    n_actions: Width  # of each of the three sources


@register("cql_ma")
class CQLMA(LocalToGlobal):
    def __init__(self, config: Any, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        self.q, self.policy, self.mixer = self.make_q(), self.make_policy(), self.make_mixer()
        self.q_target, self.mixer_target = make_target(self.q), make_target(self.mixer)

    def update_train(self, batch: Any, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of everything; both losses are taken before any step. batch [S, B]."""
        c, d = self.config, self.unpack(batch)
        out, q, y = self.judge(d, noise)
        losses = {"policy": self.policy_loss(d, out, q, noise), "q": self.q_loss(d, q, y)}
        self.descend_all(losses, c.max_grad_norm)
        polyak(self.q_target, self.q, c.tau)
        polyak(self.mixer_target, self.mixer, c.tau)
        seen = {"value/q": q.detach()[..., 0].mean((1, 2)), "value/q_sampled": q.detach()[..., 1:].mean((1, 2, 3))}
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()} | seen

    def q_loss(self, d: dict[str, Tensor], q: Tensor, y: Tensor) -> Tensor:
        """E (Q_tot - y)^2 + E [ sum_i log sum_m exp(w_i Q_i(o_i, a_m) + b) - Q_tot ] -> [S]. D2"""
        w, b = self.mix(self.mixer, d["state"])  # (S, N, B), (S, B)
        q_tot = (w * q[..., 0]).sum(1) + b
        sampled = w.unsqueeze(-1) * q[..., 1:] + b[:, None, :, None]  # (S, N, B, M)
        conservative = (sampled.logsumexp(-1).sum(1) - q_tot).mean(-1)
        return (q_tot - y).square().mean(-1) + self.config.conservatism * conservative

    def policy_loss(self, d: dict[str, Tensor], out: Tensor, q: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """-E sum_i Q_i(o_i, a_i) log pi(a_i | o_i), Q_i a constant -> [S]. D1"""
        return -(q[..., 0].detach() * self.log_prob(out, d["action"])).sum(1).mean(-1)

    def judge(self, d: dict[str, Tensor], noise: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The policy's outputs at o, (S, N, B, 2 A); Q_i of the data's action and M others, (S, N, B, 1 + M); y."""
        out = self.per_agent(self.policy, d["obs"])
        actions, y = self.actions_and_target(d, out.detach(), noise)
        return out, self.of_many(self.q, d["obs"], actions).squeeze(-1), y

    @torch.no_grad()
    def actions_and_target(self, d: dict[str, Tensor], out: Tensor, noise: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Actions to judge at o: the data's, then uniform ones, of pi(o) and of pi(o'), (S, N, B, 1 + M, A); and
        y = r + gamma (1 - done) Q_tot'(s', a'), a' ~ pi(o'), (S, B)."""
        next_out = self.per_agent(self.policy, d["next_obs"])
        current, later = (
            tanh_normal_sample(x.unsqueeze(-2), noise[key]) for x, key in ((out, "current"), (next_out, "later"))
        )
        next_action = tanh_normal_sample(next_out, noise["next"])
        q = self.per_agent(self.q_target, self.with_action(d["next_obs"], next_action)).squeeze(-1)
        y = d["reward"] + self.config.gamma * d["mask"] * self.total(self.mixer_target, d["next_state"], q)
        return torch.cat([d["action"].unsqueeze(-2), noise["uniform"], current, later], -2), y

    # ---- plumbing

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per update: next (S, N, B, A) normal; uniform in [-1, 1), current and later normal, (S, N, B, M, A)."""
        k, rows = chunk.n_updates, (self.spec.n_agents, chunk.batch_size)
        a, many = self.spec.action_size, (*rows, self.config.n_actions, self.spec.action_size)
        drawn = {"next": self.normal(k, *rows, a), "uniform": self.uniform(k, *many) * 2 - 1}
        drawn |= {name: self.normal(k, *many) for name in ("current", "later")}
        return {name: x.to(self.dtype) for name, x in drawn.items()}

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.adams(policy=[self.policy], q=[self.q, self.mixer])
