# TD3+BC-MA: TD3+BC (Fujimoto and Gu 2021), arXiv 2106.06860, under OMIGA's decomposition, arXiv 2307.11620
# No released code of this algorithm exists for continuous actions on these data: this is our composition, and its
# results are nobody's published baseline. From TD3+BC: the deterministic policy and its slow copy, the twin Q, the
# noise of target actions, the delayed policy, lambda and the cloning term. From OMIGA: networks, mixer and
# optimization. wjkim1202/B3C_OfflineMARL and DongsuLeeTech/offline-marl-recipe have others: one Q, or no mixer like
# this, and no delay.
#
# D1  An update is a round: `critic_updates` steps of Q and mixer, each on a minibatch of its own, then one of the
#     policy on the last of them, then the slow copies. That is TD3's delay of two, where n_updates counts the
#     policy's steps and Q takes twice as many.
# D2  Both heads share a mixer, so the smaller Q' of a target is the smaller total.
# D3  lambda and the cloning term are the team's: |Q1_tot| over the minibatch, (pi - a)^2 over agents and actions too.
# D4  Observations are the data's; TD3+BC standardizes them. Gradients are clipped as OMIGA's; TD3+BC clips none.
"""TD3+BC under OMIGA's mixer; a composition of this project."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, NonNegative, Positive, Size, Width


class TD3BCMAConfig(AlgoConfig):
    """The policies together climb Q1_tot, scaled to the size alpha, and stay near the data's actions."""

    n_updates: Size  # rounds: D1
    critic_updates: Width  # of a round
    batch_size: Batch  # of each critic update
    hidden: list[Width]  # of both Q and the policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, two optimizers
    max_grad_norm: Positive  # of the policy, of both Q and the mixer together; per seed
    gamma: Fraction
    tau: Fraction
    target_noise: NonNegative  # deviation
    noise_limit: NonNegative
    alpha: NonNegative  # higher = further from the data


@register("td3_bc_ma")
class TD3BCMA(LocalToGlobal):
    def __init__(self, config: TD3BCMAConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        a, seen = spec.action_size, self.seen_size
        self.q1, self.q2 = self.agents(seen + a, 1), self.agents(seen + a, 1)
        self.policy, self.mixer = self.agents(seen, a), self.make_mixer()
        self.q1_target, self.q2_target = make_target(self.q1), make_target(self.q2)
        self.policy_target, self.mixer_target = make_target(self.policy), make_target(self.mixer)

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """A round: critic updates, one of the policy, then the slow copies. batch [S, U * B]. D1"""
        c, losses, d = self.config, [], {}
        for part, drawn in zip(batch.chunk(c.critic_updates, 1), noise["target"].unbind(1), strict=True):
            d = self.unpack(part)
            losses.append(self.q_loss(d, drawn))
            self.descend("q", losses[-1], c.max_grad_norm)
        policy_loss = self.policy_loss(d)
        self.descend("policy", policy_loss, c.max_grad_norm)
        for name in ("q1", "q2", "mixer", "policy"):
            polyak(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        return {"loss/q": torch.stack(losses).detach().mean(0), "loss/policy": policy_loss.detach()}

    def q_loss(self, d: dict[str, Tensor], noise: Tensor) -> Tensor:
        """sum_k E (Q_k_tot(s, a) - y)^2, y = r + gamma (1 - done) min_l Q_l_tot'(s', a'), a' = clamp(pi'(o') +
        clamp(sigma noise, +-limit), +-1) -> [S]. noise (S, N, B, A). D2"""
        c = self.config
        with torch.no_grad():
            smoothing = (c.target_noise * noise).clamp(-c.noise_limit, c.noise_limit)
            next_action = (self.pi(self.policy_target, d["next_obs"]) + smoothing).clamp(-1, 1)
            x = self.with_action(d["next_obs"], next_action)
            later = self.totals((self.q1_target, self.q2_target), self.mixer_target, d["next_state"], x)
            y = d["reward"] + c.gamma * d["mask"] * later.amin(1)  # (S, B)
        q_tot = self.totals((self.q1, self.q2), self.mixer, d["state"], d["obs_action"])
        return (q_tot - y.unsqueeze(1)).square().mean(-1).sum(1)

    def policy_loss(self, d: dict[str, Tensor]) -> Tensor:
        """-lambda E Q1_tot(s, pi(o)) + E (pi(o) - a)^2, lambda = alpha / E |Q1_tot(s, pi(o))| -> [S]. D3"""
        pi = self.pi(self.policy, d["obs"])  # (S, N, B, A)
        q = self.totals((self.q1,), self.mixer, d["state"], self.with_action(d["obs"], pi)).squeeze(1)  # (S, B)
        scale = self.config.alpha / q.detach().abs().mean(-1)  # (S,)
        return (pi - d["action"]).square().mean((1, 2, 3)) - scale * q.mean(-1)

    # ---- plumbing

    def pi(self, policy: StackedMLP, obs: Tensor) -> Tensor:
        """obs (S, N, B, O + N) -> (S, N, B, A)."""
        return self.per_agent(policy, obs).tanh()

    def totals(self, heads: tuple[StackedMLP, ...], mixer: StackedMLP, state: Tensor, x: Tensor) -> Tensor:
        """Q_k_tot of each head: state (S, B, N * St), x (S, N, B, O + A + N) -> (S, heads, B)."""
        w, b = self.mix(mixer, state)  # (S, N, B), (S, B)
        return torch.stack([(w * self.per_agent(net, x).squeeze(-1)).sum(1) + b for net in heads], 1)

    def phases(self) -> list[Phase]:
        return [Phase("train", self.config.n_updates, self.config.critic_updates * self.config.batch_size)]

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Of each critic update's target actions: normal [K, S, U, N, B, A]."""
        u, a = self.config.critic_updates, self.spec.action_size
        rows = (chunk.n_updates, u, self.spec.n_agents, chunk.batch_size // u)
        return {"target": self.normal(*rows, a).to(self.dtype)}

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.adams(policy=[self.policy], q=[self.q1, self.q2, self.mixer])

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A]. Nothing samples."""
        return self.pi(self.policy, self.identified(obs)).transpose(1, 2), carry
