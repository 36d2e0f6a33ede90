# ICQ-MA: implicit constraint Q-learning (Yang et al. 2021) on OMIGA's networks, a baseline of its MuJoCo table
# OMIGA's authors published no baseline. This is the continuous ICQ agent of vietbt/ComaDICE (eef0f74), by inference
# their own code. ICQ as its own authors released it differs in D1 and D2.
#
# D1  weights=released: neither softmax over the minibatch is multiplied by its size. The bootstrapped value is then
#     about 1/128 of Q_tot', and the policy's weights sum to 1. batch: both are multiplied, as ICQ's authors do.
# D2  td_lambda=0.8: the error of row k counts (td_lambda gamma)^j, j the rows since the minibatch's last terminal
#     one. That is the decay of TD(lambda) on rows that have nothing to do with each other. null: every row counts
#     alike.
# D3  Temperatures 10 and 100 for every dataset; 100 makes the policy's weights nearly uniform.
# D4  a' is the data's next action. After an episode's last transition it is 0, where the file holds a dummy. Where
#     that one is terminal no target bootstraps from it, only the softmax sees it; a time limit that is bootstrapped
#     (protocol.time_limits) values it.
# D5  n_updates: unknown for the baselines; as OMIGA.
"""Implicit constraint Q-learning under OMIGA's mixer."""

from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.functional import agent_major, make_target, polyak
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.registry import register
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, Positive, Size, Width


class ICQMAConfig(AlgoConfig):
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


@register("icq_ma")
class ICQMA(LocalToGlobal):
    keys = (*LocalToGlobal.keys, ("next", "action"))

    def __init__(self, config: Any, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        self.q1, self.q2 = self.make_q(), self.make_q()
        self.policy, self.mixer = self.make_policy(), self.make_mixer()
        self.q1_target, self.q2_target, self.mixer_target = map(make_target, (self.q1, self.q2, self.mixer))

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of everything; both losses are taken before any step. batch [S, B]."""
        c, d = self.config, self.unpack(batch)
        q = self.smaller(self.q1, self.q2, d)  # (S, N, B)
        w, b = self.mix(self.mixer, d["state"])
        losses = {"policy": self.policy_loss(d, w, q), "q": self.q_loss(d, (w * q).sum(1) + b)}
        self.descend_all(losses, c.max_grad_norm)
        for name in ("q1", "q2", "mixer"):
            polyak(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()} | {"value/q": q.detach().mean((1, 2))}

    def q_loss(self, d: dict[str, Tensor], q_tot: Tensor) -> Tensor:
        """E ( c_k (Q_tot - y) )^2, y = r + gamma (1 - done) softmax(Q_tot' / T) Q_tot', the softmax over the minibatch
        -> [S]. q_tot (S, B). D1, D2"""
        with torch.no_grad():
            q = self.smaller(self.q1_target, self.q2_target, d, "next_")
            later = self.total(self.mixer_target, d["next_state"], q)  # (S, B)
            weight = self.over_batch(later / self.config.target_temperature)
            y = d["reward"] + self.config.gamma * d["mask"] * weight * later
        return (self.decay(d["mask"]) * (q_tot - y)).square().mean(-1)

    def policy_loss(self, d: dict[str, Tensor], w: Tensor, q: Tensor) -> Tensor:
        """-E softmax(w_i(s) Q_i / T) log pi(a_i | o_i), softmax over the minibatch per agent -> [S]. D1, D3"""
        weight = self.over_batch((w * q).detach() / self.config.policy_temperature)
        return -(weight * self.log_pi(d)).mean((1, 2))

    # ---- plumbing

    def over_batch(self, x: Tensor) -> Tensor:
        """[.., B] -> its softmax, times B where the weights are to average 1."""
        return x.softmax(-1) * (x.shape[-1] if self.config.weights == "batch" else 1)

    def decay(self, mask: Tensor) -> Tensor:
        """mask [S, B] -> (td_lambda gamma)^j, j the rows since the last terminal one, or since the first row. D2"""
        if self.config.td_lambda is None:
            return torch.ones_like(mask)
        rows = torch.arange(mask.shape[-1], device=mask.device).expand(mask.shape)
        last = (rows * (mask == 0)).cummax(-1).values
        return (self.config.td_lambda * self.config.gamma) ** (rows - last).to(mask.dtype)

    def smaller(self, q1: StackedMLP, q2: StackedMLP, d: dict[str, Tensor], when: Literal["", "next_"] = "") -> Tensor:
        """The smaller of both Q at the data's actions, [S, N, B]."""
        return torch.minimum(self.q_taken(q1, d, when), self.q_taken(q2, d, when))

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        d = super().unpack(batch)
        return d | {"next_obs_action": self.with_action(d["next_obs"], agent_major(batch["next", "action"]))}

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.adams(policy=[self.policy], q=[self.q1, self.q2, self.mixer])
