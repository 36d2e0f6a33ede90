"""OMAR in small, and plainly: one network and one Adam per agent, torch's own BatchNorm."""

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from cases import NormCritic, NormPolicy, move_target, step
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS, continuous_spec
from lit_modules.omar import OMARConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainOMAR:
    """The released code's order: agent after agent, its critic and then its policy; all targets at the end."""

    def __init__(self, config: OMARConfig, spec: WorldSpec):
        self.c, self.n, h, o, a = config, spec.n_agents, config.hidden, spec.obs_size, spec.action_size
        self.policy = [NormPolicy(o, *h, a) for _ in range(self.n)]
        self.critic = [NormCritic(o + a, *h, 1) for _ in range(self.n)]
        self.policy_target, self.critic_target = deepcopy(self.policy), deepcopy(self.critic)
        self.adams = [
            [torch.optim.Adam(net.parameters(), lr=config.lr) for net in nets] for nets in (self.critic, self.policy)
        ]

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs [N B, N, O], action [N B, N, A], rewards [N B, N], mask [N B]; noise as the module's."""
        c, losses = self.c, []
        for i in range(self.n):
            rows = slice(i * c.batch_size, (i + 1) * c.batch_size)
            d = {key: b[key][rows, i] for key in ("obs", "next_obs", "action", "rewards")} | {"mask": b["mask"][rows]}
            z = {key: value[i] for key, value in noise.items()}
            critic_loss = self.critic_loss(i, d, z)
            step(self.adams[0][i], critic_loss, c.max_grad_norm)
            policy_loss = self.policy_loss(i, d, z)
            step(self.adams[1][i], policy_loss, c.max_grad_norm)
            losses.append(torch.stack([critic_loss.detach(), policy_loss.detach()]))
        for i in range(self.n):
            move_target(self.critic_target[i], self.critic[i], c.tau)
            move_target(self.policy_target[i], self.policy[i], c.tau)
        return dict(zip(("loss/critic", "loss/policy"), torch.stack(losses).mean(0), strict=True))

    def many(self, i: int, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """actions [B, M, A] -> [B, M] each."""
        m = actions.shape[1]
        q1, q2 = self.critic[i](obs.repeat_interleave(m, 0), actions.flatten(0, 1))
        return q1.view(-1, m), q2.view(-1, m)

    def critic_loss(self, i: int, d: dict[str, Tensor], z: dict[str, Tensor]) -> Tensor:
        c, size = self.c, d["action"].shape[-1]
        with torch.no_grad():
            q = torch.minimum(*self.critic_target[i](d["next_obs"], self.policy_target[i](d["next_obs"])))
            y = d["rewards"] + c.gamma * d["mask"] * q
        sources, p = [z["uniform"]], [torch.full(z["uniform"].shape[:2], size * math.log(0.5), dtype=y.dtype)]
        if c.cql_policy_sources:
            with torch.no_grad():
                for obs, name in ((d["obs"], "current"), (d["next_obs"], "next")):
                    noise = c.cql_noise * z[name]
                    sources.append((self.policy[i](obs).unsqueeze(1) + noise).clamp(-1, 1))
                    normal = torch.distributions.Normal(y.new_zeros(()), y.new_tensor(c.cql_noise))
                    p.append(normal.log_prob(noise).sum(-1).exp())
        data = self.critic[i](d["obs"], d["action"])
        drawn = [self.many(i, d["obs"], a) for a in sources]
        loss = torch.zeros((), dtype=y.dtype)
        for k, q in enumerate(data):
            logits = torch.cat([qs[k] - own for qs, own in zip(drawn, p, strict=True)], 1) / c.cql_temperature
            cql = (c.cql_temperature * logits.logsumexp(1) - q).mean()
            loss = loss + F.mse_loss(q, y) + c.cql_alpha * cql
        return loss

    def policy_loss(self, i: int, d: dict[str, Tensor], z: dict[str, Tensor]) -> Tensor:
        c, pi = self.c, self.policy[i](d["obs"])
        q = self.critic[i](d["obs"], pi)[0]
        loss = c.action_penalty * pi.square().mean()
        if not c.omar:
            return loss - q.mean()
        best = self.best_action(i, d["obs"], pi.detach(), q.detach(), z["sampler"])
        return loss + c.omar_coe * F.mse_loss(pi, best) - (1 - c.omar_coe) * q.mean()

    @torch.no_grad()
    def best_action(self, i: int, obs: Tensor, pi: Tensor, q_pi: Tensor, noise: Tensor) -> Tensor:
        """noise [rounds, B, M, A] -> [B, A]."""
        c, rows = self.c, torch.arange(len(pi))
        mu, sigma = torch.zeros_like(pi).unsqueeze(1), torch.full_like(pi, c.sampler_sigma).unsqueeze(1)
        kept, kept_q = noise.new_zeros(len(pi), 0, pi.shape[-1]), noise.new_zeros(len(pi), 0)
        for z in noise:
            a = (mu + sigma * z).clamp(-1, 1)
            q = self.many(i, obs, a)[0]
            if c.sampler == "softmax":
                mu = (q.softmax(1).unsqueeze(-1) * a).sum(1, keepdim=True)
                sigma = (a - mu).square().mean(1, keepdim=True).sqrt()
            else:
                a, q = torch.cat([a, kept], 1), torch.cat([q, kept_q], 1)
                kept_q, at = q.topk(c.sampler_elites, 1)
                kept = a[rows.unsqueeze(1), at]
                mu, sigma = kept.mean(1, keepdim=True), kept.std(1, keepdim=True).clamp(min=1e-10)
        best, at = q.max(1)
        return torch.where((best > q_pi).unsqueeze(-1), a[rows, at], pi)


OMAR_SMALL = OMARConfig(
    name="omar",
    n_updates=30,
    batch_size=8,
    repeat_after=4,
    hidden=[8, 8],
    lr=1e-2,
    max_grad_norm=100.0,
    gamma=0.9,
    tau=0.05,
    action_penalty=1e-3,
    cql_alpha=1.0,
    cql_actions=3,
    cql_temperature=1.0,
    cql_policy_sources=False,
    cql_noise=0.2,
    policy_log_density=False,
    omar=True,
    omar_coe=0.7,
    sampler="softmax",
    sampler_rounds=2,
    sampler_actions=5,
    sampler_elites=None,
    sampler_sigma=2.0,
)
ELITES = {"cql_policy_sources": True, "sampler": "elites", "sampler_elites": 3, "repeat_after": None}
NETS = ("policy", "critic", "policy_target", "critic_target")
CASE = Case(
    config=OMAR_SMALL,
    spec=CONTINUOUS,
    plain=PlainOMAR,
    state=tuple(f"{net}.{key}" for net in NETS for key in ("theta", "running_mean", "running_var")),
    variants={"elites": ELITES, "td3_cql": {"omar": False, "omar_coe": 0.0}},
    parity={
        "as_configured": Parity(),
        "elites": Parity({**ELITES, "max_grad_norm": 0.5, "cql_temperature": 2.0}),
        "td3_cql": Parity({"omar": False, "max_grad_norm": 0.5, "cql_alpha": 5.0}),
    },
    benchmarks=(Benchmark("omar mpe", "omar/mpe/spread_expert", continuous_spec(3, 18, 2), target="0.30 compiled"),),
)
