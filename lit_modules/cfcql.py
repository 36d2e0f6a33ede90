# CFCQL: Counterfactual Conservative Q Learning for Offline Multi-Agent RL (NeurIPS 2023), arXiv 2309.12696
# Behavior: the authors' released code (thu-rllab/CFCQL 3441019, continuous), which configs/algo/cfcql.yaml follows.
#
# D1  Every agent's counterfactual term weighs 1/n, the code's default, which its README calls tau = 0. Its option
#     --cf_weight weighs the agents by how far each policy is from the data: a VAE of the joint action, trained before,
#     and a temperature per task that is not published. No recorded vector has it. It is not built.
# D2  repeat_after=10: the released driver seeds its sampling anew in each evaluation, so an MPE run sees the
#     minibatches of its first ten rounds again and again. null: each round draws anew, as HalfCheetah's do.
# D3  swapped_densities=true: counterfactual terms subtract from actions around pi(o) the log-densities of those around
#     pi(o'), and the reverse. No effect on MPE, whose conservative term has uniform actions alone.
# D4  gamma=0.95 on HalfCheetah too: the code sets 0.99 there and never hands it on.
# D5  The next action is 0 after an episode's last transition. The code takes the next row, of another episode.
# D6  counterfactual_critic=false and counterfactual_policy=false: MACQL, which replaces all agents' actions together.
#     In the released command the critic's is off unless --cf_cql turns it on, the policy's on unless --no_cf_pol turns
#     it off.
# D7  Minibatches come from each seed's own generator, uniform without replacement as there; the numbers differ.
# D8  Cloning (bc_tau) and OMAR's sampler under the central critic are off by default there and not built here.
# D9  The score is taken after the last round; the released driver's last evaluation comes one round earlier.
# D10 All seeds train on one dataset; the released seed k reads the k-th of five. Of official files it is the one
#     that OMSD's development code took (data/catalog); data.seed=K reads another.
"""CFCQL for continuous actions: a central critic that is conservative about one agent's actions at a time."""

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
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


class CFCQLConfig(AlgoConfig):
    """One central twin Q(s, a_1 .. a_n), penalized by 1/n sum_i log sum_a_i exp Q(s, a_i, a_-i), a_-i the data's.
    Policies on their own observations, each along Q1(s, pi_i(o_i), a_-i)."""

    n_updates: Size  # rounds
    critic_updates: Size  # of a round, each on a minibatch of its own; the policies move after the first
    batch_size: Annotated[int, Field(ge=2, le=10**7)]  # of a critic update; BatchNorm needs two
    repeat_after: Size | None
    hidden: list[Width]
    lr: Positive  # Adam, of critic and policies
    max_grad_norm: Positive  # of the critic, of each agent's policy
    gamma: Fraction
    tau: Fraction
    state: Literal["obs", "stored"]  # obs: all agents' observations | stored: the data's state, agent 0's copy
    target_noise: NonNegative  # deviation, on the target policies' actions
    action_penalty: NonNegative  # weight of pi(o)^2
    cql_alpha: NonNegative
    cql_actions: Size  # per row, agent and source
    cql_temperature: Positive
    cql_policy_sources: bool  # actions around pi(o) and pi(o') beside uniform ones
    cql_noise: Positive  # deviation of those
    data_noise: NonNegative  # half width, on the actions of the others; with cql_policy_sources alone
    counterfactual_critic: bool
    counterfactual_policy: bool
    swapped_densities: bool


@register("cfcql")
class CFCQL(SeedModule):
    actions, modes = Box, ("greedy",)

    def __init__(self, config: CFCQLConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        stored = ("state", ("next", "state")) if config.state == "stored" else ()
        later = (("next", "action"),) if config.cql_policy_sources else ()
        self.keys = ("obs", "action", "rewards", "terminated", ("next", "obs"), *stored, *later)
        n, o, a = spec.n_agents, spec.obs_size, spec.action_size
        seen = n * o if config.state == "obs" else spec.state_size
        self.policy = NormMLP((o, *config.hidden, a), (len(seeds), n), self.weight_rngs, out_range=3e-3)
        self.critic = NormMLP((seen + n * a, *config.hidden, 1), (len(seeds),), self.weight_rngs, n_heads=2)
        self.policy_target, self.critic_target = make_target(self.policy), make_target(self.critic)

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """A round: critic updates, the policies after the first of them, then the targets. batch [S, U * B]."""
        c, losses = self.config, []
        policy_loss = torch.zeros(0)
        for j, d in enumerate(self.unpack(batch)):
            losses.append(self.step_critic(d, {name: x[:, j] for name, x in noise.items()}))
            if j == 0:
                policy_loss = self.step_policy(d)
        polyak(self.critic_target, self.critic, c.tau)
        polyak(self.policy_target, self.policy, c.tau)
        return {"loss/critic": torch.stack(losses).mean(0), "loss/policy": policy_loss}

    def step_critic(self, d: dict[str, Tensor], noise: dict[str, Tensor]) -> Tensor:
        loss = self.critic_loss(d, noise)  # (S,)
        self.descend("critic", loss, self.config.max_grad_norm)
        return loss.detach()

    def step_policy(self, d: dict[str, Tensor]) -> Tensor:
        loss = self.policy_loss(d)  # (S,)
        self.descend("policy", loss, self.config.max_grad_norm)
        return loss.detach()

    def critic_loss(self, d: dict[str, Tensor], noise: dict[str, Tensor]) -> Tensor:
        """sum_k E ( r + gamma (1 - done) min_l Q'_l(s', a') - Q_k(s, a) )^2 + alpha CQL_k, a'_i = pi'_i(o'_i) + noise
        -> [S]."""
        c = self.config
        with torch.no_grad():
            next_a = (self.pi(d["next_obs"], self.policy_target) + c.target_noise * noise["target"]).clamp(-1, 1)
            next_q = self.critic_target(d["next_state"], side_by_side(next_a)).squeeze(-1)
            y = d["reward"] + c.gamma * d["mask"] * next_q.amin(1)  # (S, B)
        q = self.critic(d["state"], side_by_side(d["action"])).squeeze(-1)  # (S, 2, B)
        td = (q - y.unsqueeze(1)).square().mean(-1)
        return (td + c.cql_alpha * self.conservative_term(d, q, noise)).sum(1)

    def conservative_term(self, d: dict[str, Tensor], q: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """CQL_k = E [ 1/n sum_i T log sum_m exp((Q_k(s, a_i^m, a_-i) - p_i^m) / T) - Q_k(s, a) ], p the log-density of
        the draws; MACQL: T log sum_m exp((Q_k(s, a_1^m .. a_n^m) - sum_i p_i^m) / T) in place of the sum -> [S, 2]."""
        c, t, drawn = self.config, self.config.cql_temperature, self.draws(d, noise)
        if c.counterfactual_critic:
            order = (0, 2, 1) if c.swapped_densities and len(drawn) == 3 else range(len(drawn))  # D3
            densities = [drawn[k][2].unsqueeze(1) for k in order]  # (S, 1, N, B, M)
            values = [self.counterfactual_q(d["state"], a, others) for a, others, _ in drawn]  # (S, 2, N, B, M)
        else:
            densities = [p.sum(1)[:, None, None] for _, _, p in drawn]
            values = [self.critic(d["state"], side_by_side(a)).squeeze(-1).unsqueeze(2) for a, _, _ in drawn]
        logits = torch.cat([value - p for value, p in zip(values, densities, strict=True)], -1)
        return ((t * (logits / t).logsumexp(-1)).mean(2) - q).mean(-1)

    @torch.no_grad()
    def draws(self, d: dict[str, Tensor], noise: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Per source: draws of each agent's action (S, N, B, M, A), all agents' actions beside it (S, N, B, A), and the
        draws' log-densities (S, N, B, M)."""
        c, z = self.config, noise["uniform"]
        uniform_p = torch.full_like(z[..., 0], self.spec.action_size * math.log(0.5))
        if not c.cql_policy_sources:
            return [(z, d["action"], uniform_p)]
        beside = {"uniform": d["action"], "current": d["action"], "next": d["next_action"]}
        if c.counterfactual_critic:
            beside = {name: (a + c.data_noise * noise[f"data_{name}"]).clamp(-1, 1) for name, a in beside.items()}
        drawn = [(z, beside["uniform"], uniform_p)]
        for name, obs in (("current", d["obs"]), ("next", d["next_obs"])):
            z = noise[name]
            p = (-0.5 * z.square() - math.log(c.cql_noise * math.sqrt(2 * math.pi))).sum(-1)
            drawn.append(((self.pi(obs).unsqueeze(-2) + c.cql_noise * z).clamp(-1, 1), beside[name], p))
        return drawn

    def policy_loss(self, d: dict[str, Tensor]) -> Tensor:
        """-1/n sum_i E Q1(s, pi_i(o_i), a_-i) + penalty sum_i E pi_i(o_i)^2; MACQL: -E Q1(s, pi_1 .. pi_n) -> [S]."""
        c, pi = self.config, self.pi(d["obs"])  # (S, N, B, A)
        if c.counterfactual_policy:
            q = self.counterfactual_q(d["state"], pi, d["action"], n_heads=1).mean((1, 2, 3))
        else:
            q = self.critic(d["state"], side_by_side(pi), n_heads=1).mean((1, 2, 3))
        return c.action_penalty * pi.square().mean((2, 3)).sum(1) - q

    def counterfactual_q(self, state: Tensor, a: Tensor, others: Tensor, n_heads: int = 2) -> Tensor:
        """Q(s, a_i, a_-i) for each agent i, whose action alone is replaced: a (S, N, B, A) or (S, N, B, M, A), others
        (S, N, B, A) -> (S, H, N, B) or (S, H, N, B, M). All of them together are one batch of the norm."""
        agents, drawn = range(self.spec.n_agents), a.ndim == 5
        if not drawn:
            a = a.unsqueeze(3)
        beside = others.unsqueeze(3).expand_as(a)
        replaced = [torch.cat([(a if i == j else beside)[:, j] for j in agents], -1) for i in agents]  # (S, B, M, N A)
        q = self.critic(state, torch.cat(replaced, 2), n_heads=n_heads).squeeze(-1)  # (S, H, B, N M)
        q = q.unflatten(-1, (len(agents), -1)).movedim(3, 2)
        return q if drawn else q.squeeze(-1)

    # ---- plumbing

    def pi(self, obs: Tensor, net: NormMLP | None = None) -> Tensor:
        """obs (S, N, B, O) -> (S, N, B, A); moves the running statistics of the policies, or of `net`."""
        return (net or self.policy)(obs).squeeze(2).tanh()

    def unpack(self, batch: TensorDict) -> list[dict[str, Tensor]]:
        """batch [S, U * B] -> U minibatches: per agent (S, N, B, ..); states (S, B, St), reward and mask (S, B)."""

        def state(part: Any) -> Tensor:
            if self.config.state == "obs":
                return part["obs"].flatten(2)
            return part["state"][:, :, 0] if self.spec.state_per_agent else part["state"]

        read = {
            "obs": agent_major(batch["obs"]),
            "next_obs": agent_major(batch["next", "obs"]),
            "action": agent_major(batch["action"]),
        }
        if self.config.cql_policy_sources:
            read["next_action"] = agent_major(batch["next", "action"])
        flat = {
            "state": state(batch),
            "next_state": state(batch["next"]),
            "reward": batch["rewards"][..., 0],  # agent 0's
            "mask": 1 - batch["terminated"].squeeze(-1).to(batch["obs"].dtype),
        }
        n = self.config.critic_updates
        parts = {name: x.chunk(n, 2) for name, x in read.items()} | {name: x.chunk(n, 1) for name, x in flat.items()}
        return [{name: x[j] for name, x in parts.items()} for j in range(n)]

    @property
    def compile_targets(self) -> list[str]:
        return ["step_critic"]  # of a round: the same graph for all its critic updates

    def phases(self) -> list[Phase]:
        c = self.config
        rows = Minibatches(parts=c.critic_updates, replacement=False, repeat_after=c.repeat_after)  # D2, D7
        return [Phase("train", c.n_updates, c.critic_updates * c.batch_size, minibatches=rows)]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {name: Adam([getattr(self, name).theta], lr=self.config.lr) for name in ("critic", "policy")}

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Per critic update u: normal noise of the target actions [K, S, U, N, B, A], uniform actions in [-1, 1] and
        noise of actions around the policies' [K, S, U, N, B, M, A], noise in [-1, 1] of those beside them."""
        c, k, a = self.config, chunk.n_updates, self.spec.action_size
        rows = (k, c.critic_updates, self.spec.n_agents, chunk.batch_size // c.critic_updates)
        drawn = {"target": self.normal(*rows, a), "uniform": 2 * self.uniform(*rows, c.cql_actions, a) - 1}
        if c.cql_policy_sources:
            drawn |= {name: self.normal(*rows, c.cql_actions, a) for name in ("current", "next")}
            if c.counterfactual_critic:
                drawn |= {f"data_{name}": 2 * self.uniform(*rows, a) - 1 for name in ("uniform", "current", "next")}
        return {name: x.to(self.dtype) for name, x in drawn.items()}

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A], by the running statistics. Nothing samples."""
        return self.policy.evaluate(agent_major(obs)).squeeze(2).tanh().transpose(1, 2), carry


def side_by_side(actions: Tensor) -> Tensor:
    """(S, N, B, .., A) -> (S, B, .., N A): one input of the central critic."""
    return torch.cat(actions.unbind(1), -1)
