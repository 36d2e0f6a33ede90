"""CFCQL in small, and plainly: one network and one Adam per policy, torch's own BatchNorm."""

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import NormCritic, NormPolicy, move_target, step
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS, continuous_spec
from lit_modules.cfcql import CFCQLConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainCFCQL:
    """A round: critic updates on minibatches of their own, the policies after the first, targets at the end."""

    def __init__(self, config: CFCQLConfig, spec: WorldSpec):
        self.c, self.n, h, o, a = config, spec.n_agents, config.hidden, spec.obs_size, spec.action_size
        seen = self.n * o if config.state == "obs" else spec.state_size
        self.critic = NormCritic(seen + self.n * a, *h, 1)
        self.policy = [NormPolicy(o, *h, a) for _ in range(self.n)]
        self.critic_target, self.policy_target = deepcopy(self.critic), deepcopy(self.policy)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), lr=config.lr)
        self.adams = [torch.optim.Adam(net.parameters(), lr=config.lr) for net in self.policy]

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs, action, next_action [U B, N, ..], state, next_state [U B, N, St]; noise as the module's."""
        c, losses, policy_loss = self.c, [], torch.zeros(())
        for u in range(c.critic_updates):
            d = {key: x[u * c.batch_size : (u + 1) * c.batch_size] for key, x in b.items()}
            for when in ("", "next_"):
                own = d[f"{when}obs"].flatten(1) if c.state == "obs" else d[f"{when}state"][:, 0]
                d[f"{when}state"] = own
            loss = self.critic_loss(d, {key: x[u] for key, x in noise.items()})
            step(self.critic_adam, loss, c.max_grad_norm)
            losses.append(loss.detach())
            if u == 0:
                policy_loss = self.policy_loss(d)
                for adam in self.adams:
                    adam.zero_grad()
                policy_loss.backward()
                for net, adam in zip(self.policy, self.adams, strict=True):
                    nn.utils.clip_grad_norm_(net.parameters(), c.max_grad_norm)
                    adam.step()
        move_target(self.critic_target, self.critic, c.tau)
        for slow, fast in zip(self.policy_target, self.policy, strict=True):
            move_target(slow, fast, c.tau)
        return {"loss/critic": torch.stack(losses).mean(), "loss/policy": policy_loss.detach()}

    def replaced(self, a: Tensor, beside: Tensor) -> Tensor:
        """a [N, B, M, A], beside [B, N, A] -> all agents' actions, agent i's alone replaced, [N, B, M, N A]."""
        teams = []
        for i in range(self.n):
            team = beside.unsqueeze(1).repeat(1, a.shape[2], 1, 1)  # (B, M, N, A)
            team[:, :, i] = a[i]
            teams.append(team.flatten(2))
        return torch.stack(teams)

    def many(self, state: Tensor, actions: Tensor) -> Tensor:
        """actions [.., B, M, N A] -> [2, .., B, M], all of them one batch of the norm."""
        *lead, _, _, size = actions.shape
        states = state.unsqueeze(1).expand(*lead, -1, actions.shape[-2], -1)
        return self.critic(states.flatten(0, -2), actions.reshape(-1, size)).view(2, *actions.shape[:-1])

    def critic_loss(self, d: dict[str, Tensor], z: dict[str, Tensor]) -> Tensor:
        c, a_size, t = self.c, d["action"].shape[-1], self.c.cql_temperature
        with torch.no_grad():
            next_a = [net(d["next_obs"][:, i]) for i, net in enumerate(self.policy_target)]
            next_a = torch.cat(
                [(a + c.target_noise * own).clamp(-1, 1) for a, own in zip(next_a, z["target"], strict=True)], -1
            )
            y = d["rewards"][:, 0] + c.gamma * d["mask"] * self.critic_target(d["next_state"], next_a).min(0)[0]
        q = self.critic(d["state"], d["action"].flatten(1))
        sources, beside = [z["uniform"]], [d["action"]]
        p = [torch.full(z["uniform"].shape[:-1], a_size * math.log(0.5), dtype=y.dtype)]
        if c.cql_policy_sources:
            with torch.no_grad():
                for name, obs, others in (
                    ("current", d["obs"], d["action"]),
                    ("next", d["next_obs"], d["next_action"]),
                ):
                    pi = torch.stack([net(obs[:, i]) for i, net in enumerate(self.policy)])
                    noise = c.cql_noise * z[name]
                    sources.append((pi.unsqueeze(2) + noise).clamp(-1, 1))
                    beside.append(others)
                    p.append(
                        torch.distributions.Normal(y.new_zeros(()), y.new_tensor(c.cql_noise)).log_prob(noise).sum(-1)
                    )
        if c.counterfactual_critic:
            if c.cql_policy_sources:
                names = ("uniform", "current", "next")
                beside = [
                    (x + c.data_noise * z[f"data_{name}"].transpose(0, 1)).clamp(-1, 1)
                    for x, name in zip(beside, names, strict=True)
                ]
                p = [p[0], p[2], p[1]] if c.swapped_densities else p
            values = [self.many(d["state"], self.replaced(a, x)) for a, x in zip(sources, beside, strict=True)]
            logits = torch.cat([v - own for v, own in zip(values, p, strict=True)], -1)  # (2, N, B, M)
            cql = (t * (logits / t).logsumexp(-1)).mean(1)
        else:
            values = [self.many(d["state"], torch.cat(list(a), -1)) for a in sources]
            logits = torch.cat([v - own.sum(0) for v, own in zip(values, p, strict=True)], -1)  # (2, B, M)
            cql = t * (logits / t).logsumexp(-1)
        return F.mse_loss(q[0], y) + F.mse_loss(q[1], y) + c.cql_alpha * (cql - q).mean(1).sum()

    def policy_loss(self, d: dict[str, Tensor]) -> Tensor:
        pi = torch.stack([net(d["obs"][:, i]) for i, net in enumerate(self.policy)])  # (N, B, A)
        if self.c.counterfactual_policy:
            q = self.many(d["state"], self.replaced(pi.unsqueeze(2), d["action"]))[0].mean()
        else:
            q = self.critic(d["state"], torch.cat(list(pi), -1))[0].mean()
        return self.c.action_penalty * pi.square().mean((1, 2)).sum() - q


CFCQL_SMALL = CFCQLConfig(
    name="cfcql",
    n_updates=30,
    critic_updates=2,
    batch_size=8,
    repeat_after=4,
    hidden=[8, 8],
    lr=1e-2,
    max_grad_norm=100.0,
    gamma=0.9,
    tau=0.05,
    state="obs",
    target_noise=0.05,
    action_penalty=1e-3,
    cql_alpha=1.0,
    cql_actions=3,
    cql_temperature=1.0,
    cql_policy_sources=False,
    cql_noise=0.2,
    data_noise=1e-5,
    counterfactual_critic=True,
    counterfactual_policy=True,
    swapped_densities=True,
)
SOURCES = {"cql_policy_sources": True, "state": "stored", "repeat_after": None}
MACQL = {"counterfactual_critic": False, "counterfactual_policy": False}
NETS = ("policy", "critic", "policy_target", "critic_target")
CASE = Case(
    config=CFCQL_SMALL,
    spec=CONTINUOUS,
    plain=PlainCFCQL,
    state=tuple(f"{net}.{key}" for net in NETS for key in ("theta", "running_mean", "running_var")),
    variants={"sources": SOURCES, "macql": {**SOURCES, **MACQL}},
    parity={
        "as_configured": Parity(),
        "sources": Parity({**SOURCES, "max_grad_norm": 0.5, "cql_temperature": 2.0, "data_noise": 0.1}),
        "unswapped": Parity({**SOURCES, "swapped_densities": False}),
        "macql": Parity({**MACQL, "max_grad_norm": 0.5, "cql_policy_sources": True}),
    },
    benchmarks=(Benchmark("cfcql mpe", "cfcql/mpe/spread_expert", continuous_spec(3, 18, 2)),),
)
