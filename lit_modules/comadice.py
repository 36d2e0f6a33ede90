# ComaDICE: Offline Cooperative MARL with Stationary Distribution Shift Regularization (ICLR 2025)
# arXiv 2410.01954. Behavior: the authors' released code for continuous actions (vietbt/ComaDICE eef0f74), equal in
# float64 to vectors recorded from it. On OMIGA's networks; the mixer serves Q and V.
#
# D1  action_scale=4: the released data are divided by 4 and the squashed mean is multiplied by 4 when it is played, for
#     ComaDICE alone. Actions at the bound lie at atanh(1/4) then, where a normal distribution fits them like any
#     others, and play may leave [-1, 1]. 1: no scale.
# D2  V's loss multiplies w(x) by e - lambda as a constant: its gradient is w'(x) x, where that of the conjugate of f,
#     alpha f*(x), is w(x). The code is followed.
# D3  total_weight=true: every agent's log-likelihood is weighted by the sum of all agents' w_i; false: by its own.
# D4  lambda_v and lambda_e have an Adam each and are not clipped. lambda_e keeps the mean weight at one; lambda_v
#     would, but for D2's factor.
# D5  Q is taken before its own step in V's advantage, the mixer after it; both slow in the policy's weights.
# D6  An update whose loss is NaN is broken off there, and counts; a seed that diverges here counts as one.
# D7  repeat_after: each evaluation of the released driver builds a world that seeds the generator of the minibatches,
#     so they begin again, when a thread is free for it. The rows let them begin again after each of the hundred
#     stretches, as if one always were; null: every minibatch is drawn anew.
# D8  Actions are clipped to +-(1 - 1e-7) before they are unsquashed, there to +-(1 - 1e-6). At scale 4 no data lie
#     there.
"""ComaDICE for continuous actions."""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor, nn

from data.common.minibatches import Minibatches
from data.common.spec import WorldSpec
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.optim import Adam
from lit_modules.common.registry import register
from lit_modules.common.schedule import Phase
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, Positive, Size, Width


class ComaDICEConfig(AlgoConfig):
    """Objective: max E_d[r] - alpha D_f(d || d_data) over occupancies d; V are the multipliers of its flow constraint.

    w(x) = (f')^-1(x) at x_i = (w_i (Q_i - V_i) - lambda) / alpha is how much more often the optimum does what the data
    do.
    """

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of V, Q and policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, five optimizers
    max_grad_norm: Positive  # of the policy, of Q and mixer together, of V; per seed
    gamma: Fraction
    tau: Fraction
    alpha: Positive  # higher = closer to the data
    divergence: Literal["soft_chisquare", "chisquare", "kl"]  # soft_chisquare | chisquare | kl
    total_weight: bool
    action_scale: Positive
    repeat_after: Size | None


@register("comadice")
class ComaDICE(LocalToGlobal):
    keys = (*LocalToGlobal.keys, "is_init")

    def __init__(self, config: ComaDICEConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        self.v, self.q, self.policy = self.agents(self.seen_size, 1), self.make_q(), self.make_policy()
        self.mixer = self.make_mixer()
        self.v_target, self.q_target = make_target(self.v), make_target(self.q)
        self.mixer_target = make_target(self.mixer)
        self.lambda_v, self.lambda_e = (nn.Parameter(torch.zeros(len(seeds), 1)) for _ in range(2))

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """Q and mixer, V and lambda_v, lambda_e, the policy; then the targets. batch [S, B]. D5"""
        c, d = self.config, self.unpack(batch)
        q, v = self.q_taken(self.q, d), self.per_agent(self.v, d["obs"]).squeeze(-1)  # (S, N, B)
        losses = {"q": self.q_loss(d, q)}
        self.descend("q", losses["q"], c.max_grad_norm)
        e = self.advantage(d, self.mixer, q.detach(), v)
        losses |= {"v": self.v_loss(e, v, d["is_init"]), "lambda_v": self.lambda_v_loss(e.detach())}
        weight = self.weight(self.slow_advantage(d, v.detach()), self.lambda_e.detach())
        losses |= {"lambda_e": self.lambda_e_loss(weight), "policy": self.policy_loss(d, weight)}
        for name in ("v", "policy"):
            self.descend(name, losses[name], c.max_grad_norm)
        for name in ("lambda_v", "lambda_e"):
            self.descend(name, losses[name], math.inf)  # D4
        for name in ("q", "v", "mixer"):
            polyak(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        seen = {"value/v": v.detach().mean((1, 2)), "value/w": weight.mean((1, 2))}
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()} | seen

    def q_loss(self, d: dict[str, Tensor], q: Tensor) -> Tensor:
        """E ( r + gamma (1 - done) V_tot'(s') - Q_tot(s, a) )^2 -> [S]."""
        with torch.no_grad():
            v = self.per_agent(self.v_target, d["next_obs"]).squeeze(-1)  # (S, N, B)
            y = d["reward"] + self.config.gamma * d["mask"] * self.total(self.mixer_target, d["next_state"], v)
        return (self.total(self.mixer, d["state"], q) - y).square().mean(-1)

    def v_loss(self, e: Tensor, v: Tensor, is_init: Tensor) -> Tensor:
        """(1 - gamma) E_{s_0} V(o) + E [ w(x) (e - lambda_v) ], the second factor constant, over agents -> [S]. D2"""
        first = is_init.to(v.dtype).unsqueeze(1)  # (S, 1, B)
        start = (v * first).sum((1, 2)) / (v.shape[1] * first.sum((1, 2))).clamp(min=1)  # 0 without a first state
        own = self.lambda_v.detach()
        return (1 - self.config.gamma) * start + (self.weight(e, own) * (e.detach() - own.unsqueeze(-1))).mean((1, 2))

    def lambda_v_loss(self, e: Tensor) -> Tensor:
        """E [ w(x) (e - lambda_v) ] + lambda_v, over agents and minibatch -> [S]."""
        own = self.lambda_v
        return (self.weight(e, own) * (e - own.unsqueeze(-1))).mean((1, 2)) + own.squeeze(-1)

    def lambda_e_loss(self, weight: Tensor) -> Tensor:
        """lambda_e (1 - E w) -> [S]."""
        return self.lambda_e.squeeze(-1) * (1 - weight.mean((1, 2)))

    def policy_loss(self, d: dict[str, Tensor], weight: Tensor) -> Tensor:
        """-E w_tot log pi_i(a_i | o_i) over agents and minibatch -> [S]. D3"""
        weight = weight.sum(1, keepdim=True) if self.config.total_weight else weight
        return -(weight * self.log_pi(d)).mean((1, 2))

    def weight(self, e: Tensor, multiplier: Tensor) -> Tensor:
        """w(x), the inverse of f' at x = (e - lambda) / alpha: e (S, N, B), lambda (S, 1) -> (S, N, B)."""
        x = (e - multiplier.unsqueeze(-1)) / self.config.alpha
        if self.config.divergence == "kl":
            return (x - 1).exp()
        return F.elu(x) + 1 if self.config.divergence == "soft_chisquare" else (x + 1).clamp(min=0)

    def advantage(self, d: dict[str, Tensor], mixer: nn.Module, q: Tensor, v: Tensor) -> Tensor:
        """e_i = w_i(s) (Q_i - V_i) (S, N, B); the mixer is a constant."""
        with torch.no_grad():
            w, _ = self.mix(mixer, d["state"])  # type: ignore[arg-type]
        return w * (q - v)

    @torch.no_grad()
    def slow_advantage(self, d: dict[str, Tensor], v: Tensor) -> Tensor:
        """The same of the slow Q and mixer, by which policies are weighted."""
        return self.advantage(d, self.mixer_target, self.q_taken(self.q_target, d), v)

    # ---- plumbing

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        """As LocalToGlobal's, with scaled actions; is_init (S, B). D1"""
        d = super().unpack(batch)
        action = d["action"] / self.config.action_scale
        scaled = {"action": action, "obs_action": self.with_action(d["obs"], action)}
        return d | scaled | {"is_init": batch["is_init"].squeeze(-1)}

    def phases(self) -> list[Phase]:
        rows = Minibatches(repeat_after=self.config.repeat_after)  # D7
        return [Phase("train", self.config.n_updates, self.config.batch_size, minibatches=rows)]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        nets = self.adams(policy=[self.policy], q=[self.q, self.mixer], v=[self.v])
        return nets | {name: Adam([getattr(self, name)], lr=self.config.lr) for name in ("lambda_v", "lambda_e")}

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A]: the squashed mean, scaled back. D1"""
        action, carry = super().act(obs, legal, uniform, carry)
        return action * self.config.action_scale, carry
