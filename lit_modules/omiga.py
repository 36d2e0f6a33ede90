# OMIGA: Offline Multi-Agent RL with Implicit Global-to-Local Value Regularization (NeurIPS 2023), arXiv 2307.11620
# Equations: the authors' poster; behavior: their released code (ZhengYinan-AIR/OMIGA, branch master), which
# configs/algo/omiga.yaml follows. Where poster and code differ, a switch chooses; named below is the code's value.
#
# D1  targets=all: Q, V and the mixer have slow copies, and the TD target and z use them. The poster slows only Q.
# D2  z_limit=10: z is clamped to +-10, which stops the exponential's gradient beyond and leaves the linear term.
#     The poster does not clamp (null).
# D3  rescale=true: the V loss is multiplied by exp(-m), m the minibatch's largest z, at least -1; per seed here.
#     The poster does not rescale.
# D4  simultaneous=true: all three losses are taken before any step. The poster steps V, then Q and mixer, then policy.
# D5  shared=true: one network for all agents, told apart by a one-hot. The poster writes one per agent.
# D6  Evaluations follow updates 5000, 10000, .., 1000000; the code's follow update 1, 5001, .., 995001.
"""OMIGA for continuous actions."""

from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.spec import Box, WorldSpec
from lit_modules.common.distributions import tanh_normal_log_prob, tanh_normal_mode
from lit_modules.common.functional import agent_major, make_target, polyak, with_agent_id
from lit_modules.common.mlp import StackedMLP
from lit_modules.common.optim import Adam
from lit_modules.common.registry import register
from lit_modules.common.schedule import Phase
from lit_modules.common.seed_module import SeedModule
from lit_modules.common.settings import AlgoConfig, Batch, Fraction, Positive, Size, Width


class OMIGAConfig(AlgoConfig):
    """Objective: max E[r] - alpha D(pi_tot, mu_tot), split over agents by Q_tot = sum_i w_i(s) Q_i + b(s), w >= 0.

    z_i = w_i (Q_i - V_i) / alpha is the local regularized advantage: V_i normalizes exp(z_i), pi_i clones with it.
    """

    n_updates: Size
    batch_size: Batch
    hidden: list[Width]  # of V, Q and policy
    mixer_hidden: list[Width]
    lr: Positive  # Adam, three optimizers
    max_grad_norm: Positive  # of the policy, of Q and mixer together, of V; per seed
    gamma: Fraction
    tau: Fraction
    alpha: Positive  # higher = closer to the data
    targets: Literal["all", "q"]  # all | q
    z_limit: Positive | None
    rescale: bool
    simultaneous: bool
    shared: bool


@register("omiga")
class OMIGA(SeedModule):
    keys = ("obs", "state", "action", "reward", "terminated", ("next", "obs"), ("next", "state"))
    actions, modes = Box, ("greedy",)

    def __init__(self, config: OMIGAConfig, seeds: list[int], spec: WorldSpec, **clock: Any):
        super().__init__(seeds, spec, **clock)
        self.config = config
        n, a = spec.n_agents, spec.action_size
        seen = spec.obs_size + (n if config.shared else 0)

        def agents(inputs: int, outputs: int) -> StackedMLP:
            lead = (len(seeds),) if config.shared else (len(seeds), n)
            return StackedMLP((inputs, *config.hidden, outputs), lead, self.weight_rngs)

        self.v, self.q, self.policy = agents(seen, 1), agents(seen + a, 1), agents(seen, 2 * a)
        mixer = (n * spec.state_size, *config.mixer_hidden, n + 1)
        self.mixer = StackedMLP(mixer, (len(seeds),), self.weight_rngs)
        self.q_target = make_target(self.q)
        if config.targets == "all":
            self.v_target, self.mixer_target = make_target(self.v), make_target(self.mixer)

    def update_train(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of everything. batch [S, B]."""
        c, d = self.config, self.unpack(batch)
        z, w, v = self.regularized_advantage(d)
        losses = {"v": self.v_loss(z, w, v)}
        if c.simultaneous:  # D4
            losses = {"policy": self.policy_loss(d, z.detach()), "q": self.q_loss(d), **losses}
            self.descend_all(losses, c.max_grad_norm)
        else:
            self.descend("v", losses["v"], c.max_grad_norm)
            losses["q"] = self.q_loss(d)
            self.descend("q", losses["q"], c.max_grad_norm)
            z, _, v = self.regularized_advantage(d)
            losses["policy"] = self.policy_loss(d, z.detach())
            self.descend("policy", losses["policy"], c.max_grad_norm)
        for name in ("q", "v", "mixer") if c.targets == "all" else ("q",):  # D1
            polyak(self.target_or_online(name), getattr(self, name), c.tau)
        seen = {"value/v": v.detach().mean((1, 2)), "value/z": z.detach().mean((1, 2))}
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()} | seen

    def q_loss(self, d: dict[str, Tensor]) -> Tensor:
        """E ( r + gamma (1 - done) V_tot'(s') - Q_tot(s, a) )^2 -> [S]."""
        with torch.no_grad():
            w, b = self.mix(self.target_or_online("mixer"), d["next_state"])
            v = self.per_agent(self.target_or_online("v"), d["next_obs"]).squeeze(-1)  # (S, N, B)
            y = d["reward"] + self.config.gamma * d["mask"] * ((w * v).sum(1) + b)  # (S, B)
        w, b = self.mix(self.mixer, d["state"])
        q = self.per_agent(self.q, d["obs_action"]).squeeze(-1)  # (S, N, B)
        return ((w * q).sum(1) + b - y).square().mean(-1)

    def regularized_advantage(self, d: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """z = w'(s) (Q'(o, a) - V(o)) / alpha, w' and V, each (S, N, B); only V carries a gradient."""
        with torch.no_grad():
            w, _ = self.mix(self.target_or_online("mixer"), d["state"])
            q = self.per_agent(self.target_or_online("q"), d["obs_action"]).squeeze(-1)
        v = self.per_agent(self.v, d["obs"]).squeeze(-1)
        z = w / self.config.alpha * (q - v)
        limit = self.config.z_limit
        return (z if limit is None else z.clamp(-limit, limit)), w, v  # D2

    def v_loss(self, z: Tensor, w: Tensor, v: Tensor) -> Tensor:
        """E [ exp(z - m) + exp(-m) w' V / alpha ] over agents and minibatch -> [S]."""
        m = z.detach().amax((1, 2), keepdim=True).clamp(min=-1.0) if self.config.rescale else torch.zeros_like(z)  # D3
        return ((z - m).exp() + (-m).exp() * w * v / self.config.alpha).mean((1, 2))

    def policy_loss(self, d: dict[str, Tensor], z: Tensor) -> Tensor:
        """-E exp(z_i) log pi_i(a_i | o_i) over agents and minibatch -> [S]."""
        log_pi = tanh_normal_log_prob(self.per_agent(self.policy, d["obs"]), d["action"])  # (S, N, B)
        return -(z.exp() * log_pi).mean((1, 2))

    # ---- plumbing

    def target_or_online(self, name: str) -> StackedMLP:
        """The target network of `name`, or the network itself where it has none. D1"""
        return getattr(self, f"{name}_target" if name == "q" or self.config.targets == "all" else name)

    def unpack(self, batch: TensorDict) -> dict[str, Tensor]:
        """batch [S, B] -> agent-major tensors (S, N, B, ..); states (S, B, N * St)."""
        obs, action = self.identified(batch["obs"]), agent_major(batch["action"])
        return {
            "obs": obs,  # (S, N, B, O + N)
            "obs_action": self.with_action(obs, action),  # (S, N, B, O + A + N)
            "next_obs": self.identified(batch["next", "obs"]),
            "state": batch["state"].flatten(2),
            "next_state": batch["next", "state"].flatten(2),
            "action": action,  # (S, N, B, A)
            "reward": batch["reward"].squeeze(-1),  # (S, B)
            "mask": 1 - batch["terminated"].squeeze(-1).to(obs.dtype),
        }

    def identified(self, obs: Tensor) -> Tensor:
        """obs [S, B, N, O] -> [S, N, B, O + N], or without the one-hot where each agent has its own networks. D5"""
        obs = agent_major(obs)
        return with_agent_id(obs) if self.config.shared else obs

    def with_action(self, obs: Tensor, action: Tensor) -> Tensor:
        """The input of Q: observation, action, one-hot, in the released order."""
        size = self.spec.obs_size
        return torch.cat([obs[..., :size], action, obs[..., size:]], -1)

    def per_agent(self, net: StackedMLP, x: Tensor) -> Tensor:
        """x [S, N, B, in] -> [S, N, B, out], by one network for all agents or one for each."""
        return net(x.flatten(1, 2)).view(*x.shape[:3], -1) if self.config.shared else net(x)

    def mix(self, mixer: StackedMLP, state: Tensor) -> tuple[Tensor, Tensor]:
        """state [S, B, N * St] -> w = |.| [S, N, B] and b [S, B]."""
        out = mixer(state)  # (S, B, N + 1)
        return out[..., :-1].abs().transpose(1, 2), out[..., -1]

    def phases(self) -> list[Phase]:
        return [Phase("train", self.config.n_updates, self.config.batch_size)]

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        groups = {"policy": [self.policy], "q": [self.q, self.mixer], "v": [self.v]}
        return {name: Adam([net.theta for net in nets], lr=self.config.lr) for name, nets in groups.items()}

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] -> action [S, E, N, A]: the squashed mean. Nothing samples."""
        return tanh_normal_mode(self.per_agent(self.policy, self.identified(obs))).transpose(1, 2), carry
