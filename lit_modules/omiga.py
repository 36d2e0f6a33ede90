# OMIGA: Offline Multi-Agent RL with Implicit Global-to-Local Value Regularization (NeurIPS 2023), arXiv 2307.11620
# Equations: the authors' poster; behavior: their released code (ZhengYinan-AIR/OMIGA, branch master), which
# configs/algo/omiga.yaml follows. Where poster and code differ, a switch chooses; named below is the code's value.
#
# D1  targets=all: Q, V and the mixer have slow copies, and the TD target and z use them. The poster slows only Q.
# D2  z_limit=10: z is clamped to +-10, which stops the exponential's gradient beyond and leaves the linear term.
#     The poster does not clamp (null).
# D3  rescale=true: the V loss is multiplied by exp(-m), m the minibatch's largest z, at least -1; per seed here.
#     The poster does not rescale.
# D4  simultaneous=true: all three losses are taken before any step. The poster steps V, then Q and mixer, then policy.
# D5  shared=true: one network for all agents, told apart by a one-hot. The poster writes one per agent; with
#     shared=false each agent's V and policy are clipped by themselves, all agents' Q together with the mixer.
# D6  Evaluations follow updates 5000, 10000, .., 1000000; the code's follow update 1, 5001, .., 995001.
"""OMIGA for continuous actions."""

from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.registry import register
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, Positive, Size, Width


class OMIGAConfig(AlgoConfig):
    """Objective: max E[r] - alpha D(pi_tot, mu_tot), split over agents by Q_tot = sum_i w_i(s) Q_i + b(s), w >= 0.

    z_i = w_i (Q_i - V_i) / alpha is the local regularized advantage: V_i normalizes exp(z_i), pi_i clones with it.
    """

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of V, Q and policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, three optimizers
    max_grad_norm: Positive  # of the policy, of Q and mixer together, of V; per seed
    gamma: Fraction
    tau: Fraction
    alpha: Positive  # higher = closer to the data
    targets: Literal["all", "q"]  # all | q
    z_limit: Positive | None
    rescale: bool
    simultaneous: bool
    shared: bool


@register("omiga")
class OMIGA(LocalToGlobal):
    def __init__(self, config: Any, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config, self.shared = config, config.shared  # D5
        self.v, self.q, self.policy = self.agents(self.seen_size, 1), self.make_q(), self.make_policy()
        self.mixer = self.make_mixer()
        self.q_target = make_target(self.q)
        if config.targets == "all":
            self.v_target, self.mixer_target = make_target(self.v), make_target(self.mixer)

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of everything. batch [S, B]."""
        c, d = self.config, self.unpack(batch)
        z, w, v = self.regularized_advantage(d)
        losses = {"v": self.v_loss(z, w, v)}
        if c.simultaneous:  # D4
            losses = {"policy": self.policy_loss(d, z.detach()), "q": self.q_loss(d), **losses}
            self.descend_all(losses, c.max_grad_norm)
        else:
            self.descend("v", losses["v"], c.max_grad_norm)
            losses["q"] = self.q_loss(d)
            self.descend("q", losses["q"], c.max_grad_norm)
            z, _, v = self.regularized_advantage(d)
            losses["policy"] = self.policy_loss(d, z.detach())
            self.descend("policy", losses["policy"], c.max_grad_norm)
        for name in ("q", "v", "mixer") if c.targets == "all" else ("q",):  # D1
            polyak(self.target_or_online(name), getattr(self, name), c.tau)
        z = z.detach()  # its deviation says how far the policy is from cloning, whose weights are all one
        values = {"v": v.detach().mean((1, 2)), "z": z.mean((1, 2)), "z_std": z.std((1, 2), correction=0)}
        seen = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
        return seen | {f"value/{name}": value for name, value in values.items()}

    def q_loss(self, d: dict[str, Tensor]) -> Tensor:
        """E ( r + gamma (1 - done) V_tot'(s') - Q_tot(s, a) )^2 -> [S]."""
        with torch.no_grad():
            v = self.per_agent(self.target_or_online("v"), d["next_obs"]).squeeze(-1)  # (S, N, B)
            v_tot = self.total(self.target_or_online("mixer"), d["next_state"], v)
            y = d["reward"] + self.config.gamma * d["mask"] * v_tot  # (S, B)
        q = self.q_taken(self.q, d)  # (S, N, B)
        return (self.total(self.mixer, d["state"], q) - y).square().mean(-1)

    def regularized_advantage(self, d: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """z = w'(s) (Q'(o, a) - V(o)) / alpha, w' and V, each (S, N, B); only V carries a gradient."""
        with torch.no_grad():
            w, _ = self.mix(self.target_or_online("mixer"), d["state"])
            q = self.q_taken(self.target_or_online("q"), d)
        v = self.per_agent(self.v, d["obs"]).squeeze(-1)
        z = w / self.config.alpha * (q - v)
        limit = self.config.z_limit
        return (z if limit is None else z.clamp(-limit, limit)), w, v  # D2

    def v_loss(self, z: Tensor, w: Tensor, v: Tensor) -> Tensor:
        """E [ exp(z - m) + exp(-m) w' V / alpha ] over agents and minibatch -> [S]."""
        m = z.detach().amax((1, 2), keepdim=True).clamp(min=-1.0) if self.config.rescale else torch.zeros_like(z)  # D3
        return ((z - m).exp() + (-m).exp() * w * v / self.config.alpha).mean((1, 2))

    def policy_loss(self, d: dict[str, Tensor], z: Tensor) -> Tensor:
        """-E exp(z_i) log pi_i(a_i | o_i) over agents and minibatch -> [S]."""
        return -(z.exp() * self.log_pi(d)).mean((1, 2))

    # ---- plumbing

    def target_or_online(self, name: str) -> StackedMLP:
        """The target network of `name`, or the network itself where it has none. D1"""
        return getattr(self, f"{name}_target" if name == "q" or self.config.targets == "all" else name)

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.adams(policy=[self.policy], q=[self.q, self.mixer], v=[self.v])
