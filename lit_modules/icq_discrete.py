# ICQ-MA: Believe What You See: Implicit Constraint Approach for Offline MARL (NeurIPS 2021), arXiv 2106.03400, discrete
# Behavior: the authors' released code (YiqinYang/ICQ, folder ICQ-MA), which configs/algo/icq_discrete.yaml follows.
#
# D1  The policy that learns is (1 - eps) softmax + eps / A over ALL actions, then zero on illegal ones and scaled to
#     sum 1. eps falls from epsilon_start to epsilon_end over epsilon_updates, in steps of epsilon_hold updates: the
#     released one changes only when an evaluation runs, every 200 updates.
# D2  Evaluation draws, and takes a random legal action with probability eps (sampled). greedy is ours, beside it.
# D3  td_lambda=0.75 and gamma=0.99 are fixed in the released code, whatever its settings say.
# D4  Each step of the episodes is a critic step of its own, the first one first; all of them use targets from before.
# D5  The mixer is linear, its weights sum to 1 over agents, and it has no bias: released layers for one are never read.
# D6  Targets are copies, taken after the update in which target_update_interval critic steps were reached.
# D7  A softmax over the minibatch counts rows beyond an episode's end. The row that a time limit ended in takes part
#     with the action stored there; our data hold none and give 0.
# D8  n_updates: the released clock ends after 4,000,200 of 100 for each update.
"""Implicit constraint Q-learning with recurrent agents under a linear mixer."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from data.common.spec import WorldSpec
from lit_modules.common.functional import make_target, taken
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.optim import RMSprop, clip_per_member
from lit_modules.common.recurrent import Recurrent, rows, sequences, td_lambda
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, Positive, Size, Width


class ICQDiscreteConfig(AlgoConfig):
    """Actions of the data alone: their values are weighted by a softmax over the minibatch in place of a maximum."""

    n_updates: Size
    batch_size: Batch  # episodes
    gru_hidden: Width  # of the agents
    critic_hidden: list[Width]
    mixer_embed: Width
    lr: Positive  # RMSprop, of the agents
    critic_lr: Positive  # RMSprop, of critic and mixer
    rms_alpha: Fraction
    rms_eps: Positive
    max_grad_norm: Positive  # of the agents, of critic and mixer together; per seed
    gamma: Fraction
    td_lambda: Fraction
    target_temperature: Positive
    policy_temperature: Positive
    target_update_interval: Size  # critic steps
    epsilon_start: Fraction
    epsilon_end: Fraction
    epsilon_updates: Size
    epsilon_hold: Size


class LinearMixer(nn.Module):
    """k(s) >= 0 with sum 1 over agents: the product of two linear maps' absolute values, normalized."""

    def __init__(self, state: int, n_agents: int, embed: int, generators: list[torch.Generator]):
        super().__init__()
        self.n_agents, lead = n_agents, (len(generators),)
        self.w1 = StackedMLP((state, n_agents * embed), lead, generators)
        self.w2 = StackedMLP((state, embed), lead, generators)

    def forward(self, state: Tensor) -> Tensor:
        """state [S, R, St] -> k [S, R, N]."""
        w1 = self.w1(state).abs().unflatten(-1, (self.n_agents, -1))
        k = (w1 @ self.w2(state).abs().unsqueeze(-1)).squeeze(-1)
        return k / k.sum(-1, keepdim=True)


@register("icq_discrete")
class ICQDiscrete(Recurrent):
    keys = (*Recurrent.keys, ("next", "action"))  # D7
    since_copy: Tensor

    def __init__(self, config: ICQDiscreteConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(config, seeds, spec, **clock)
        self.agent = self.make_agent(spec.n_actions)
        size = self.state_size + spec.obs_size + spec.n_agents
        lead = (len(seeds),)
        self.critic = StackedMLP((size, *config.critic_hidden, spec.n_actions + 1), lead, self.weight_rngs)
        self.mixer = LinearMixer(self.state_size, spec.n_agents, config.mixer_embed, self.weight_rngs)
        self.critic_target, self.mixer_target = make_target(self.critic), make_target(self.mixer)
        self.register_buffer("since_copy", torch.zeros(len(seeds), dtype=torch.int64))

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """Critic steps, one for each step of the episodes, then the targets' turn, then one step of the agents."""
        d = self.unpack(batch)
        y, losses = self.td_target(d), []
        seen = d["mask"].sum(1)  # (S, T) episodes that have this step
        for t in range(y.shape[-1]):  # D4
            loss = self.critic_loss(d, y, t)
            self.critic_step(loss, seen[:, t] > 0)
            losses.append(loss.detach())
        self.copy_targets((seen > 0).sum(-1))
        policy_loss = self.policy_loss(d, noise["epsilon"])
        self.descend("policy", policy_loss, self.config.max_grad_norm)
        found = torch.stack(losses, -1)  # (S, T)
        return {"loss/critic": (found * (seen > 0)).sum(-1) / (seen > 0).sum(-1), "loss/policy": policy_loss.detach()}

    def critic_loss(self, d: dict[str, Tensor], y: Tensor, t: int) -> Tensor:
        """E ( sum_i k_i(s) Q_i(s, o_i, a_i) - y )^2 over the episodes that have step t -> [S]."""
        q = taken(self.values(self.critic, d["judged"][:, :, t]), d["done"][:, :, t])  # (S, B, N)
        error = (self.mixer(d["state"][:, :, t]) * q).sum(-1) - y[..., t]
        mask = d["mask"][..., t]
        return (error.square() * mask).sum(1) / mask.sum(1).clamp(min=1)

    @torch.no_grad()
    def td_target(self, d: dict[str, Tensor]) -> Tensor:
        """TD(lambda) of B softmax(Q_tot' / T) Q_tot', softmax over the minibatch -> (S, B, T). D7"""
        q = taken(self.values(self.critic_target, d["judged"]), d["done"])  # (S, B, T + 1, N)
        k = self.mixer_target(d["state"].flatten(1, 2)).view_as(q)
        value = (k * q).sum(-1)
        value = value * self.over_batch(value / self.config.target_temperature)
        return td_lambda(value, d, self.config.gamma, self.config.td_lambda)

    def policy_loss(self, d: dict[str, Tensor], epsilon: Tensor) -> Tensor:
        """-E k_i(s) B softmax(A_i / T) log pi_i(a_i), A_i = Q_i(a_i) - sum_a pi_i(a) Q_i(a), softmax over the
        minibatch; means over steps and agents -> [S]. D1"""
        pi = self.explored(self.per_agent(self.agent, d["seen"])[:, :, :-1], d["legal"][:, :, :-1], epsilon)
        done, mask = d["done"][:, :, :-1], d["mask"].unsqueeze(-1)
        with torch.no_grad():
            q = self.values(self.critic, d["judged"][:, :, :-1])  # (S, B, T, N, A)
            advantage = taken(q, done) - (pi * q).sum(-1)
            weight = self.over_batch(advantage / self.config.policy_temperature)
            weight = weight * self.mixer(d["state"][:, :, :-1].flatten(1, 2)).view_as(weight)
        log_pi = torch.where(mask > 0, taken(pi, done), 1.0).log()
        return -(weight * log_pi * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * self.spec.n_agents)

    def explored(self, logits: Tensor, legal: Tensor, epsilon: Tensor | float) -> Tensor:
        """(1 - eps) softmax + eps / A on legal actions, scaled to sum 1; zeros where none is legal. [.., A] D1"""
        pi = ((1 - epsilon) * logits.softmax(-1) + epsilon / logits.shape[-1]) * legal
        total = pi.sum(-1, keepdim=True)
        return pi / torch.where(total > 0, total, 1.0)

    # ---- plumbing

    def values(self, critic: StackedMLP, judged: Tensor) -> Tensor:
        """judged [S, B, .., in] -> Q_i = advantage of each action + value, [S, B, .., A]."""
        out = critic(judged.flatten(1, -2)).view(*judged.shape[:-1], -1)
        return out[..., :-1] + out[..., -1:]

    def over_batch(self, x: Tensor) -> Tensor:
        """[S, B, ..] -> B times the softmax over B."""
        return x.softmax(1) * x.shape[1]

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        d, n = super().unpack(batch), self.spec.n_agents
        obs, state = d["obs"], d["state"].unsqueeze(3).expand(-1, -1, -1, n, -1)
        ids = torch.eye(n, dtype=obs.dtype, device=obs.device).expand(*obs.shape[:3], n, n)
        return d | {"judged": torch.cat([state, obs, ids], -1), "done": rows(sequences(batch), "action")}

    def critic_step(self, loss: Tensor, active: Tensor) -> None:
        """One step of the seeds that are `active` [S]."""
        optimizer: Any = self.optimizer["critic"]
        grads = torch.autograd.grad(loss.sum(), optimizer.param_groups[0]["params"])
        optimizer.step_with(clip_per_member(grads, self.config.max_grad_norm), None, active)

    @torch.no_grad()
    def copy_targets(self, n_steps: Tensor) -> None:
        """Count critic steps [S]; seeds that reach the interval take copies. D6"""
        self.since_copy += n_steps
        due = self.since_copy >= self.config.target_update_interval
        self.since_copy *= ~due
        for target, net in ((self.critic_target, self.critic), (self.mixer_target, self.mixer)):
            for slow, fast in zip(target.parameters(), net.parameters(), strict=True):
                slow.copy_(torch.where(due.unsqueeze(-1), fast, slow))

    def phases(self) -> list[Phase]:
        return [self.episodes("train", self.config.n_updates)]

    def epsilon(self, k: Tensor) -> Tensor:
        """eps of the updates k. D1"""
        c = self.config
        done = (k // c.epsilon_hold * c.epsilon_hold / c.epsilon_updates).clamp(max=1)
        return c.epsilon_start + (c.epsilon_end - c.epsilon_start) * done

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per update: epsilon []. The evaluation that changes it comes after the update of its number."""
        before = (chunk.start - 1 + torch.arange(chunk.n_updates, device=self.device)).clamp(min=0)
        return {"epsilon": self.epsilon(before).to(self.dtype)}

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        groups = {"critic": ([self.critic, self.mixer], c.critic_lr), "policy": ([self.agent], c.lr)}
        return {
            name: RMSprop([p for net in nets for p in net.parameters()], lr, c.rms_alpha, c.rms_eps)
            for name, (nets, lr) in groups.items()
        }

    def action_log_probs(self, out: Tensor, legal: Tensor | None) -> Tensor:
        """Of the softmax over legal actions, and of a random legal one with probability eps. D2"""
        legal = torch.ones_like(out, dtype=torch.bool) if legal is None else legal
        epsilon = self.epsilon(torch.tensor(self.n_updates, device=out.device)).to(out.dtype)
        pi = out.masked_fill(~legal, -torch.inf).softmax(-1)
        return ((1 - epsilon) * pi + epsilon * legal / legal.sum(-1, keepdim=True)).log()
