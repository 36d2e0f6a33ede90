# InSPO with shared recurrent networks (AAAI 2025), https://arxiv.org/abs/2412.07639, for StarCraft
# The authors' repository holds no code. Value, policy loss and order of turns: lit_modules/inspo.py. What follows here
# is this repository's derivation too; the paper's networks and settings are unknown to us.
#
# D1  All agents share one GRU policy, one Q and one behavior model, told apart by a one-hot, as in CFCQL's protocol. A
#     turn changes the shared parameters by one agent's data. It moves the teammates' policies too, so that the paper's
#     guarantee of monotonic improvement does not hold exactly; the ratios are taken anew after each turn.
# D2  A round draws whole episodes. Resampling is over their steps: each step's losses count as often as it was drawn,
#     in proportion to rho of that step alone, given the history.
# D3  Q and policy of an agent step from the same parameters (one backward).
# D4  Importance ratios and exponents are clipped (log rho to [-20, 5], exponent to [-10, 5]).
# D5  Hidden states are zero at an episode's first step, and all networks read it from there with their newest
#     parameters.
"""In-sample sequential policy optimization with recurrent agents."""

from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.distributions import masked_log_softmax
from lit_modules.common.functional import make_target, polyak, taken
from lit_modules.common.importance import effective_sample_size, importance_resample
from lit_modules.common.optim import Adam
from lit_modules.common.recurrent import Recurrent, masked_mean
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.settings import AlgoConfig, Batch, Count, Fraction, NonNegative, Positive, Size, Width
from lit_modules.inspo import SequentialLosses


class InSPORecurrentConfig(AlgoConfig):
    """Objective: J(pi) = E sum_t gamma^t ( r - alpha sum_i log(pi^i/mu^i) - beta sum_i log pi^i )."""

    n_behavior_updates: Count  # cloning steps for mu, before the rounds
    n_updates: Size  # rounds
    batch_size: Batch  # episodes, of whose steps
    n_resampled: Batch  # so many are drawn with probability ~ rho
    steps_per_turn: Size  # gradient steps in an agent's turn
    gru_hidden: Width
    lr: Positive  # Adam, for mu and Q
    policy_lr: Positive  # Adam, for pi
    lr_end: Fraction  # once the entropy is annealed, the rates of Q and pi fall linearly to this fraction
    max_grad_norm: Positive  # per network
    gamma: Fraction
    tau: Fraction
    alpha: Positive  # weight of KL(pi || mu)
    beta_start: NonNegative  # weight of the entropy, linear from beta_start ..
    beta_end: NonNegative  # .. to beta_end
    anneal_fraction: Fraction  # .. over this part of the rounds
    entropy: bool  # ablation: False means beta = 0 throughout
    soft_value: bool  # V^i with the two regularization terms
    importance: Literal["resample", "reweight", "none"]  # resample | reweight | none
    sequential: bool  # ablation: False leaves the ratios at those of the round's start


@register("inspo_recurrent")
class InSPORecurrent(SequentialLosses, Recurrent):
    starts_cloned = True

    def __init__(self, config: InSPORecurrentConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(config, seeds, spec, **clock)
        self.behavior, self.agent, self.q = (self.make_agent(spec.n_actions) for _ in range(3))
        self.q_target = make_target(self.q)

    def update_behavior(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One cloning step of mu. batch [S, B, T]."""
        loss = self.behavior_loss(self.unpack(batch))
        self.descend("behavior", loss, self.config.max_grad_norm)
        self.agent.theta.data.copy_(self.behavior.theta)  # pi_0 = mu
        return {"loss/behavior": loss.detach()}

    def update_round(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One round: a turn for each agent, in an order drawn anew, each given the newest policies. batch [S, B, T]."""
        c, d = self.config, self.unpack(batch)
        with torch.no_grad():  # what the round leaves as it is
            d["log_mu"] = self.log_probs(self.behavior, d["seen"], d["legal"])  # (S, B, T + 1, N, A)
            d["q_target"] = self.per_agent(self.q_target, d["seen"])
        d["seen"] = d["seen"].unflatten(1, (-1, self.spec.n_agents))  # (S, B, N, T + 1, in)
        log_ratio, found = self.log_ratio(d), []
        for n in range(self.spec.n_agents):
            i = noise["order"][:, n]
            own = {key: of_agent(d[key], i) for key in ("log_mu", "q_target", "legal", "action")}
            own["seen"] = of_agent(d["seen"].transpose(2, 3), i)  # (S, B, T + 1, in)
            weight, sample_size = self.step_weights(d, log_ratio, i, noise["resample"][:, n])
            for _ in range(c.steps_per_turn):
                losses = self.losses(d, own, weight, noise["beta"])
                self.descend_all(losses, c.max_grad_norm, noise["lr_scale"])
            if c.sequential and n + 1 < self.spec.n_agents:
                log_ratio = self.log_ratio(d)
            found.append(torch.stack([losses["q"].detach(), losses["policy"].detach(), sample_size]))
        polyak(self.q_target, self.q, c.tau)
        names = ("loss/q", "loss/policy", "data/effective_sample_size")
        return dict(zip(names, torch.stack(found).mean(0), strict=True))

    def losses(self, d: dict[str, Tensor], own: dict[str, Tensor], weight: Tensor, beta: Tensor) -> dict[str, Tensor]:
        """Of Q and of the policy, for one agent's steps (S, B, T) with these weights; both [S]."""
        q, out = self.q(own["seen"])[0], self.agent(own["seen"])[0]  # (S, B, T + 1, A)
        log_pi, log_mu, now = masked_log_softmax(out, own["legal"]), own["log_mu"], slice(0, -1)
        q_loss = self.q_loss(d, own, q, log_pi.detach(), weight, beta)
        at = (q.detach()[:, :, now], log_pi[:, :, now], log_mu[:, :, now], own["action"], beta)
        return {"q": q_loss, "policy": (weight * self.policy_loss(*at)).sum((1, 2))}

    def q_loss(
        self, d: dict[str, Tensor], own: dict[str, Tensor], q: Tensor, log_pi: Tensor, weight: Tensor, beta: Tensor
    ) -> Tensor:
        """E_{D_rho} ( r + gamma (1 - terminated) V^i(s') - Q^i(s, a^i) )^2, V^i with the target Q -> [S]."""
        with torch.no_grad():
            v = self.value(own["q_target"], log_pi, own["log_mu"], beta)[:, :, 1:]  # (S, B, T)
            y = d["reward"] + self.config.gamma * (1 - d["ended"]) * v
        return (weight * (y - taken(q[:, :, :-1], own["action"])).square()).sum((1, 2))

    def behavior_loss(self, d: dict[str, Tensor]) -> Tensor:
        """-E log mu^i(a^i | history) over agents and steps -> [S]. Maximum likelihood."""
        log_mu = self.log_probs(self.behavior, d["seen"], d["legal"])[:, :, :-1]
        return masked_mean(-taken(log_mu, d["action"]).mean(-1), d["mask"])

    @torch.no_grad()
    def step_weights(
        self, d: dict[str, Tensor], log_ratio: Tensor, i: Tensor, uniform: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How much each step counts in agent i's turn, (S, B, T), summing to 1 and 0 beyond ends; the effective sample
        size [S]. rho^i = prod_{j != i} pi^j / mu^j of the step's actions. D2, D4"""
        log_rho = (log_ratio.sum(-1) - of_agent(log_ratio, i)).clamp(-20.0, 5.0)
        log_rho = log_rho.masked_fill(d["mask"] == 0, -torch.inf).flatten(1)  # (S, B T)
        flat = d["mask"].flatten(1)
        if self.config.importance == "resample":
            index = importance_resample(log_rho, uniform)
            weight = torch.zeros_like(flat).scatter_add(1, index, torch.ones_like(uniform) / uniform.shape[-1]) * flat
        else:
            weight = log_rho.softmax(-1) if self.config.importance == "reweight" else flat / flat.sum(1, keepdim=True)
        return weight.view_as(d["mask"]), effective_sample_size(log_rho)

    # ---- plumbing

    def log_probs(self, net: Any, seen: Tensor, legal: Tensor) -> Tensor:
        return masked_log_softmax(self.per_agent(net, seen), legal)

    @torch.no_grad()
    def log_ratio(self, d: dict[str, Tensor]) -> Tensor:
        """log pi^j - log mu^j of the data's actions, (S, B, T, N)."""
        log_pi = self.log_probs(self.agent, d["seen"].flatten(1, 2), d["legal"])
        return taken((log_pi - d["log_mu"])[:, :, :-1], d["action"])

    def phases(self) -> list[Phase]:
        c = self.config
        return [self.episodes("behavior", c.n_behavior_updates), self.episodes("round", c.n_updates)]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        lr, policy_lr = self.config.lr, self.config.policy_lr
        rates = {"behavior": (self.behavior, lr), "q": (self.q, lr), "policy": (self.agent, policy_lr)}
        return {name: Adam(net.parameters(), lr=rate) for name, (net, rate) in rates.items()}

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per round: the order of agents [K, S, N], uniforms for resampling [K, S, N, M], beta and lr scale [K]."""
        if chunk.phase != "round":
            return {}
        k, n = chunk.n_updates, self.spec.n_agents
        order = self.uniform(k, n).argsort(-1)
        floats = {"resample": self.uniform(k, n, self.config.n_resampled)} | self.schedules(chunk)
        return {"order": order} | {name: x.to(self.device, self.dtype) for name, x in floats.items()}  # type: ignore

    def action_log_probs(self, out: Tensor, legal: Tensor | None) -> Tensor:
        return masked_log_softmax(out, legal)


def of_agent(x: Tensor, i: Tensor) -> Tensor:
    """x [S, B, T, N, ..] at each seed's agent i [S] -> [S, B, T, ..]."""
    return x[torch.arange(len(i), device=i.device), :, :, i]
