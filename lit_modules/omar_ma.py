# OMAR-MA: CQL with actor rectification (Pan et al. 2022) on OMIGA's networks, a baseline of its MuJoCo table
# OMIGA's authors published no baseline. This is the continuous OMAR agent of vietbt/ComaDICE (eef0f74), by inference
# their own code. OMAR as its own authors released it is another algorithm: independent critics, batch normalization.
#
# D1  The critic is CQL-MA's (lit_modules/cql_ma.py, D2 to D6), where OMAR's authors have one TD3 per agent.
# D2  refine=false: the released sampler computes mean and deviation of the elites and throws them away, so that all
#     rounds draw from N(0, sigma), most numbers on a bound. true: the next round draws around the elites, as OMAR is
#     defined; its deviation is the sample deviation of the elites, 0 where all of them agree.
# D3  Policy and sampler are judged by the local, unmixed Q_i. Nothing clones the data and nothing limits actions.
# D4  A slow policy, kept by the released code and never read, is left out.
"""Actor rectification by sampled actions, under OMIGA's mixer."""

from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor

from lit_modules.common.distributions import tanh_normal_sample
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, NonNegative, Positive, Size, Width
from lit_modules.cql_ma import CQLMA


class OMARMAConfig(AlgoConfig):
    """CQL-MA's critic. The policy climbs Q_i, and moves towards the best of many sampled actions under Q_i."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of Q and policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, two optimizers
    max_grad_norm: Positive  # of the policy, of Q and mixer together; per seed
    gamma: Fraction
    tau: Fraction
    conservatism: NonNegative  # weight of the conservative term
    n_actions: Width  # of each of its three sources
    coefficient: Fraction  # of the distance to the best action; the rest is Q's
    rounds: Width  # of the sampler
    samples: Width  # of each round
    elites: Width  # that a round hands on
    sigma: Positive  # deviation of the first round's actions
    refine: bool

    @model_validator(mode="after")
    def _elites_are_samples(self) -> Self:
        if self.elites > self.samples:
            raise ValueError(f"elites={self.elites}, samples={self.samples}: elites must be at most samples")
        return self


@register("omar_ma")
class OMARMA(CQLMA):
    """Update, critic and target: CQLMA."""

    def policy_loss(self, d: dict[str, Tensor], out: Tensor, q: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """c E (a_i - a*_i)^2 - (1 - c) E Q_i(o_i, a_i), a_i ~ pi(o_i), a*_i the better of a_i and the best sample;
        means over agents, minibatch and numbers of an action -> [S]. D3"""
        c = self.config.coefficient
        a = tanh_normal_sample(out, noise["policy"])  # (S, N, B, A)
        q_a = self.of_many(self.q, d["obs"], a.unsqueeze(-2), frozen=True).squeeze(-1)  # (S, N, B, 1)
        sample, q_sample = self.best_sample(d["obs"], noise["sampler"])
        best = torch.where(q_sample > q_a.detach(), sample, a.detach())
        return c * (a - best).square().mean((1, 2, 3)) - (1 - c) * q_a.mean((1, 2, 3))

    @torch.no_grad()
    def best_sample(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The best of all rounds under Q(o, .): obs (S, N, B, O + N), noise (S, N, B, R, M, A) -> (S, N, B, A) and its
        value (S, N, B, 1)."""
        c = self.config
        if not c.refine:  # D2: all rounds draw alike, so they are one
            noise = noise.flatten(3, 4).unsqueeze(3)
        mean, deviation = 0.0, c.sigma
        kept, q_kept = noise[..., 0, :0, :], noise[..., 0, :0, 0]  # none
        for drawn in noise.unbind(3):  # (S, N, B, M, A)
            actions = (mean + deviation * drawn).clamp(-1, 1)
            q = torch.cat([self.of_many(self.q, obs, actions).squeeze(-1), q_kept], -1)
            q_kept, index = q.topk(c.elites, -1)  # (S, N, B, elites), the best first
            actions = torch.cat([actions, kept], -2)
            kept = actions.gather(-2, index.unsqueeze(-1).expand(*index.shape, actions.shape[-1]))
            mean, deviation = kept.mean(-2, keepdim=True), spread(kept)
        return kept[..., 0, :], q_kept[..., :1]

    # ---- plumbing

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """CQL-MA's; then policy (S, N, B, A) and sampler (S, N, B, R, M, A), normal."""
        c, rows, a = self.config, (chunk.n_updates, self.spec.n_agents, chunk.batch_size), self.spec.action_size
        drawn = {"policy": self.normal(*rows, a), "sampler": self.normal(*rows, c.rounds, c.samples, a)}
        return super().draw(chunk) | {name: x.to(self.dtype) for name, x in drawn.items()}


def spread(elites: Tensor) -> Tensor:
    """The sample deviation over the elites, 0 where there is one: [.., elites, A] -> [.., 1, A]."""
    n = elites.shape[-2]
    return (elites - elites.mean(-2, keepdim=True)).square().sum(-2, keepdim=True).div(max(n - 1, 1)).sqrt()
