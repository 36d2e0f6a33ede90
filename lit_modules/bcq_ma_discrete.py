# BCQ-MA for discrete actions on OMIGA's networks: ours, after Fujimoto et al. 2019 (arXiv 1910.01708)
# OMIGA's StarCraft table has BCQ-MA, and no code of it is published. This is no reproduction of that column.
#
# D1  An action is allowed where its cloned probability is above `threshold` times the largest. Nothing perturbs it.
# D2  A target takes the largest slow Q_i over allowed actions, and mixes. The official discrete BCQ takes the action
#     from the online Q and the value from the slow one; it has one Q too.
# D3  The cloned logits are kept small by logit_penalty, as in the official code.
# D4  All losses are taken before any step, as OMIGA does.
# D5  Evaluation takes the largest Q_i over legal actions that are allowed among the legal ones.
# D6  Rewards, ends and legal actions are those of OMIGA's StarCraft branch (lit_modules/omiga_discrete.py, D6 to D8).
"""Batch-constrained Q-learning for discrete actions under OMIGA's mixer."""

import math
from typing import Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.distributions import masked_log_softmax
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.local_discrete import LocalDiscrete
from lit_modules.common.registry import register
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, NonNegative, Positive, Size, Width


class BCQMADiscreteConfig(AlgoConfig):
    """A clone of the data says which actions are allowed, Q chooses among them."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of Q and the clone
    mixer_hidden: list[Width]
    lr: Positive  # Adam, two optimizers
    max_grad_norm: Positive  # of the clone, of Q and mixer together; per seed
    gamma: Fraction
    tau: Fraction
    threshold: Fraction
    logit_penalty: NonNegative
    reward: Literal["return_to_go", "step"]  # return_to_go | step
    done: Literal["state", "terminated"]  # state | terminated


@register("bcq_ma_discrete")
class BCQMADiscrete(LocalDiscrete):
    def __init__(self, config: BCQMADiscreteConfig, seeds: list[int], spec: WorldSpec, **clock: object):
        super().__init__(seeds, spec, **clock)  # type: ignore[arg-type]
        self.config = config
        self.q, self.policy, self.mixer = self.make_q(), self.make_policy(), self.make_mixer()
        self.q_target, self.mixer_target = make_target(self.q), make_target(self.mixer)

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of everything; both losses are taken before any step. batch [S, B]."""
        c, d = self.config, self.unpack(batch)
        losses = {"policy": self.policy_loss(d), "q": self.q_loss(d)}
        self.descend_all(losses, c.max_grad_norm)
        polyak(self.q_target, self.q, c.tau)
        polyak(self.mixer_target, self.mixer, c.tau)
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()}

    def policy_loss(self, d: dict[str, Tensor]) -> Tensor:
        """-E log G(a_i | o_i) + penalty E logits^2, over agents and minibatch -> [S]. D3"""
        logits = self.per_agent(self.policy, d["obs"])  # (S, N, B, A)
        penalty = self.config.logit_penalty * logits.square().mean((1, 2, 3))
        return penalty - self.log_prob(logits, d["action"]).mean((1, 2))

    def q_loss(self, d: dict[str, Tensor]) -> Tensor:
        """E (Q_tot - y)^2, y = r + gamma (1 - done) Q_tot'(s', a'), a'_i the best allowed one under Q'_i -> [S]. D2"""
        with torch.no_grad():
            allowed = self.allowed(self.per_agent(self.policy, d["next_obs"]).log_softmax(-1))
            q = self.per_agent(self.q_target, d["next_obs"]).masked_fill(~allowed, -torch.inf).amax(-1)
            y = d["reward"] + self.config.gamma * d["mask"] * self.total(self.mixer_target, d["next_state"], q)
        return (self.total(self.mixer, d["state"], self.q_taken(self.q, d)) - y).square().mean(-1)

    def allowed(self, log_g: Tensor) -> Tensor:
        """G(a) / max G > threshold: [.., A] -> bool. The likeliest action always is. D1"""
        best = log_g.amax(-1, keepdim=True)
        limit = math.log(self.config.threshold) if self.config.threshold else -math.inf
        return (log_g - best > limit) | (log_g == best)

    # ---- plumbing

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.adams(policy=[self.policy], q=[self.q, self.mixer])

    def policy_log_probs(self, obs: Tensor, legal: Tensor | None) -> Tensor:
        """Of Q_i's softmax over what is allowed; evaluation takes the largest. D5"""
        seen = self.with_id(obs)
        allowed = self.allowed(masked_log_softmax(self.per_agent(self.policy, seen), legal))
        return masked_log_softmax(self.per_agent(self.q, seen), allowed)
