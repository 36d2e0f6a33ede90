"""InSPO with shared recurrent networks in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor

from cases import MARINES, move_target, step
from cases.cfcql_discrete import PlainAgent, agent_inputs, rows
from data.common.spec import WorldSpec
from data.synthetic import DISCRETE
from lit_modules.inspo_recurrent import InSPORecurrent, InSPORecurrentConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainInSPORecurrent:
    """The sequential method with the soft value; drawn steps are picked out of their episodes one by one."""

    def __init__(self, config: InSPORecurrentConfig, spec: WorldSpec):
        self.c, self.n, self.a = config, spec.n_agents, spec.n_actions
        size = spec.obs_size + spec.n_actions + spec.n_agents
        self.behavior, self.agent, self.q = (PlainAgent(size, config.gru_hidden, spec.n_actions) for _ in range(3))
        self.q_target = deepcopy(self.q)
        self.behavior_adam, self.q_adam, self.policy_adam = (
            torch.optim.Adam(net.parameters(), lr=lr)
            for net, lr in ((self.behavior, config.lr), (self.q, config.lr), (self.agent, config.policy_lr))
        )

    def log_probs(self, net: PlainAgent, b: dict[str, Tensor], i: int) -> Tensor:
        """Agent i's, [B, T + 1, A]."""
        legal = rows(b, "legal_actions")[:, :, i]
        return net(agent_inputs(b, self.a)[:, i]).masked_fill(~legal, -1e8).log_softmax(-1)

    def update_behavior(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        log_mu = [at(self.log_probs(self.behavior, b, i)[:, :-1], b["action"][:, :, i]) for i in range(self.n)]
        loss = -torch.stack(log_mu)[:, b["mask"] > 0].mean()
        step(self.behavior_adam, loss, self.c.max_grad_norm)
        self.agent.load_state_dict(self.behavior.state_dict())
        return {"loss/behavior": loss.detach()}

    @torch.no_grad()
    def log_ratios(self, b: dict[str, Tensor]) -> list[Tensor]:
        """Of each agent, at the steps that exist."""
        steps, found = b["mask"] > 0, []
        for j in range(self.n):
            difference = self.log_probs(self.agent, b, j) - self.log_probs(self.behavior, b, j)
            found.append(at(difference[:, :-1], b["action"][:, :, j])[steps])
        return found

    def update_round(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        c, beta, steps, losses = self.c, noise["beta"], b["mask"] > 0, []
        for adam, lr in ((self.q_adam, c.lr), (self.policy_adam, c.policy_lr)):
            adam.param_groups[0]["lr"] = lr * noise["lr_scale"].item()
        ratios = self.log_ratios(b)
        for turn, i in enumerate(noise["order"].tolist()):
            if c.sequential:
                ratios = self.log_ratios(b)
            rho = torch.stack([ratio for j, ratio in enumerate(ratios) if j != i]).sum(0).clamp(-20, 5).exp()
            if c.importance == "resample":
                cdf = (rho / rho.sum()).cumsum(0)
                pick = torch.searchsorted(cdf, noise["resample"][turn] * cdf[-1], right=True).clamp(max=len(cdf) - 1)
                weight = torch.ones(len(pick), dtype=rho.dtype) / len(pick)
            else:
                pick = torch.arange(len(rho))
                weight = rho / rho.sum() if c.importance == "reweight" else torch.ones_like(rho) / len(rho)
            action = b["action"][:, :, i][steps][pick]
            for _ in range(c.steps_per_turn):
                q, log_pi = self.q(agent_inputs(b, self.a)[:, i]), self.log_probs(self.agent, b, i)
                with torch.no_grad():
                    log_mu = self.log_probs(self.behavior, b, i)
                    v = self.value(self.q_target(agent_inputs(b, self.a)[:, i]), log_pi, log_mu, beta)[:, 1:]
                    y = (b["reward"] + c.gamma * (1 - b["terminated"][..., 0].to(v.dtype)) * v)[steps][pick]
                    own = at(q[:, :-1][steps][pick], action)
                    advantage = own - self.value(q, log_pi, log_mu, beta)[:, :-1][steps][pick]
                    rare = beta * at(log_mu[:, :-1][steps][pick], action)
                    e = ((advantage - rare) / (c.alpha + beta)).clamp(-10, 5).exp()
                q_loss = (weight * (y - at(q[:, :-1][steps][pick], action)).square()).sum()
                policy_loss = -(weight * e * at(log_pi[:, :-1][steps][pick], action)).sum()
                step(self.q_adam, q_loss, c.max_grad_norm)
                step(self.policy_adam, policy_loss, c.max_grad_norm)
            losses.append(torch.stack([q_loss.detach(), policy_loss.detach()]))
        move_target(self.q_target, self.q, c.tau)
        return dict(zip(("loss/q", "loss/policy"), torch.stack(losses).mean(0), strict=True))

    def value(self, q: Tensor, log_pi: Tensor, log_mu: Tensor, beta: Tensor) -> Tensor:
        return (log_pi.exp() * (q - self.c.alpha * (log_pi - log_mu) - beta * log_pi)).sum(-1)


def at(values: Tensor, action: Tensor) -> Tensor:
    return values.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def reach_the_clips(module: InSPORecurrent) -> None:
    """Policies that differ from the clone, and values from each other, by more than the clips let through."""
    with torch.no_grad():
        module.agent.theta *= 6
        module.q.theta *= 6
        module.q_target.theta *= 3


INSPO_RECURRENT_SMALL = InSPORecurrentConfig(
    name="inspo_recurrent",
    n_behavior_updates=20,
    n_updates=30,
    batch_size=6,
    n_resampled=24,
    steps_per_turn=2,
    gru_hidden=8,
    lr=1e-2,
    policy_lr=1e-2,
    lr_end=0.5,
    max_grad_norm=10.0,
    gamma=0.9,
    tau=0.05,
    alpha=0.1,
    beta_start=0.2,
    beta_end=0.0,
    anneal_fraction=0.6,
    entropy=True,
    soft_value=True,
    importance="resample",
    sequential=True,
)
SLOW = {"lr": 1e-3, "policy_lr": 1e-3, "n_behavior_updates": 8, "n_updates": 8}  # plainly each takes its time
CASE = Case(
    config=INSPO_RECURRENT_SMALL,
    spec=DISCRETE,
    plain=PlainInSPORecurrent,
    state=tuple(f"{net}.theta" for net in ("behavior", "agent", "q", "q_target")),
    variants={
        "independent": {"sequential": False, "importance": "none", "steps_per_turn": 1},
        "reweight": {"importance": "reweight", "soft_value": False},
    },
    parity={
        "as_configured": Parity(SLOW),
        "clipped": Parity({**SLOW, "n_behavior_updates": 0, "max_grad_norm": 0.05}, reach_the_clips),
        "reweight": Parity({**SLOW, "importance": "reweight"}),
        "independent": Parity({**SLOW, "importance": "none", "sequential": False}),
    },
    benchmarks=(
        Benchmark(
            "inspo_recurrent 3m",
            "inspo/xor/ab_ba",
            MARINES,
            ("algo=inspo_recurrent",),
            {"batch_size": 32, "gru_hidden": 64, "steps_per_turn": 1},
        ),
    ),
)
