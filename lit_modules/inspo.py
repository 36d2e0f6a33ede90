# InSPO: In-Sample Sequential Policy Optimization (AAAI 2025), https://arxiv.org/abs/2412.07639
# The authors' repository holds no code; equations below are "this repository's derivation" from the abstract's facts.
#
# D1  The paper's hyperparameters and numbered equations are unknown to us: settings are ours, named so in each row.
# D2  One update = one round, in which every agent has one turn: `steps_per_turn` gradient steps of its Q and its policy
#     on its resampled minibatch. The paper's inner iterations are unknown.
# D3  Q and policy of an agent step from the same parameters (one backward), so V^i and Q^i in the policy weight are
#     those before the Q step.
# D4  Importance ratios and exponents are clipped (log rho to [-20, 5], exponent to [-10, 5]); whether the paper clips
#     is unknown.
# D5  One candidate batch per round, resampled anew for each agent in turn.
"""In-sample sequential policy optimization for discrete actions and any number of agents."""

from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.distributions import masked_log_softmax
from lit_modules.common.functional import agent_major, agent_params, make_target, polyak, taken
from lit_modules.common.importance import effective_sample_size, importance_resample
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.optim import Adam, IndexedAdam, clip_per_member
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.seed_module import SeedModule
from lit_modules.common.settings import AlgoConfig, Batch, Count, Fraction, NonNegative, Positive, Size, Width


class InSPOConfig(AlgoConfig):
    """Objective: J(pi) = E sum_t gamma^t ( r - alpha sum_i log(pi^i/mu^i) - beta sum_i log pi^i ).

    Best response of agent i to its teammates, which the policy loss projects onto the data:
    pi^i_*(a|s) ~ mu^i(a|s)^{alpha/(alpha+beta)} exp( Q^i(s,a) / (alpha+beta) ).
    """

    n_behavior_updates: Count  # cloning steps for mu, before the rounds
    n_updates: Size  # rounds
    behavior_batch_size: Batch
    n_candidates: Batch  # uniform draws per round, of which
    batch_size: Batch  # so many are resampled with probability ~ rho
    steps_per_turn: Size  # gradient steps of an agent's Q and policy in its turn
    hidden: list[Width]
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
    sequential: bool  # ablation: False lets every agent see its teammates' old policies


class SequentialLosses:
    """What InSPO is whatever its networks are: the value, the policy's loss, and the course of beta and rates."""

    config: Any

    def value(self, q: Tensor, log_pi: Tensor, log_mu: Tensor, beta: Tensor) -> Tensor:
        """V^i(s) = sum_a pi^i(a|s) ( Q^i(s,a) - alpha log(pi^i/mu^i) - beta log pi^i ). (S, B, A) x 3 -> (S, B)."""
        if self.config.soft_value:
            q = q - self.config.alpha * (log_pi - log_mu) - beta * log_pi
        return (log_pi.exp() * q).sum(-1)

    def policy_loss(self, q: Tensor, log_pi: Tensor, log_mu: Tensor, action: Tensor, beta: Tensor) -> Tensor:
        """-exp( (Q^i(s,a^i) - V^i(s) - beta log mu^i(a^i|s)) / (alpha+beta) ) log pi^i(a^i|s) on D_rho. -> (S, B).

        The forward-KL projection of the closed-form best response onto the data; -beta log mu lifts rare actions.
        """
        with torch.no_grad():
            v = self.value(q, log_pi, log_mu, beta)
            exponent = (taken(q, action) - v - beta * taken(log_mu, action)) / (self.config.alpha + beta)
            weight = exponent.clamp(-10.0, 5.0).exp()  # D4
        return -weight * taken(log_pi, action)

    def schedules(self, chunk: Chunk) -> dict[str, Tensor]:
        """beta and the scale of the rates in each round of a chunk, [K] each."""
        c = self.config
        elapsed = torch.arange(chunk.start, chunk.start + chunk.n_updates) - c.n_behavior_updates
        annealed = c.anneal_fraction * c.n_updates
        fraction = (elapsed / max(1.0, annealed)).clamp(max=1.0)
        beta = (c.beta_start + (c.beta_end - c.beta_start) * fraction) * float(c.entropy)
        lr_scale = 1 - (1 - c.lr_end) * ((elapsed - annealed) / max(1.0, c.n_updates - annealed)).clamp(min=0.0)
        return {"beta": beta, "lr_scale": lr_scale}


@register("inspo")
class InSPO(SequentialLosses, SeedModule):
    starts_cloned = True
    keys = ("obs", "legal_actions", "action", "reward", "terminated", ("next", "obs"), ("next", "legal_actions"))

    def __init__(self, config: InSPOConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        lead = (len(seeds), spec.n_agents)
        sizes = (spec.obs_size, *config.hidden, spec.n_actions)
        self.behavior_policy, self.policy, self.q = (StackedMLP(sizes, lead, self.weight_rngs) for _ in range(3))
        self.q_target = make_target(self.q)

    def update_behavior(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One cloning step of every mu^i. batch [S, B]."""
        obs, legal = self.normalize_obs(batch["obs"]), agent_major(batch["legal_actions"])  # (S, N, B, O), (S, N, B, A)
        loss = self.behavior_loss(obs, legal, agent_major(batch["action"]))
        self.descend("behavior", loss, self.config.max_grad_norm)
        self.policy.theta.data.copy_(self.behavior_policy.theta)  # pi_0 = mu
        return {"loss/behavior": loss.detach()}

    def update_round(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One round: the agents update one after another in `order`, each seeing its teammates' newest policies."""
        c = self.config
        candidates = self.unpack(batch)  # agent-major tensors (S, N, M, ..)
        log_ratio = self.log_ratio(candidates)  # log pi^j/mu^j of the data actions, (S, N, M)
        losses_q, losses_pi, ess = [], [], []
        for n in range(self.spec.n_agents):
            rows = noise["rows"][:, n]  # (S,) the agent whose turn it is, as rows of the stacks
            d, weight, sample_size = self.start_turn(candidates, log_ratio, rows, noise["resample"][:, n])
            for _ in range(c.steps_per_turn):
                loss_q, loss_pi = self.gradient_step(d, weight, rows, noise["beta"], noise["lr_scale"])
            if c.sequential and n + 1 < self.spec.n_agents:
                log_ratio.flatten(0, 1)[rows] = self.log_ratio(candidates, rows)
            losses_q.append(loss_q)
            losses_pi.append(loss_pi)
            ess.append(sample_size)
        polyak(self.q_target, self.q, c.tau)
        means = {"loss/q": losses_q, "loss/policy": losses_pi, "data/effective_sample_size": ess}
        return {name: torch.stack(values).mean(0) for name, values in means.items()}

    def gradient_step(
        self, d: dict[str, Tensor], weight: Tensor, rows: Tensor, beta: Tensor, lr_scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Q and policy of the agents in `rows` on their minibatch (S, B) with loss weights; both losses [S]."""
        theta_q, theta_pi = agent_params(self.q, rows), agent_params(self.policy, rows)
        log_pi = masked_log_softmax(self.policy(d["obs"], theta_pi), d["legal"])  # (S, B, A)
        q = self.q(d["obs"], theta_q)  # (S, B, A)
        loss_q = (weight * self.td_error(q, d, theta_pi.detach(), beta).square()).mean(-1)
        loss_pi = (weight * self.policy_loss(q.detach(), log_pi, d["log_mu"], d["action"], beta)).mean(-1)
        grads = torch.autograd.grad((loss_q + loss_pi).sum(), (theta_q, theta_pi))  # disjoint: D3
        for name, grad in zip(("q", "policy"), grads, strict=True):
            self.optimizer[name].step_index(rows, *clip_per_member([grad], self.config.max_grad_norm), lr_scale)  # type: ignore
        return loss_q.detach(), loss_pi.detach()

    def behavior_loss(self, obs: Tensor, legal: Tensor, action: Tensor) -> Tensor:
        """-E_D sum_i log mu^i(a^i|o^i) -> [S]. Maximum likelihood, per agent."""
        log_mu = masked_log_softmax(self.behavior_policy(obs), legal)
        return -taken(log_mu, action).mean(-1).sum(1)

    @torch.no_grad()
    def td_target(self, d: dict[str, Tensor], theta_pi: Tensor, beta: Tensor) -> Tensor:
        """r + gamma (1 - terminated) V^i(s') with the target Q. -> (S, B)."""
        log_pi = masked_log_softmax(self.policy(d["next_obs"], theta_pi), d["next_legal"])
        v = self.value(d["next_q_target"], log_pi, d["next_log_mu"], beta)
        return d["reward"] + self.config.gamma * (1 - d["terminated"]) * v

    def td_error(self, q: Tensor, d: dict[str, Tensor], theta_pi: Tensor, beta: Tensor) -> Tensor:
        """Local Q: r + gamma (1-d) V^i(s') - Q^i(s, a^i), whose square is minimized on D_rho. -> (S, B)."""
        return self.td_target(d, theta_pi, beta) - taken(q, d["action"])

    # ---- plumbing

    def phases(self) -> list[Phase]:
        c = self.config
        return [
            Phase("behavior", c.n_behavior_updates, c.behavior_batch_size),
            Phase("round", c.n_updates, c.n_candidates),
        ]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        lr = self.config.lr
        return {
            "behavior": Adam(self.behavior_policy.parameters(), lr=lr),
            "q": IndexedAdam(self.q.theta, lr=lr),
            "policy": IndexedAdam(self.policy.theta, lr=self.config.policy_lr),
        }

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per round: the order as rows [K, S, N], uniforms for resampling [K, S, N, B], beta and lr scale [K]."""
        if chunk.phase != "round":
            return {}
        c, (k, n) = self.config, (chunk.n_updates, self.spec.n_agents)
        order = self.uniform(k, n).argsort(-1)
        rows = order + n * torch.arange(len(self.seeds), device=self.device).unsqueeze(-1)
        floats = {"resample": self.uniform(k, n, c.batch_size)} | self.schedules(chunk)
        return {"rows": rows} | {name: x.to(self.device, self.dtype) for name, x in floats.items()}  # type: ignore

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        with torch.no_grad():
            obs, legal = self.normalize_obs(batch["obs"]), agent_major(batch["legal_actions"])
            return {
                "obs": obs,
                "legal": legal,
                "log_mu": masked_log_softmax(self.behavior_policy(obs), legal),  # (S, N, M, A)
                "action": agent_major(batch["action"]),
                "next_obs": self.normalize_obs(batch["next", "obs"]),
                "next_legal": agent_major(batch["next", "legal_actions"]),
                "reward": batch["reward"].squeeze(-1),
                "terminated": batch["terminated"].squeeze(-1).to(batch["reward"].dtype),
            }

    def log_ratio(self, candidates: dict[str, Tensor], rows: Tensor | None = None) -> Tensor:
        """log pi^j(a^j|s) - log mu^j(a^j|s) at the candidates: of all agents (S, N, M), or of `rows` (S, M)."""
        with torch.no_grad():
            obs, legal, action, log_mu = (candidates[name] for name in ("obs", "legal", "action", "log_mu"))
            theta = self.policy.theta
            if rows is not None:
                obs, legal, action, log_mu, theta = (x.flatten(0, 1)[rows] for x in (obs, legal, action, log_mu, theta))
            return taken(masked_log_softmax(self.policy(obs, theta), legal) - log_mu, action)

    def start_turn(self, candidates: dict[str, Tensor], log_ratio: Tensor, rows: Tensor, uniform: Tensor):
        """The minibatch of the agents in `rows`, its loss weights (S, B) and the effective sample size (S,).

        They follow from what the teammates' policies have become.
        """
        with torch.no_grad():
            log_rho = (log_ratio.sum(1) - log_ratio.flatten(0, 1)[rows]).clamp(-20.0, 5.0)  # (S, M) D4
            d, weight = self.minibatch(candidates, rows, log_rho, uniform)
            self.add_next(d, rows)
            return d, weight, effective_sample_size(log_rho)

    def minibatch(self, candidates: dict[str, Tensor], rows: Tensor, log_rho: Tensor, uniform: Tensor):
        """B of the M candidates for the agents in `rows` -> (dict of (S, B, ..), loss weights (S, B))."""
        size = uniform.shape[-1]
        if self.config.importance == "resample":
            index = importance_resample(log_rho, uniform)
        else:
            index = torch.arange(size, device=rows.device).expand(len(rows), size)
        weight = torch.ones_like(uniform)
        if self.config.importance == "reweight":
            weight = log_rho[:, :size].softmax(-1) * size
        s = torch.arange(len(rows), device=rows.device).unsqueeze(-1)
        agent = (rows % self.spec.n_agents).unsqueeze(-1)
        team = ("reward", "terminated")
        return {k: v[s, index] if k in team else v[s, agent, index] for k, v in candidates.items()}, weight

    @torch.no_grad()
    def add_next(self, d: dict[str, Tensor], rows: Tensor) -> None:
        """Add the clone's log-probabilities and the target Q at the next states, which a turn leaves as they are."""
        theta_mu, theta_q = (net.theta.flatten(0, 1)[rows] for net in (self.behavior_policy, self.q_target))
        d["next_log_mu"] = masked_log_softmax(self.behavior_policy(d["next_obs"], theta_mu), d["next_legal"])
        d["next_q_target"] = self.q_target(d["next_obs"], theta_q)

    @property
    def compile_targets(self) -> list[str]:
        """A round of one step per turn is compiled whole; of many, its parts, which takes as long as for one step."""
        parts = ["unpack", "log_ratio", "start_turn", "gradient_step"]
        return ["update_behavior", *(["update_round"] if self.config.steps_per_turn == 1 else parts)]

    def policy_log_probs(self, obs: Tensor, legal: Tensor | None) -> Tensor:
        return masked_log_softmax(self.policy(obs), legal)
