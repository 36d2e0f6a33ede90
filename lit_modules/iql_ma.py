# IQL-MA: implicit Q-learning (Kostrikov et al. 2022), arXiv 2110.06169, under OMIGA's decomposition, arXiv 2307.11620
# No released code of this algorithm exists for continuous actions on these data: this is our composition, and its
# results are nobody's published baseline. From IQL: the expectile, the twin Q, the policy's weight and its cap. From
# OMIGA: networks, mixer, squashed policy and optimization. It differs from OMIGA in V's loss and the policy's weight
# alone, and in the second Q. DongsuLeeTech/offline-marl-recipe has another one, which mixes local targets.
#
# D1  V has no slow copy, as in IQL; OMIGA's code slows it. V_tot has the slow mixer wherever it stands, so b' is
#     no part of u = min Q_tot' - V_tot.
# D2  u has the smaller of both totals, agent i's weight the smaller of both Q_i'. The weight has the slow Q of IQL's
#     code and the slow w of OMIGA's.
# D3  All losses are taken before any step, as in OMIGA's code. IQL steps V, policy and Q one after another.
# D4  Rewards are the data's. IQL scales them by the data's returns, and lowers the policy's rate along a cosine.
"""Implicit Q-learning under OMIGA's mixer; a composition of this project."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.distributions import tanh_normal_log_prob
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.registry import register
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, NonNegative, Positive, Size, Width


class IQLMAConfig(AlgoConfig):
    """V_tot is an expectile of Q_tot over the data's actions, so no other action is ever judged; pi clones by
    exp(beta w_i (Q_i - V_i))."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of V, both Q and the policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, three optimizers
    max_grad_norm: Positive  # of the policy, of both Q and the mixer together, of V; per seed
    gamma: Fraction
    tau: Fraction
    expectile: Fraction  # 0.5 = the mean; higher = nearer to the best of the data's actions
    beta: NonNegative  # 0 = cloning
    weight_limit: Positive


@register("iql_ma")
class IQLMA(LocalToGlobal):
    def __init__(self, config: IQLMAConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        a, seen = spec.action_size, self.seen_size
        self.v, self.policy, self.mixer = self.agents(seen, 1), self.agents(seen, 2 * a), self.make_mixer()
        self.q1, self.q2 = self.agents(seen + a, 1), self.agents(seen + a, 1)
        self.q1_target, self.q2_target, self.mixer_target = map(make_target, (self.q1, self.q2, self.mixer))

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of everything; all losses are taken before any step. batch [S, B]. D3"""
        c, d = self.config, self.unpack(batch)
        advantage, v = self.advantage(d)
        losses = {
            "policy": self.policy_loss(d, advantage.detach()),
            "q": self.q_loss(d),
            "v": self.v_loss(advantage),
        }
        self.descend_all(losses, c.max_grad_norm)
        for name in ("q1", "q2", "mixer"):
            polyak(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        seen = {"value/v": v.detach().mean((1, 2)), "value/advantage": advantage.detach().amin(1).mean((1, 2))}
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()} | seen

    def q_loss(self, d: dict[str, Tensor]) -> Tensor:
        """sum_k E (Q_k_tot(s, a) - y)^2, y = r + gamma (1 - done) V_tot(s') -> [S]. D1"""
        with torch.no_grad():
            v = self.per_agent(self.v, d["next_obs"]).squeeze(-1)  # (S, N, B)
            y = d["reward"] + self.config.gamma * d["mask"] * self.total(self.mixer_target, d["next_state"], v)
        w, b = self.mix(self.mixer, d["state"])  # (S, N, B), (S, B)
        totals = ((w * self.per_agent(net, d["obs_action"]).squeeze(-1)).sum(1) + b for net in (self.q1, self.q2))
        return torch.stack([(total - y).square().mean(-1) for total in totals]).sum(0)

    def advantage(self, d: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """w_i'(s) (Q_ki'(o_i, a_i) - V_i(o_i)), (S, 2, N, B), and V, (S, N, B); only V carries a gradient. D1"""
        with torch.no_grad():
            w, _ = self.mix(self.mixer_target, d["state"])
            q = [self.per_agent(net, d["obs_action"]).squeeze(-1) for net in (self.q1_target, self.q2_target)]
        v = self.per_agent(self.v, d["obs"]).squeeze(-1)
        return w.unsqueeze(1) * (torch.stack(q, 1) - v.unsqueeze(1)), v

    def v_loss(self, advantage: Tensor) -> Tensor:
        """E |expectile - 1(u < 0)| u^2, u = min_k Q_k_tot'(s, a) - V_tot(s): (S, 2, N, B) -> [S]. D1, D2"""
        u = advantage.sum(2).amin(1)  # (S, B)
        return ((self.config.expectile - (u < 0).to(u.dtype)).abs() * u.square()).mean(-1)

    def policy_loss(self, d: dict[str, Tensor], advantage: Tensor) -> Tensor:
        """-E min(exp(beta w_i' (min_k Q_ki' - V_i)), limit) log pi(a_i | o_i) over agents and minibatch -> [S]. D2"""
        weight = (self.config.beta * advantage.amin(1)).exp().clamp(max=self.config.weight_limit)  # (S, N, B)
        log_pi = tanh_normal_log_prob(self.per_agent(self.policy, d["obs"]), d["action"])
        return -(weight * log_pi).mean((1, 2))

    # ---- plumbing

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.adams(policy=[self.policy], q=[self.q1, self.q2, self.mixer], v=[self.v])
