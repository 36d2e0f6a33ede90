# CFCQL for discrete actions: Counterfactual Conservative Q-Learning (NeurIPS 2023), arXiv 2309.12696
# Behavior: the authors' released code (thu-rllab/CFCQL 3441019, folder discrete), which the settings in
# configs/algo/cfcql_discrete.yaml follow. MACQL of its tables is conservative=joint.
#
# D1  The weights of agents compare the behavior model with a softmax of the MIXED values, agent i's action replaced,
#     not with a softmax of its own Q_i. 1e-5 is added to both probabilities. The paper has the agent's policy there.
# D2  temperature=100 means the one agent that differs most; 0 weighs all alike.
# D3  The behavior model is trained first, for n_behavior_updates. The released code computes a rule for stopping early
#     and never uses it.
# D4  Targets are copies, taken when a count that grows by episodes_per_update (8) with each update has grown by
#     target_update_interval (200): every 25 updates.
# D5  conservative=joint, the released raw_cql: joint actions are drawn from ALL actions, Q_tot of one with an illegal
#     part counts as 0, and neither the number of draws nor their density corrects the log-sum-exp.
# D6  n_updates: the released clock counts steps of the sampled episodes, 10,050,000 in all.
"""Counterfactual conservative Q-learning with recurrent agents under QMIX."""

import math
from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import WorldSpec
from lit_modules.common.distributions import masked_log_softmax
from lit_modules.common.functional import make_target, polyak, taken
from lit_modules.common.optim import Adam
from lit_modules.common.qmix import MixerWeights, QMixer
from lit_modules.common.recurrent import Recurrent, masked_mean, td_lambda
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.settings import AlgoConfig, Batch, Count, Fraction, NonNegative, Positive, Size, Width

ILLEGAL = -1e10
LARGEST = 100.0  # the temperature that stands for the maximum: D2


class CFCQLDiscreteConfig(AlgoConfig):
    """Q_tot fits returns and is pushed down where one agent alone leaves the data: sum_i lambda_i logsumexp_{a_i}
    Q_tot(s, a_i, a_-i) - Q_tot(s, a), lambda larger for agents that are farther from the data."""

    n_behavior_updates: Count
    n_updates: Size
    batch_size: Batch  # episodes
    gru_hidden: Width
    mixer_embed: Width
    hypernet_hidden: Width
    lr: Positive  # Adam, of the agents and the mixer together, and of the behavior model
    max_grad_norm: Positive  # of each optimizer; per seed
    gamma: Fraction
    td_lambda: Fraction
    alpha: NonNegative  # weight of the conservative term
    temperature: NonNegative  # of the agents' weights
    target_update_interval: Size
    episodes_per_update: Size
    conservative: Literal["counterfactual", "joint"]  # counterfactual | joint
    n_joint: Width  # joint actions, where conservative=joint


@register("cfcql_discrete")
class CFCQLDiscrete(Recurrent):
    modes = ("greedy",)

    def __init__(self, config: CFCQLDiscreteConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(config, seeds, spec, **clock)
        self.agent, self.behavior = self.make_agent(spec.n_actions), self.make_agent(spec.n_actions)
        sizes = (self.state_size, spec.n_agents, config.mixer_embed, config.hypernet_hidden)
        self.mixer = QMixer(*sizes, self.weight_rngs)
        self.agent_target, self.mixer_target = make_target(self.agent), make_target(self.mixer)

    def update_behavior(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of cloning. batch [S, B, T]."""
        loss = self.behavior_loss(self.unpack(batch))
        self.descend("behavior", loss, self.config.max_grad_norm)
        return {"loss/behavior": loss.detach()}

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of agents and mixer on the sum of both losses. batch [S, B, T]."""
        c, d = self.config, self.unpack(batch)
        q = self.per_agent(self.agent, d["seen"])  # (S, B, T + 1, N, A)
        y = self.td_target(d, q.detach())
        at = self.mixer(d["state"][:, :, :-1].flatten(1, 2))
        q = q[:, :, :-1]
        q_taken = taken(q, d["action"])  # (S, B, T, N)
        q_tot = at.total(q_taken.flatten(1, 2)).view_as(d["mask"])
        td, cql = self.q_loss(d, q_tot, y), self.conservative_loss(d, at, q, q_taken, q_tot, noise)
        self.descend("q", td + c.alpha * cql, c.max_grad_norm)
        for name in ("agent", "mixer"):  # D4
            polyak(getattr(self, f"{name}_target"), getattr(self, name), noise["copy"])
        return {
            "loss/q": td.detach(),
            "loss/conservative": cql.detach(),
            "value/q": masked_mean(q_tot, d["mask"]).detach(),
        }

    def behavior_loss(self, d: dict[str, Tensor]) -> Tensor:
        """-E sum_i log beta_i(a_i | history) -> [S]."""
        log_beta = self.behavior_log_probs(d)[:, :, :-1]
        return masked_mean(-taken(log_beta, d["action"]).mean(-1), d["mask"])

    def q_loss(self, d: dict[str, Tensor], q_tot: Tensor, y: Tensor) -> Tensor:
        """E 1/2 (Q_tot - y)^2 over the steps of the episodes -> [S]."""
        return masked_mean(0.5 * (q_tot - y).square(), d["mask"])

    def conservative_loss(
        self,
        d: dict[str, Tensor],
        at: MixerWeights,
        q: Tensor,
        q_taken: Tensor,
        q_tot: Tensor,
        noise: dict[str, Tensor],
    ) -> Tensor:
        """E sum_i lambda_i logsumexp_{a_i} Q_tot(s, a_i, a_-i) - Q_tot(s, a); or over joint actions -> [S]. D5"""
        if self.config.conservative == "joint":
            pushed = self.joint(d, at, q, noise["joint"])
        else:
            own, every = q_taken.flatten(1, 2), q.flatten(1, 2)
            mixed = torch.stack([at.replaced(own, every, i) for i in range(self.spec.n_agents)], 2).view_as(q)
            mixed = mixed.masked_fill(~d["legal"][:, :, :-1], ILLEGAL)
            pushed = (self.agent_weights(d, mixed.detach()) * mixed.logsumexp(-1)).sum(-1)  # (S, B, T)
        return masked_mean(pushed - q_tot, d["mask"])

    @torch.no_grad()
    def agent_weights(self, d: dict[str, Tensor], mixed: Tensor) -> Tensor:
        """lambda_i = softmax over agents of temperature KL(softmax Q_tot(., a_-i) || beta_i) -> (S, B, T, N). D1, D2"""
        p = mixed.softmax(-1) + 1e-5
        beta = self.behavior_log_probs(d)[:, :, :-1].exp() + 1e-5
        divergence = (p * (p / beta).log() * d["legal"][:, :, :-1]).sum(-1)
        if self.config.temperature == LARGEST:
            return torch.nn.functional.one_hot(divergence.argmax(-1), self.spec.n_agents).to(mixed.dtype)
        return (self.config.temperature * divergence).softmax(-1)

    @torch.no_grad()
    def td_target(self, d: dict[str, Tensor], q: Tensor) -> Tensor:
        """TD(lambda) of Q_tot'(s, a*), a*_i the best legal action under the online Q_i -> (S, B, T)."""
        best = q.masked_fill(~d["legal"], ILLEGAL).argmax(-1)
        slow = taken(self.per_agent(self.agent_target, d["seen"]), best)  # (S, B, T + 1, N)
        value = self.mixer_target(d["state"].flatten(1, 2)).total(slow.flatten(1, 2)).view(best.shape[:3])
        return td_lambda(value, d, self.config.gamma, self.config.td_lambda)

    def joint(self, d: dict[str, Tensor], at: MixerWeights, q: Tensor, actions: Tensor) -> Tensor:
        """logsumexp of Q_tot over joint actions [S, M, B, T, N] -> (S, B, T). D5"""
        actions = actions.long().permute(0, 2, 3, 4, 1)  # (S, B, T, N, M)
        legal = d["legal"][:, :, :-1].gather(-1, actions).all(-2)  # (S, B, T, M)
        total = at.total(q.gather(-1, actions).transpose(-1, -2).flatten(1, 2)).view(legal.shape)
        return (total * legal).logsumexp(-1)

    # ---- plumbing

    def behavior_log_probs(self, d: dict[str, Tensor]) -> Tensor:
        return masked_log_softmax(self.per_agent(self.behavior, d["seen"]), d["legal"])

    def phases(self) -> list[Phase]:
        c = self.config
        return [self.episodes("behavior", c.n_behavior_updates), self.episodes("train", c.n_updates)]

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per update: copy [], 1 where the targets are copied after it; joint actions [S, M, B, T, N], a byte each."""
        if chunk.phase != "train":
            return {}
        c, spec = self.config, self.spec
        k = torch.arange(chunk.n_updates, device=self.device) + chunk.start - c.n_behavior_updates
        period = math.ceil(c.target_update_interval / c.episodes_per_update)
        drawn = {"copy": ((k > 0) & (k % period == 0)).to(self.dtype)}
        if c.conservative == "joint":
            shape = (1, c.n_joint, c.batch_size, spec.episode_limit, spec.n_agents)
            each = [(self.uniform(*shape) * spec.n_actions).to(torch.uint8) for _ in range(chunk.n_updates)]
            drawn["joint"] = torch.cat(each)
        return drawn

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        learned = [*self.agent.parameters(), *self.mixer.parameters()]
        lr = self.config.lr
        return {"behavior": Adam(self.behavior.parameters(), lr=lr), "q": Adam(learned, lr=lr)}

    def action_log_probs(self, out: Tensor, legal: Tensor | None) -> Tensor:
        return masked_log_softmax(out, legal)
