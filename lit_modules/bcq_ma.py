# BCQ-MA: batch-constrained Q-learning (Fujimoto et al. 2019) on OMIGA's networks, a baseline of its MuJoCo table
# OMIGA's authors published no baseline. This is the continuous BCQ agent of vietbt/ComaDICE (eef0f74), by inference
# their own code: their public OMIGA keeps its setting vae_hidden_sizes, unused.
#
# D1  decoder_order=released: in training the decoder reads [o, one-hot, latent], and [o, latent, one-hot] when it
#     proposes actions: two arguments are swapped. consistent: the order of training everywhere.
# D2  The latent has twice as many numbers as there are agents; BCQ's authors take twice the size of an action.
# D3  The policy climbs Q1_i as it is, local and unmixed.
# D4  All three losses are taken before any step; BCQ's authors step VAE, critic and actor one after another. Their
#     VAE is 750 wide with a rate of 1e-3.
# D5  Evaluation draws: each agent takes the best of 100 proposals under its Q1. The draws are a seed's own, per
#     evaluation.
# D6  n_updates: unknown for the baselines; as OMIGA.
"""Batch-constrained Q-learning under OMIGA's mixer."""

from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.rng import Stream, generator
from data.common.spec import WorldSpec
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, NonNegative, Positive, Size, Width

LATENT_LIMIT = 0.5  # of the latents that actions are decoded from
LOG_STD = (-4.0, 15.0)  # of the encoder


class BCQMAConfig(AlgoConfig):
    """A VAE of the data proposes actions, the policy perturbs them a little, Q chooses the best."""

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of both Q and the policy
    mixer_hidden: list[Width]
    vae_hidden: list[Width]  # of encoder and decoder
    lr: Positive  # Adam, three optimizers
    max_grad_norm: Positive  # of the policy, of both Q and the mixer together, of the VAE; per seed
    gamma: Fraction
    tau: Fraction
    phi: NonNegative  # the largest perturbation
    soft_min: Fraction  # weight of the smaller Q in a target, the rest is the larger one's
    kl_weight: NonNegative
    next_samples: Width  # proposals of a target
    act_samples: Width  # proposals in evaluation
    decoder_order: Literal["released", "consistent"]  # released | consistent


@register("bcq_ma")
class BCQMA(LocalToGlobal):
    def __init__(self, config: BCQMAConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config, self.latent = config, 2 * spec.n_agents  # D2
        a, seen, hidden = spec.action_size, self.seen_size, config.vae_hidden
        self.q1, self.q2 = self.agents(seen + a, 1), self.agents(seen + a, 1)
        self.policy, self.mixer = self.agents(seen + a, a), self.make_mixer()
        self.encoder = self.agents(seen + a, 2 * self.latent, hidden)
        self.decoder = self.agents(seen + self.latent, a, hidden)
        self.q1_target, self.q2_target = make_target(self.q1), make_target(self.q2)
        self.policy_target, self.mixer_target = make_target(self.policy), make_target(self.mixer)

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of everything; all losses are taken before any step. batch [S, B]. D4"""
        c, d = self.config, self.unpack(batch)
        losses = {
            "policy": self.policy_loss(d, noise["policy"]),
            "q": self.q_loss(d, noise["next"]),
            "vae": self.vae_loss(d, noise["vae"]),
        }
        self.descend_all(losses, c.max_grad_norm)
        for name in ("q1", "q2", "mixer", "policy"):
            polyak(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()}

    def vae_loss(self, d: dict[str, Tensor], noise: Tensor) -> Tensor:
        """E (a^ - a)^2 + kl E [ -1/2 (1 + log s^2 - m^2 - s^2) ], a^ decoded from m + s noise -> [S]."""
        mean, log_std = self.per_agent(self.encoder, d["obs_action"]).chunk(2, -1)  # (S, N, B, L)
        log_std = log_std.clamp(*LOG_STD)
        latent = mean + log_std.exp() * noise
        decoded = self.per_agent(self.decoder, torch.cat([d["obs"], latent], -1)).tanh()
        divergence = -0.5 * (1 + 2 * log_std - mean.square() - (2 * log_std).exp())
        return (decoded - d["action"]).square().mean((1, 2, 3)) + self.config.kl_weight * divergence.mean((1, 2, 3))

    def q_loss(self, d: dict[str, Tensor], noise: Tensor) -> Tensor:
        """sum_k E (Q_k_tot - y)^2, y = r + gamma (1 - done) V_tot'(s'), V'_i the best of m min Q' + (1 - m) max Q' over
        proposals at o' -> [S]."""
        c = self.config
        with torch.no_grad():
            actions = self.proposals(self.policy_target, d["next_obs"], noise)  # (S, N, B, M, A)
            q = [self.of_many(net, d["next_obs"], actions).squeeze(-1) for net in (self.q1_target, self.q2_target)]
            soft = c.soft_min * torch.minimum(*q) + (1 - c.soft_min) * torch.maximum(*q)
            v_tot = self.total(self.mixer_target, d["next_state"], soft.amax(-1))
            y = d["reward"] + c.gamma * d["mask"] * v_tot  # (S, B)
        w, b = self.mix(self.mixer, d["state"])
        totals = ((w * self.per_agent(net, d["obs_action"]).squeeze(-1)).sum(1) + b for net in (self.q1, self.q2))
        return torch.stack([(total - y).square().mean(-1) for total in totals]).sum(0)

    def policy_loss(self, d: dict[str, Tensor], noise: Tensor) -> Tensor:
        """-E Q1_i(o_i, a_i), a_i one perturbed proposal -> [S]. D3"""
        actions = self.proposals(self.policy, d["obs"], noise.unsqueeze(-2))  # (S, N, B, 1, A)
        return -self.of_many(self.q1, d["obs"], actions, frozen=True).mean((1, 2, 3, 4))

    def proposals(self, policy: StackedMLP, obs: Tensor, noise: Tensor) -> Tensor:
        """clamp(a + phi tanh(policy(o, a)), -1, 1), a decoded from clamped noise: obs (S, N, B, O + N), noise
        (S, N, B, M, L) -> (S, N, B, M, A). The decoder is a constant. D1"""
        c = self.config
        at = self.spec.obs_size if c.decoder_order == "released" else obs.shape[-1]
        with torch.no_grad():
            decoded = self.of_many(self.decoder, obs, noise.clamp(-LATENT_LIMIT, LATENT_LIMIT), at).tanh()
        return (decoded + c.phi * self.of_many(policy, obs, decoded).tanh()).clamp(-1, 1)

    # ---- plumbing

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per update, normal: vae and policy (S, N, B, L), next (S, N, B, M, L)."""
        rows = (chunk.n_updates, self.spec.n_agents, chunk.batch_size)
        shapes = {"vae": (), "next": (self.config.next_samples,), "policy": ()}
        return {name: self.normal(*rows, *m, self.latent).to(self.dtype) for name, m in shapes.items()}

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        values = [self.q1, self.q2, self.mixer]
        return self.adams(policy=[self.policy], q=values, vae=[self.encoder, self.decoder])

    def initial_carry(self, n_seeds: int, n_episodes: int) -> list[torch.Generator]:
        """Each seed's generator of latents: the evaluation's clock, counted down from -1, is a stream of its own. D5"""
        return [generator(seed, Stream.EVALUATION, -1 - self.n_updates) for seed in self.seeds]

    @torch.no_grad()
    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A]: of many perturbed proposals the best under Q1. D5"""
        rngs = carry or self.initial_carry(len(obs), obs.shape[1])
        seen, shape = self.identified(obs), (*obs.shape[1:3], self.config.act_samples, self.latent)
        noise = torch.stack([torch.randn(*shape, generator=g) for g in rngs]).to(obs)  # (S, E, N, M, L)
        actions = self.proposals(self.policy, seen, noise.transpose(1, 2))  # (S, N, E, M, A)
        best = self.of_many(self.q1, seen, actions).argmax(-2, keepdim=True)  # (S, N, E, 1, 1)
        chosen = actions.gather(-2, best.expand(*best.shape[:-1], actions.shape[-1])).squeeze(-2)
        return chosen.transpose(1, 2), rngs
