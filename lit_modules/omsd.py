# OMSD: Offline Multi-agent RL via Sequential Score Decomposition (ICML 2026), arXiv 2505.05968
# Equations: public notes on the paper; the form of the losses: SRPO (thu-ml/SRPO, b3b916a), which it extends.
#
# D1  weighting=vds: w(t) = sigma_t^2 as SRPO's default; stable: 1; score: alpha_t / sigma_t. The paper: t -> 0.
# D2  subtract_noise=false: SRPO's default does not subtract z from the predicted noise; in expectation it is the same.
# D3  prefix=fresh: a later agent sees the actions of the policies just updated, as published. The first author's
#     development code computes all actions before the loop (stale).
# D4  condition=obs: scores are conditioned on the agent's own observation, as that code does; the notes write s.
# D5  beta multiplies Q: Eq. 6 of the paper times beta. Small beta: close to the data.
# D6  All agents' score networks have one shape, so that they are one stack: the prefix is padded with zeros.
# D7  The paper's network sizes, rates and numbers of updates are unknown to us; each row says what it takes from where.
# D8  share_stage1=false: every seed has its own critic and scores. true: they are trained once, by the first seed's
#     streams, for all seeds' actors. What the paper does is unknown.
# D9  Critic, scores and actors take minibatches of one size. On multi-agent MuJoCo the development code's critic takes
#     twice the others', and its scores are those of a checkpoint before the end of their cosine.
# D10 The target of Q takes V(s') after V's own step of the update. SRPO and the development code take it before.
"""Sequential score decomposition, and its ablations with independent or marginal scores."""

import math
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from tensordict import TensorDict
from torch import Tensor

from data.common.rng import Stream, generator
from data.common.spec import Box, WorldSpec
from lit_modules.common.functional import agent_major, agent_params, make_target, polyak
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.optim import Adam, IndexedAdam
from lit_modules.common.registry import register
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.score_net import StackedScore
from lit_modules.common.seed_module import SeedModule
from lit_modules.common.settings import AlgoConfig, Batch, Count, Fraction, NonNegative, Positive, Size, Width

# The settings that decide what a phase of stage 1 learns.
OF_CRITIC = ("n_critic_updates", "batch_size", "hidden", "lr", "gamma", "tau", "expectile", "team_reward")
OF_SCORE = ("n_score_updates", "batch_size", "score_hidden", "score_blocks", "score_lr", "score_weight_decay")
OF_SCORE += ("score_lr_end", "score_time", "score_activation", "dropout", "condition")


class OMSDConfig(AlgoConfig):
    """Objective: max E[ Q(s, a) ] - 1/beta sum_i KL( pi_i(.|o_i) || mu_i(.|o_i, a_<i) ), mu split by the chain rule.

    Stage 1: IQL's twin Q and V, and score networks eps_i(a_i^t, t | o_i, a_<i) of the data. Stage 2: deterministic
    actors, one after another, along w(t) eps - beta grad Q.
    """

    method: Literal[
        "omsd", "ctde", "ind", "jal"
    ]  # omsd: eps_i given a_<i | ctde: eps_i alone | ind: eps_i and Q_i alone | jal: one joint agent
    n_critic_updates: Count
    n_score_updates: Count
    n_updates: Size  # of the actors
    batch_size: Batch
    hidden: list[Width]  # of Q, V and actors
    score_hidden: Width
    score_blocks: Width
    score_time: Width  # width of the time's embedding
    score_activation: Literal["mish", "relu"]  # mish | relu
    lr: Positive  # Adam, for Q, V and actors
    score_lr: Positive  # AdamW
    score_weight_decay: NonNegative
    dropout: Annotated[float, Field(ge=0, lt=1)]  # in the score networks' blocks
    gamma: Fraction
    tau: Fraction
    expectile: Fraction
    team_reward: Literal["mean", "first"]  # mean of the agents' rewards | first: agent 0's
    beta: NonNegative  # weight of Q against the data
    # Diffusion times of stage 2, uniform in [t_low, t_high]; the scores are trained from T_MIN on.
    t_low: Annotated[float, Field(ge=1e-3, le=1)]
    t_high: Fraction
    weighting: Literal["vds", "stable", "score"]  # vds | stable | score
    subtract_noise: bool
    normalize_gradient: bool  # of Q, per sample
    prefix: Literal["fresh", "stale"]  # fresh | stale
    condition: Literal["obs", "state"]  # obs | state
    order: list[Count]  # in which the agents are decomposed and updated; [] is 0, 1, ..
    lr_end: Fraction  # actors' rates fall on a cosine to this fraction
    score_lr_end: Fraction  # the scores' too
    share_stage1: bool
    init_scale: Positive  # of the actors' last layer: the spread of their first actions

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        if self.t_low >= self.t_high:
            raise ValueError(f"t_low={self.t_low}, t_high={self.t_high}: t_low must be below t_high")
        return self


BETA_0, BETA_1, T_MIN = 0.1, 20.0, 1e-3


def noise_schedule(t: Tensor) -> tuple[Tensor, Tensor]:
    """VP-SDE: t in [0, 1] -> alpha_t, sigma_t with log alpha_t = -(beta_1 - beta_0) t^2 / 4 - beta_0 t / 2."""
    alpha = (-(BETA_1 - BETA_0) * t.square() / 4 - BETA_0 * t / 2).exp()
    return alpha, (1 - alpha.square()).sqrt()


@register("omsd")
class OMSD(SeedModule):
    keys = ("obs", "action", "rewards", "terminated", ("next", "obs"))
    actions, modes = Box, ("greedy",)

    def __init__(self, config: OMSDConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        _check_order(config, spec)
        self.config = config
        joint = config.method == "jal"
        # The agents as the method sees them: one that observes and does everything, or the world's.
        self.n = 1 if joint else spec.n_agents
        self.obs_size, self.action_size = (
            (spec.n_agents * size if joint else size) for size in (spec.obs_size, spec.action_size)
        )
        self.order = config.order or list(range(self.n))
        self.n_critics = spec.n_agents if config.method == "ind" else 1
        n_stage1 = 1 if config.share_stage1 else len(seeds)
        # Streams of their own: each network starts the same whatever the others are.
        streams, of_scores, of_actors = ([generator(seed, Stream.WEIGHTS, k) for seed in seeds] for k in range(3))
        streams, of_scores = streams[:n_stage1], of_scores[:n_stage1]
        seen, acted = (spec.n_agents * size // self.n_critics for size in (spec.obs_size, spec.action_size))
        lead = (n_stage1, self.n_critics)
        self.q1, self.q2 = (StackedMLP((seen + acted, *config.hidden, 1), lead, streams) for _ in range(2))
        self.v = StackedMLP((seen, *config.hidden, 1), lead, streams)
        self.q1_target, self.q2_target = make_target(self.q1), make_target(self.q2)
        condition = (self.n * self.obs_size if config.condition == "state" else self.obs_size) + self.prefix_size
        self.score = StackedScore(
            self.action_size, condition, config.score_hidden, config.score_blocks, config.dropout,
            (n_stage1, self.n), of_scores, config.score_time, config.score_activation,
        )  # fmt: skip
        actor = (self.obs_size, *config.hidden, self.action_size)
        self.policy = StackedMLP(actor, (len(seeds), self.n), of_actors)
        self.policy.theta.data[..., -self.policy.split[-2] - self.policy.split[-1] :] *= config.init_scale

    @property
    def prefix_size(self) -> int:
        return (self.n - 1) * self.action_size if self.config.method == "omsd" else 0

    # ---- stage 1

    def update_critic(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of V, then of both Q, then of the targets. batch [S1, B]."""
        d = self.unpack(batch)
        v_loss = self.v_loss(d)
        self.descend("v", v_loss, float("inf"))
        q_loss = self.q_loss(d)
        self.descend("q", q_loss, float("inf"))
        polyak(self.q1_target, self.q1, self.config.tau)
        polyak(self.q2_target, self.q2, self.config.tau)
        return self.broadcast_seeds({"loss/v": v_loss, "loss/q": q_loss})

    def v_loss(self, d: dict[str, Tensor]) -> Tensor:
        """E | expectile - 1{u < 0} | u^2, u = min_k Q'_k(s, a) - V(s) -> [S]."""
        with torch.no_grad():
            q = torch.minimum(self.q1_target(d["sa"]), self.q2_target(d["sa"]))
        u = q - self.v(d["s"])  # (S, G, B, 1)
        weight = (self.config.expectile - (u.detach() < 0).to(u.dtype)).abs()
        return (weight * u.square()).mean((1, 2, 3))

    def q_loss(self, d: dict[str, Tensor]) -> Tensor:
        """1/2 sum_k E ( r + gamma (1 - done) V(s') - Q_k(s, a) )^2 -> [S]."""
        with torch.no_grad():
            y = d["reward"] + self.config.gamma * d["mask"] * self.v(d["next_s"])  # (S, G, B, 1)
        errors = [(y - q(d["sa"])).square().mean((1, 2, 3)) for q in (self.q1, self.q2)]
        return 0.5 * (errors[0] + errors[1])

    def update_score(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of every agent's score network, each on the data's own prefix. batch [S1, B]."""
        d = self.unpack(batch)
        loss = self.score_loss(d["action"], self.conditions(d["obs"], d["action"]), noise)
        self.descend("score", loss, float("inf"), noise["lr_scale"])
        return self.broadcast_seeds({"loss/score": loss})

    def score_loss(self, action: Tensor, condition: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """sum_i E || eps_i(alpha_t a_i + sigma_t z, t | o_i, a_<i) - z ||^2 -> [S]. action (S, N, B, A)."""
        t = T_MIN + (1 - T_MIN) * noise["t"]  # (S, N, B)
        alpha, sigma = (x.unsqueeze(-1) for x in noise_schedule(t))
        z = noise["z"]
        predicted = self.score(alpha * action + sigma * z, t, condition, keep=noise.get("keep"))
        return (predicted - z).square().sum(-1).mean(-1).sum(1)

    # ---- stage 2

    def update_actor(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """The actors one after another in `order`, each seeing the actions of those before it. batch [S, B]."""
        d, c = self.unpack(batch), self.config
        with torch.no_grad():
            actions = self.policy(d["obs"]).tanh()  # (S, N, B, A), of all agents
        losses, sizes = [], []
        for agent in self.order:
            rows = agent + self.n * torch.arange(len(self.seeds), device=actions.device)  # of the stacked actors
            theta = agent_params(self.policy, rows)
            a = self.policy(d["obs"][:, agent], theta).tanh()  # (S, B, A)
            e = self.weighted_noise(d["obs"], actions, a.detach(), agent, noise)
            g = self.q_gradient(d, actions, a.detach(), agent)
            loss = self.policy_loss(a, e, g)
            (grad,) = torch.autograd.grad(loss.sum(), theta)
            self.optimizer["policy"].step_index(rows, grad, noise["lr_scale"])  # type: ignore[attr-defined]
            if c.prefix == "fresh":  # D3
                with torch.no_grad():
                    theta = self.policy.theta.flatten(0, 1)[rows]
                    actions[:, agent] = self.policy(d["obs"][:, agent], theta).tanh()
            losses.append(loss.detach())
            sizes.append((e.square().mean((1, 2)).sqrt(), g.square().mean((1, 2)).sqrt()))
        of_e, of_g = (torch.stack(values).mean(0) for values in zip(*sizes, strict=True))
        return {"loss/policy": torch.stack(losses).mean(0), "gradient/score": of_e, "gradient/q": of_g}

    def policy_loss(self, a: Tensor, e: Tensor, g: Tensor) -> Tensor:
        """E ( w(t) eps - beta grad Q ) . a, both factors constant -> [S]. a, e = w eps, g (S, B, A)."""
        return ((e - self.config.beta * g).detach() * a).sum(-1).mean(-1)  # D5

    @torch.no_grad()
    def weighted_noise(self, obs: Tensor, actions: Tensor, a: Tensor, agent: int, noise: dict[str, Tensor]) -> Tensor:
        """w(t) eps_i(alpha_t a_i + sigma_t z, t | o_i, a_<i), t ~ U[t_low, t_high] -> (S, B, A)."""
        c = self.config
        t = c.t_low + (c.t_high - c.t_low) * noise["t"][:, agent]  # (S, B)
        alpha, sigma = (x.unsqueeze(-1) for x in noise_schedule(t))
        z = noise["z"][:, agent]
        condition = self.conditions(obs, actions)[:, agent]
        e = self.score_of(agent, alpha * a + sigma * z, t, condition)
        if c.subtract_noise:  # D2
            e = e - z
        return {"vds": sigma.square(), "stable": torch.ones_like(sigma), "score": alpha / sigma}[c.weighting] * e  # D1

    def q_gradient(self, d: dict[str, Tensor], actions: Tensor, a: Tensor, agent: int) -> Tensor:
        """grad_{a_i} 1/2 sum_k Q'_k(s, a_1 .. a_n) -> (S, B, A)."""
        a = a.requires_grad_()
        if self.config.method == "ind":
            sa = torch.cat([d["obs"][:, agent], a], -1).unsqueeze(1)
        else:
            team = [a if j == agent else actions[:, j] for j in range(self.n)]
            sa = torch.cat([d["s"][:, 0], *team], -1).unsqueeze(1)  # (S, 1, B, N O + N A)
        rows = slice(agent, agent + 1) if self.config.method == "ind" else slice(0, 1)
        q = sum(self.with_shared_params(net, net.theta[:, rows], sa) for net in (self.q1_target, self.q2_target)) / 2
        (g,) = torch.autograd.grad(q.sum(), a)  # type: ignore[union-attr]
        if self.config.normalize_gradient:
            g = g / g.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-12)
        return g

    # ---- plumbing

    def phases(self) -> list[Phase]:
        c, shared = self.config, self.config.share_stage1
        given = {"jal": "joint", "omsd": "of those before"}.get(c.method, "none")
        of_critic = {key: getattr(c, key) for key in OF_CRITIC} | {"own critics": self.n_critics > 1}
        of_score = {key: getattr(c, key) for key in OF_SCORE} | {"given actions": given, "order": self.order}
        if given != "of those before":
            del of_score["order"]
        nets = ("q1", "q2", "v", "q1_target", "q2_target")
        return [
            Phase("critic", c.n_critic_updates, c.batch_size, shared, (), nets, of_critic),
            Phase("score", c.n_score_updates, c.batch_size, shared, ("obs", "action"), ("score",), of_score),
            Phase("actor", c.n_updates, c.batch_size, keys=("obs",)),
        ]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {
            "v": Adam(self.v.parameters(), lr=c.lr),
            "q": Adam([self.q1.theta, self.q2.theta], lr=c.lr),
            "score": Adam([self.score.theta], c.score_lr, c.score_weight_decay),
            "policy": IndexedAdam(self.policy.theta, lr=c.lr),
        }

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per update of scores and actors: times t [K, S, N, B] in [0, 1), noise z [K, S, N, B, A]; and what belongs to
        either: kept hidden units, or the scale of the rate."""
        if chunk.phase == "critic":
            return {}
        c, k, b, shared = self.config, chunk.n_updates, chunk.batch_size, chunk.shared
        t, z = self.uniform(k, self.n, b, shared=shared), self.normal(k, self.n, b, self.action_size, shared=shared)
        drawn = {"t": t, "z": z}
        if chunk.phase == "score" and c.dropout:
            drawn["keep"] = self.bernoulli(1 - c.dropout, k, self.n, b, c.score_blocks * c.score_hidden, shared=shared)
        if chunk.phase == "score":
            start, total, end = c.n_critic_updates, c.n_score_updates, c.score_lr_end
        else:
            start, total, end = c.n_critic_updates + c.n_score_updates, c.n_updates, c.lr_end
        elapsed = torch.arange(chunk.start - start, chunk.start - start + k, device=self.device) / total
        drawn["lr_scale"] = end + (1 - end) * 0.5 * (1 + (math.pi * elapsed).cos())
        return {name: x if x.dtype == torch.bool else x.to(self.dtype) for name, x in drawn.items()}

    def broadcast_seeds(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """[S1] -> [S]: what all seeds share is each one's."""
        return {name: loss.detach().expand(len(self.seeds)) for name, loss in losses.items()}

    def with_shared_params(self, net: StackedMLP, theta: Tensor, x: Tensor) -> Tensor:
        """x [S, G, B, in] through rows theta [S1, G, P] -> [S, G, B, out]."""
        if len(theta) == len(x):
            return net(x, theta)
        out = net(x.transpose(0, 1).flatten(1, 2).unsqueeze(0), theta)  # (1, G, S * B, out)
        return out[0].unflatten(1, (len(x), -1)).transpose(0, 1)

    def score_of(self, agent: int, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """eps of one agent, x (S, B, A), t (S, B), condition (S, B, C) -> (S, B, A); nothing is dropped."""
        rows = self.score.theta[:, agent], self.score.frequencies[:, agent]  # (S1, ..)
        if len(rows[0]) == len(x):
            return self.score(x, t, condition, rows)
        flat = (v.flatten(0, 1).unsqueeze(0) for v in (x, t, condition))
        return self.score(*flat, rows)[0].unflatten(0, x.shape[:2])

    def conditions(self, obs: Tensor, actions: Tensor) -> Tensor:
        """The condition of each agent's score: obs (S, N, B, O), actions (S, N, B, A) -> (S, N, B, C). D4, D6"""
        if self.config.condition == "state":
            obs = obs.transpose(1, 2).flatten(2).unsqueeze(1).expand(-1, self.n, -1, -1)
        if not self.prefix_size:
            return obs
        prefix = obs.new_zeros(*obs.shape[:3], self.prefix_size)
        for k, agent in enumerate(self.order):
            earlier = [actions[:, j] for j in self.order[:k]]
            if earlier:
                prefix[:, agent, :, : k * self.action_size] = torch.cat(earlier, -1)
        return torch.cat([obs, prefix], -1)

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        """batch [S, B] -> obs (S, N, B, O) and action (S, N, B, A) of the method's agents; s, sa, next_s, reward and
        mask of its critics, (S, G, B, ..), as far as the phase reads what they come from."""
        joint = self.config.method == "jal"

        def per_agent(x: Tensor) -> Tensor:  # (S, B, N, ..)
            return agent_major(x.flatten(2).unsqueeze(2) if joint else x)

        def per_critic(x: Tensor) -> Tensor:
            return x.flatten(2).unsqueeze(1) if self.n_critics == 1 else agent_major(x)

        d = {"obs": per_agent(batch["obs"]), "s": per_critic(batch["obs"])}
        if "action" in batch:
            d |= {"action": per_agent(batch["action"])}
        if "rewards" in batch:
            rewards = batch["rewards"].unsqueeze(-1)  # (S, B, N, 1)
            if self.n_critics == 1:
                rewards = rewards.mean(2, keepdim=True) if self.config.team_reward == "mean" else rewards[:, :, :1]
            d |= {"reward": agent_major(rewards), "next_s": per_critic(batch["next", "obs"])}
            d |= {"sa": torch.cat([d["s"], per_critic(batch["action"])], -1)}
            d |= {"mask": (1.0 - batch["terminated"].to(d["s"].dtype)).unsqueeze(1)}  # type: ignore[union-attr]
        return d

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A]. Nothing samples."""
        if self.config.method == "jal":
            joint = self.policy(obs.flatten(2).unsqueeze(1)).tanh()  # (S, 1, E, N A)
            return joint[:, 0].unflatten(-1, (self.spec.n_agents, self.spec.action_size)), carry
        return self.policy(agent_major(obs)).tanh().transpose(1, 2), carry


def _check_order(config: OMSDConfig, spec: WorldSpec) -> None:
    n = 1 if config.method == "jal" else spec.n_agents
    if config.order and sorted(config.order) != list(range(n)):
        raise ValueError(f"algo.order={config.order}: must name each of the agents 0..{n - 1} once")
