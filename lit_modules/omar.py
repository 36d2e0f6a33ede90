# OMAR: Plan Better Amid Conservatism: Offline Multi-Agent RL with Actor Rectification (ICML 2022), arXiv 2111.11188
# Behavior: the authors' released code (ling-pan/OMAR 0e52ad6), which configs/algo/omar.yaml follows.
#
# D1  repeat_after=10: the released driver seeds its sampling anew in each evaluation, every 10 updates, so an MPE run
#     sees ten minibatches per agent again and again. null: each update draws anew, as HalfCheetah's do.
# D2  policy_log_density=false: for actions around the policies' the code subtracts the density of their noise from Q
#     where its logarithm belongs. No effect on MPE, whose conservative term has uniform actions alone.
# D3  The elites' deviation is at least 1e-10, where CFCQL's copy adds as much; the released code stops where it is 0.
# D4  gamma=0.95 on HalfCheetah too: the code sets 0.99 there and never hands it on.
# D5  The code updates one agent after another. Agents share nothing, so here they are one batch.
# D6  Minibatches come from each seed's own generator, uniform without replacement as there; the numbers differ.
# D7  The score is taken after the last round; the released driver's last evaluation comes one round earlier.
# D8  All seeds train on one dataset; the released seed k reads the k-th of five. Of official files it is the one
#     that OMSD's development code took (data/catalog); data.seed=K reads another.
"""OMAR and, with omar=false, independent TD3 with conservative critics (TD3 + CQL)."""

import math
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from tensordict import TensorDict
from torch import Tensor

from data.common.minibatches import Minibatches
from data.common.spec import Box, WorldSpec
from lit_modules.common.functional import agent_major, make_target, polyak
from lit_modules.common.norm_mlp import NormMLP
from lit_modules.common.optim import Adam
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.seed_module import SeedModule
from lit_modules.common.settings import AlgoConfig, Fraction, NonNegative, Positive, Size, Width


class OMARConfig(AlgoConfig):
    """Per agent: TD3 on the agent's own observation, action and reward, a conservative critic, and a policy that is
    pulled to the best action that a sampler finds: coe |pi(o) - a*|^2 - (1 - coe) Q1(o, pi(o))."""

    n_updates: Size
    batch_size: Annotated[int, Field(ge=2, le=10**7)]  # of each agent's own minibatch; BatchNorm needs two
    repeat_after: Size | None
    hidden: list[Width]
    lr: Positive  # Adam, of critics and policies
    max_grad_norm: Positive  # of each agent's critic, of each agent's policy
    gamma: Fraction
    tau: Fraction
    action_penalty: NonNegative  # weight of pi(o)^2
    cql_alpha: NonNegative
    cql_actions: Size  # per row and source
    cql_temperature: Positive
    cql_policy_sources: bool  # actions around pi(o) and pi(o') beside uniform ones
    cql_noise: Positive  # deviation of those
    policy_log_density: bool
    omar: bool
    omar_coe: Fraction
    sampler: Literal["softmax", "elites"]  # how a round moves the next one's mean and deviation
    sampler_rounds: Size
    sampler_actions: Size  # per row and round
    sampler_elites: Size | None
    sampler_sigma: NonNegative  # of the first round, whose mean is 0

    @model_validator(mode="after")
    def _elites_are_among_the_actions(self) -> Self:
        if self.sampler == "elites" and not 2 <= (self.sampler_elites or 0) <= self.sampler_actions:
            allowed = f"sampler=elites needs 2..{self.sampler_actions} (sampler_actions)"
            raise ValueError(f"sampler_elites={self.sampler_elites}: {allowed}")
        return self


@register("omar")
class OMAR(SeedModule):
    keys = ("obs", "action", "rewards", "terminated", ("next", "obs"))
    actions, modes = Box, ("greedy",)

    def __init__(self, config: OMARConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        lead, (o, a) = (len(seeds), spec.n_agents), (spec.obs_size, spec.action_size)
        self.policy = NormMLP((o, *config.hidden, a), lead, self.weight_rngs, out_range=3e-3)
        self.critic = NormMLP((o + a, *config.hidden, 1), lead, self.weight_rngs, n_heads=2)
        self.policy_target, self.critic_target = make_target(self.policy), make_target(self.critic)

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of every agent: its critic, its policy by the new critic, then the targets. batch [S, N * B]."""
        c, d = self.config, self.unpack(batch)
        critic_loss = self.critic_loss(d, noise)  # (S, N)
        self.descend("critic", critic_loss, c.max_grad_norm)
        policy_loss = self.policy_loss(d, noise)
        self.descend("policy", policy_loss, c.max_grad_norm)
        polyak(self.critic_target, self.critic, c.tau)
        polyak(self.policy_target, self.policy, c.tau)
        return {"loss/critic": critic_loss.detach().mean(1), "loss/policy": policy_loss.detach().mean(1)}

    def critic_loss(self, d: dict[str, Tensor], noise: dict[str, Tensor]) -> Tensor:
        """sum_k E ( r_i + gamma (1 - done) min_l Q'_l(o', pi'(o')) - Q_k(o, a) )^2 + alpha CQL_k -> [S, N]."""
        with torch.no_grad():
            next_q = self.critic_target(d["next_obs"], self.pi(d["next_obs"], self.policy_target)).squeeze(-1)
            y = d["reward"] + self.config.gamma * d["mask"] * next_q.amin(2)  # (S, N, B)
        q = self.critic(d["obs"], d["action"]).squeeze(-1)  # (S, N, 2, B)
        td = (q - y.unsqueeze(2)).square().mean(-1)
        return (td + self.config.cql_alpha * self.conservative_term(d, q, noise)).sum(2)

    def conservative_term(self, d: dict[str, Tensor], q: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """CQL_k = E [ T log sum_m exp((Q_k(o, a_m) - p_m) / T) - Q_k(o, a) ], p_m how likely a_m was -> [S, N, 2]."""
        c, size = self.config, self.spec.action_size
        logits = [self.critic(d["obs"], noise["uniform"]).squeeze(-1) - size * math.log(0.5)]  # (S, N, 2, B, M)
        if c.cql_policy_sources:
            with torch.no_grad():
                centers = [self.pi(d["obs"]), self.pi(d["next_obs"])]
            for center, name in zip(centers, ("current", "next"), strict=True):
                z = noise[name]  # (S, N, B, M, A)
                a = (center.unsqueeze(-2) + c.cql_noise * z).clamp(-1, 1)
                p = (-0.5 * z.square() - math.log(c.cql_noise * math.sqrt(2 * math.pi))).sum(-1)
                p = p if c.policy_log_density else p.exp()  # D2
                logits.append(self.critic(d["obs"], a).squeeze(-1) - p.unsqueeze(2))
        t = c.cql_temperature
        return (t * (torch.cat(logits, -1) / t).logsumexp(-1) - q).mean(-1)

    def policy_loss(self, d: dict[str, Tensor], noise: dict[str, Tensor]) -> Tensor:
        """coe E |pi(o) - a*|^2 / A - (1 - coe) E Q1(o, pi(o)) + penalty E pi(o)^2; without OMAR coe is 0 -> [S, N]."""
        c, pi = self.config, self.pi(d["obs"])  # (S, N, B, A)
        q = self.critic(d["obs"], pi, n_heads=1)[:, :, 0]  # (S, N, B, 1)
        loss = c.action_penalty * pi.square().mean((2, 3))
        if not c.omar:
            return loss - q.mean((2, 3))
        best = self.best_action(d["obs"], pi.detach(), q.detach(), noise["sampler"])
        return loss + c.omar_coe * (pi - best).square().mean((2, 3)) - (1 - c.omar_coe) * q.mean((2, 3))

    @torch.no_grad()
    def best_action(self, obs: Tensor, pi: Tensor, q_pi: Tensor, noise: Tensor) -> Tensor:
        """a*: the better under Q1 of pi(o) and the best action of the sampler's last round -> (S, N, B, A).

        A round draws a_m = mu + sigma z_m, clamped. softmax: mu <- sum_m softmax(Q)_m a_m, sigma <- the root of the
        mean square of a - mu. elites: mu, sigma <- mean and deviation of the best ones, which join the next round with
        the Q that they had. noise (S, N, rounds, B, M, A).
        """
        c = self.config
        mu, sigma = torch.zeros_like(pi).unsqueeze(-2), c.sampler_sigma
        elites: list[tuple[Tensor, Tensor]] = []
        for z in noise.unbind(2):
            a = (mu + sigma * z).clamp(-1, 1)  # (S, N, B, M, A)
            q = self.critic(obs, a, n_heads=1)[:, :, 0]  # (S, N, B, M, 1)
            if c.sampler == "softmax":
                mu = (q.softmax(-2) * a).sum(-2, keepdim=True)
                sigma = (a - mu).square().mean(-2, keepdim=True).sqrt()
            else:
                a, q = (torch.cat(values, -2) for values in zip((a, q), *elites, strict=True))
                at = q.topk(c.sampler_elites or 1, -2).indices
                chosen = a.take_along_dim(at, -2)
                mu, sigma = chosen.mean(-2, keepdim=True), chosen.std(-2, keepdim=True).clamp(min=1e-10)  # D3
                elites = [(chosen, q.take_along_dim(at, -2))]
        best, at = q.max(-2)
        return torch.where(best > q_pi, a.take_along_dim(at.unsqueeze(-2), -2).squeeze(-2), pi)

    # ---- plumbing

    def pi(self, obs: Tensor, net: NormMLP | None = None) -> Tensor:
        """obs (S, N, B, O) -> (S, N, B, A); moves the running statistics of the policies, or of `net`."""
        return (net or self.policy)(obs).squeeze(2).tanh()

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        """batch [S, N * B] -> what each agent reads of its own minibatch, (S, N, B, ..)."""

        def own(x: Tensor) -> Tensor:
            """(S, N * B, N, ..) -> (S, N, B, ..)."""
            parts = x.unflatten(1, (self.spec.n_agents, -1))
            return torch.stack([parts[:, i, :, i] for i in range(self.spec.n_agents)], 1)

        return {
            "obs": own(batch["obs"]),
            "next_obs": own(batch["next", "obs"]),
            "action": own(batch["action"]),
            "reward": own(batch["rewards"]),
            "mask": 1 - batch["terminated"].view(len(batch), self.spec.n_agents, -1).to(batch["obs"].dtype),
        }

    def phases(self) -> list[Phase]:
        c, n = self.config, self.spec.n_agents
        rows = Minibatches(parts=n, replacement=False, repeat_after=c.repeat_after)  # D1, D6
        return [Phase("train", c.n_updates, n * c.batch_size, minibatches=rows)]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {name: Adam([getattr(self, name).theta], lr=self.config.lr) for name in ("critic", "policy")}

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Uniform actions in [-1, 1], noise of actions around the policies', each [K, S, N, B, M, A]; the sampler's
        [K, S, N, rounds, B, M, A]."""
        c, n, k, a = self.config, self.spec.n_agents, chunk.n_updates, self.spec.action_size
        b = chunk.batch_size // n
        drawn = {"uniform": 2 * self.uniform(k, n, b, c.cql_actions, a) - 1}
        if c.cql_policy_sources:
            drawn |= {name: self.normal(k, n, b, c.cql_actions, a) for name in ("current", "next")}
        if c.omar:
            drawn["sampler"] = self.normal(k, n, c.sampler_rounds, b, c.sampler_actions, a)
        return {name: x.to(self.dtype) for name, x in drawn.items()}

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A], by the running statistics. Nothing samples."""
        return self.policy.evaluate(agent_major(obs)).squeeze(2).tanh().transpose(1, 2), carry
