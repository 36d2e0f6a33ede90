"""CFCQL and MACQL for discrete actions in small, and plainly."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import MARINES, mlp, step
from data.common.spec import WorldSpec
from data.synthetic import DISCRETE
from lit_modules.cfcql_discrete import CFCQLDiscreteConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainAgent(nn.Module):
    """Linear, ReLU, GRU cell, Linear, step by step: seen [R, T, in] -> [R, T, out]."""

    def __init__(self, size: int, hidden: int, out: int):
        super().__init__()
        self.first, self.of_input = nn.Linear(size, hidden), nn.Linear(hidden, 3 * hidden)
        self.of_hidden, self.last = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, out)

    def forward(self, seen: Tensor) -> Tensor:
        h, out = seen.new_zeros(len(seen), self.last.in_features), []
        for x in seen.unbind(1):
            x_r, x_z, x_n = self.of_input(self.first(x).relu()).chunk(3, -1)
            h_r, h_z, h_n = self.of_hidden(h).chunk(3, -1)
            z, n = (x_z + h_z).sigmoid(), (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
            h = (1 - z) * n + z * h
            out.append(self.last(h))
        return torch.stack(out, 1)


class PlainQMixer(nn.Module):
    def __init__(self, state: int, n: int, embed: int, width: int):
        super().__init__()
        self.n, self.w1, self.b1 = n, mlp(state, width, n * embed), mlp(state, embed)
        self.w2, self.b2 = mlp(state, width, embed), mlp(state, embed, 1)

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """q [B, T, N], state [B, T, St] -> [B, T]."""
        w1 = self.w1(state).abs().unflatten(-1, (self.n, -1))
        hidden = F.elu((q.unsqueeze(-2) @ w1).squeeze(-2) + self.b1(state))
        return (hidden * self.w2(state).abs()).sum(-1) + self.b2(state).squeeze(-1)


def rows(b: dict[str, Tensor], key: str) -> Tensor:
    """The T + 1 rows of episodes, [B, T + 1, ..], zeros beyond their ends."""
    found = torch.zeros(len(b["mask"]), b["mask"].shape[1] + 1, *b[key].shape[2:], dtype=b[key].dtype)
    for k, length in enumerate(b["mask"].sum(1).int().tolist()):
        found[k, :length], found[k, length] = b[key][k, :length], b[f"next_{key}"][k, length - 1]
    return found


def agent_inputs(b: dict[str, Tensor], n_actions: int) -> Tensor:
    """[obs, last action, one-hot of the agent] as [B, N, T + 1, O + A + N]."""
    obs, n = rows(b, "obs"), b["obs"].shape[2]
    last = torch.zeros(*obs.shape[:3], n_actions, dtype=obs.dtype)
    last[:, 1:] = F.one_hot(b["action"], n_actions) * b["mask"][..., None, None]
    ids = torch.eye(n, dtype=obs.dtype).expand(*obs.shape[:2], n, n)
    return torch.cat([obs, last, ids], -1).transpose(1, 2)


def plain_td_lambda(value: Tensor, b: dict[str, Tensor], gamma: float, trace: float) -> Tensor:
    """value [B, T + 1] -> [B, T], by its recursion."""
    mask, ended = b["mask"], b["terminated"][..., 0] * b["mask"]
    targets = torch.zeros_like(value)
    targets[:, -1] = value[:, -1] * (1 - ended.sum(1))
    for t in reversed(range(mask.shape[1])):
        now = b["reward"][:, t] + (1 - trace) * gamma * value[:, t + 1] * (1 - ended[:, t])
        targets[:, t] = trace * gamma * targets[:, t + 1] + mask[:, t] * now
    return targets[:, :-1]


class PlainCFCQL:
    """Two Adams; Q_tot is mixed anew for each agent and action."""

    def __init__(self, config: CFCQLDiscreteConfig, spec: WorldSpec):
        self.c, self.n, self.a = config, spec.n_agents, spec.n_actions
        size = spec.obs_size + spec.n_actions + spec.n_agents
        self.agent, self.behavior = (PlainAgent(size, config.gru_hidden, spec.n_actions) for _ in range(2))
        self.mixer = PlainQMixer(spec.state_size, self.n, config.mixer_embed, config.hypernet_hidden)
        self.agent_target, self.mixer_target = deepcopy(self.agent), deepcopy(self.mixer)
        self.behavior_adam = torch.optim.Adam(self.behavior.parameters(), lr=config.lr)
        self.adam = torch.optim.Adam([*self.agent.parameters(), *self.mixer.parameters()], lr=config.lr)

    def per_agent(self, net: nn.Module, b: dict[str, Tensor]) -> Tensor:
        """[B, T + 1, N, A]."""
        seen = agent_inputs(b, self.a)
        return net(seen.flatten(0, 1)).view(*seen.shape[:3], -1).transpose(1, 2)

    def log_beta(self, b: dict[str, Tensor]) -> Tensor:
        legal = rows(b, "legal_actions")
        return self.per_agent(self.behavior, b).masked_fill(~legal, -1e8).log_softmax(-1)[:, :-1]

    def update_behavior(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        log_beta = self.log_beta(b).gather(-1, b["action"].unsqueeze(-1)).squeeze(-1).mean(-1)
        loss = -(log_beta * b["mask"]).sum() / b["mask"].sum()
        step(self.behavior_adam, loss, self.c.max_grad_norm)
        return {"loss/behavior": loss.detach()}

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        c, mask, legal, state = self.c, b["mask"], rows(b, "legal_actions"), rows(b, "state")
        action = b["action"] * mask.unsqueeze(-1).long()
        q = self.per_agent(self.agent, b)
        with torch.no_grad():
            best = q.masked_fill(~legal, -1e10).argmax(-1, keepdim=True)
            slow = self.per_agent(self.agent_target, b).gather(-1, best).squeeze(-1)
            y = plain_td_lambda(self.mixer_target(slow, state), b, c.gamma, c.td_lambda)
        q, legal, state = q[:, :-1], legal[:, :-1], state[:, :-1]
        own = q.gather(-1, action.unsqueeze(-1)).squeeze(-1)  # (B, T, N)
        q_tot = self.mixer(own, state)
        td = (0.5 * (q_tot - y).square() * mask).sum() / mask.sum()
        if c.conservative == "joint":
            pushed = self.joint(q, legal, state, noise["joint"].long())
        else:
            mixed = torch.zeros_like(q)
            for i in range(self.n):
                for a in range(self.a):
                    other = own.clone()
                    other[..., i] = q[..., i, a]
                    mixed[..., i, a] = self.mixer(other, state)
            mixed = mixed.masked_fill(~legal, -1e10)
            pushed = (self.weights(b, mixed.detach(), legal) * mixed.logsumexp(-1)).sum(-1)
        cql = ((pushed - q_tot) * mask).sum() / mask.sum()
        step(self.adam, td + c.alpha * cql, c.max_grad_norm)
        if noise["copy"]:
            self.agent_target.load_state_dict(self.agent.state_dict())
            self.mixer_target.load_state_dict(self.mixer.state_dict())
        return {"loss/q": td.detach(), "loss/conservative": cql.detach()}

    @torch.no_grad()
    def weights(self, b: dict[str, Tensor], mixed: Tensor, legal: Tensor) -> Tensor:
        p, beta = mixed.softmax(-1) + 1e-5, self.log_beta(b).exp() + 1e-5
        divergence = (p * (p / beta).log() * legal).sum(-1)
        if self.c.temperature == 100:
            return F.one_hot(divergence.argmax(-1), self.n).to(mixed.dtype)
        return (self.c.temperature * divergence).softmax(-1)

    def joint(self, q: Tensor, legal: Tensor, state: Tensor, actions: Tensor) -> Tensor:
        """actions [M, B, T, N]."""
        totals = []
        for drawn in actions.unsqueeze(-1):
            total = self.mixer(q.gather(-1, drawn).squeeze(-1), state)
            totals.append(total * legal.gather(-1, drawn).squeeze(-1).all(-1))
        return torch.stack(totals).logsumexp(0)


CFCQL_DISCRETE_SMALL = CFCQLDiscreteConfig(
    name="cfcql_discrete",
    n_behavior_updates=20,
    n_updates=30,
    batch_size=6,
    gru_hidden=8,
    mixer_embed=4,
    hypernet_hidden=6,
    lr=1e-2,
    max_grad_norm=10.0,
    gamma=0.9,
    td_lambda=0.6,
    alpha=0.5,
    temperature=0.5,
    target_update_interval=48,
    episodes_per_update=8,
    conservative="counterfactual",
    n_joint=5,
)
MIXER = ("w1", "b1", "w2", "b2")
CASE = Case(
    config=CFCQL_DISCRETE_SMALL,
    spec=DISCRETE,
    plain=PlainCFCQL,
    state=(
        *(f"{net}.theta" for net in ("agent", "behavior", "agent_target")),
        *(f"{net}.{part}.theta" for net in ("mixer", "mixer_target") for part in MIXER),
    ),
    variants={"argmax": {"temperature": 100.0}, "macql": {"conservative": "joint"}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "clipped_argmax": Parity({"lr": 1e-3, "temperature": 100.0, "max_grad_norm": 0.05}),
        "macql": Parity({"lr": 1e-3, "conservative": "joint"}),
    },
    benchmarks=(
        Benchmark(
            "cfcql_discrete 3m",
            "inspo/xor/ab_ba",
            MARINES,
            ("algo=cfcql_discrete",),
            {"batch_size": 32, "gru_hidden": 64},
        ),
    ),
)
