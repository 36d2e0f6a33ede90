"""OMSD in small, and its update of the actors plainly."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from cases import mlp, step
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS, continuous_spec
from lit_modules.omsd import OMSD, OMSDConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainScore(nn.Module):
    """eps(x, t | c) as in SRPO's ScoreNet: x [B, A], t [B], c [B, C] -> [B, A]; nothing is dropped."""

    def __init__(self, size: int, condition: int, hidden: int, n_blocks: int, time: int, activation: str):
        super().__init__()
        self.bend = {"mish": nn.Mish, "relu": nn.ReLU}[activation]()
        self.register_buffer("frequencies", 30 * torch.randn(time // 4))
        self.time = nn.Sequential(nn.Linear(time // 2, time), self.bend, nn.Linear(time, time))
        self.first = nn.Linear(size + condition + time, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 4 * hidden), self.bend, nn.Linear(4 * hidden, hidden))
            for _ in range(n_blocks)
        )
        self.last = nn.Linear(hidden, size)

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        angles = 2 * math.pi * t.unsqueeze(-1) * self.frequencies
        h = self.first(torch.cat([x, c, self.time(torch.cat([angles.sin(), angles.cos()], -1))], -1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(self.bend(h))


class PlainOMSD:
    """One network and one Adam per agent; the target critics and the scores are given once and stay."""

    def __init__(self, config: OMSDConfig, spec: WorldSpec):
        self.c, self.n, h, a = config, spec.n_agents, config.hidden, spec.action_size
        self.order = config.order or list(range(self.n))
        joint = self.n * (spec.obs_size + a)
        self.q1_target, self.q2_target = mlp(joint, *h, 1), mlp(joint, *h, 1)
        self.prefix_size = (self.n - 1) * a
        shape = (config.score_hidden, config.score_blocks, config.score_time, config.score_activation)
        self.score = [PlainScore(a, spec.obs_size + self.prefix_size, *shape) for _ in range(self.n)]
        self.policy = [mlp(spec.obs_size, *h, a) for _ in range(self.n)]
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=config.lr) for net in self.policy]
        for net in (self.q1_target, self.q2_target, *self.score):
            net.requires_grad_(False)

    def update_actor(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs [B, N, O]; noise: t [N, B] in [0, 1), z [N, B, A] normal, lr_scale []. The agents are updated in
        `order`, each given the actions of the updated ones before it."""
        c, obs = self.c, b["obs"]
        with torch.no_grad():
            actions = [policy(obs[:, i]).tanh() for i, policy in enumerate(self.policy)]
        losses = []
        for k, i in enumerate(self.order):
            a = self.policy[i](obs[:, i]).tanh()  # (B, A)
            before = [actions[j] for j in self.order[:k]]
            e = self.weighted_noise(i, obs[:, i], a.detach(), before, noise["t"][i], noise["z"][i])
            own = a.detach().requires_grad_()
            sa = torch.cat([obs.flatten(1), *(own if j == i else actions[j] for j in range(self.n))], -1)
            (g,) = torch.autograd.grad(((self.q1_target(sa) + self.q2_target(sa)) / 2).sum(), own)
            loss = ((e - c.beta * g) * a).sum(-1).mean()
            self.optimizers[i].param_groups[0]["lr"] = c.lr * noise["lr_scale"].item()
            step(self.optimizers[i], loss)
            with torch.no_grad():
                actions[i] = self.policy[i](obs[:, i]).tanh()
            losses.append(loss.detach())
        return {"loss/policy": torch.stack(losses).mean()}

    @torch.no_grad()
    def weighted_noise(self, i: int, obs: Tensor, a: Tensor, before: list[Tensor], u: Tensor, z: Tensor) -> Tensor:
        """w(t) eps_i(alpha_t a_i + sigma_t z, t | o_i, a_<i), the prefix padded with zeros -> [B, A]."""
        t = self.c.t_low + (self.c.t_high - self.c.t_low) * u
        alpha = torch.exp(-(20.0 - 0.1) * t**2 / 4 - 0.1 * t / 2).unsqueeze(-1)
        sigma = (1 - alpha**2).sqrt()
        prefix = torch.cat([*before, obs.new_zeros(len(obs), self.prefix_size - len(before) * a.shape[-1])], -1)
        weight = {"vds": sigma**2, "stable": 1.0}[self.c.weighting]
        return weight * self.score[i](alpha * a + sigma * z, t, torch.cat([obs, prefix], -1))


def perturb_norms(module: OMSD) -> None:
    """Norms start as ones and zeros, which would hide where they are applied."""
    with torch.no_grad():
        theta = module.score.theta
        theta += 0.1 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(0)).double()


OMSD_SMALL = OMSDConfig(
    name="omsd",
    method="omsd",
    n_critic_updates=20,
    n_score_updates=10,
    n_updates=20,
    batch_size=16,
    hidden=[8],
    score_hidden=8,
    score_blocks=1,
    score_time=128,
    score_activation="mish",
    lr=1e-2,
    score_lr=1e-2,
    score_weight_decay=0.01,
    dropout=0.1,
    gamma=0.9,
    tau=0.05,
    expectile=0.7,
    team_reward="mean",
    beta=0.5,
    t_low=0.02,
    t_high=0.98,
    weighting="vds",
    subtract_noise=False,
    normalize_gradient=False,
    prefix="fresh",
    condition="obs",
    order=[],
    lr_end=0.0,
    score_lr_end=0.5,
    share_stage1=False,
    init_scale=1.0,
)
VARIANTS: dict[str, dict[str, Any]] = {
    "shared": {"share_stage1": True, "prefix": "stale", "order": [2, 0, 1], "subtract_noise": True},
    "state": {"condition": "state", "weighting": "score", "normalize_gradient": True, "team_reward": "first"},
    **{method: {"method": method} for method in ("ctde", "ind", "jal")},
    "low_noise": {"score_activation": "relu", "score_time": 64, "weighting": "stable", "t_high": 0.1, "dropout": 0.0},
}
LONGER = {"n_updates": 60, "score_blocks": 2}  # than what is compared, so that rates stay above zero
CASE = Case(
    config=OMSD_SMALL,
    spec=CONTINUOUS,
    plain=PlainOMSD,
    state=(
        *(f"{net}.theta" for net in ("q1", "q2", "v", "q1_target", "q2_target", "score")),
        "score.frequencies",
        "policy.theta",
    ),
    variants=VARIANTS,
    parity={
        "as_configured": Parity(LONGER, perturb_norms),
        "another_order": Parity({**LONGER, "order": [2, 0, 1]}, perturb_norms),
        "as_the_rows": Parity({**LONGER, **VARIANTS["low_noise"]}, perturb_norms),
    },
    benchmarks=(
        Benchmark(
            "omsd mpe",
            "omsd/mpe/cn_random",
            continuous_spec(3, 18, 2),
            changes={"score_hidden": 128},
        ),
    ),
)
