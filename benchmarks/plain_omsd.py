"""OMSD's update of the actors for one seed written plainly with torch.nn and torch.optim: the yardstick of speed and
correctness."""

import math

import torch
import torch.nn.functional as F
from plain_omiga import mlp
from torch import Tensor, nn


class PlainScore(nn.Module):
    """eps(x, t | c) as in SRPO's ScoreNet: x [B, A], t [B], c [B, C] -> [B, A]; nothing is dropped."""

    def __init__(self, size: int, condition: int, hidden: int, n_blocks: int):
        super().__init__()
        self.register_buffer("frequencies", 30 * torch.randn(32))
        self.time = nn.Sequential(nn.Linear(64, 128), nn.Mish(), nn.Linear(128, 128))
        self.first = nn.Linear(size + condition + 128, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 4 * hidden), nn.Mish(), nn.Linear(4 * hidden, hidden))
            for _ in range(n_blocks)
        )
        self.last = nn.Linear(hidden, size)

    def forward(self, x, t, c):
        angles = 2 * math.pi * t.unsqueeze(-1) * self.frequencies
        h = self.first(torch.cat([x, c, self.time(torch.cat([angles.sin(), angles.cos()], -1))], -1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(F.mish(h))


class PlainOMSD:
    """One network and one Adam per agent; the target critics and the scores are given once and stay."""

    def __init__(self, config, n_agents: int, obs_size: int, action_size: int):
        self.c, self.n, h = config, n_agents, config.hidden
        self.order = config.order or list(range(n_agents))
        joint = n_agents * (obs_size + action_size)
        self.q1, self.q2 = mlp(joint, *h, 1), mlp(joint, *h, 1)
        self.prefix_size = (n_agents - 1) * action_size
        self.scores = [
            PlainScore(action_size, obs_size + self.prefix_size, config.score_hidden, config.score_blocks)
            for _ in range(n_agents)
        ]
        self.policies = [mlp(obs_size, *h, action_size) for _ in range(n_agents)]
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=config.lr) for net in self.policies]
        for net in (self.q1, self.q2, *self.scores):
            net.requires_grad_(False)

    def update(self, b: dict[str, Tensor], times: Tensor, z: Tensor, scale: float = 1.0) -> float:
        """b: obs [B, N, O]; times [N, B] in [0, 1), z [N, B, A] normal; `scale` of the rate. The agents' mean loss;
        they are updated in `order`, each given the actions of the updated ones before it."""
        c, obs = self.c, b["obs"]
        with torch.no_grad():
            actions = [policy(obs[:, i]).tanh() for i, policy in enumerate(self.policies)]
        losses = []
        for k, i in enumerate(self.order):
            a = self.policies[i](obs[:, i]).tanh()  # (B, A)
            e = self.weighted_noise(i, obs[:, i], a.detach(), [actions[j] for j in self.order[:k]], times[i], z[i])
            own = a.detach().requires_grad_()
            sa = torch.cat([obs.flatten(1), *(own if j == i else actions[j] for j in range(self.n))], -1)
            (g,) = torch.autograd.grad(((self.q1(sa) + self.q2(sa)) / 2).sum(), own)
            loss = ((e - c.beta * g) * a).sum(-1).mean()
            self.optimizers[i].param_groups[0]["lr"] = c.lr * scale
            self.optimizers[i].zero_grad()
            loss.backward()
            self.optimizers[i].step()
            with torch.no_grad():
                actions[i] = self.policies[i](obs[:, i]).tanh()
            losses.append(loss.item())
        return sum(losses) / self.n

    @torch.no_grad()
    def weighted_noise(self, i: int, obs: Tensor, a: Tensor, before: list[Tensor], u: Tensor, z: Tensor) -> Tensor:
        """sigma_t^2 eps_i(alpha_t a_i + sigma_t z, t | o_i, a_<i), the prefix padded with zeros -> [B, A]."""
        t = self.c.t_low + (self.c.t_high - self.c.t_low) * u
        alpha = torch.exp(-(20.0 - 0.1) * t**2 / 4 - 0.1 * t / 2).unsqueeze(-1)
        sigma = (1 - alpha**2).sqrt()
        prefix = torch.cat([*before, obs.new_zeros(len(obs), self.prefix_size - len(before) * a.shape[-1])], -1)
        return sigma**2 * self.scores[i](alpha * a + sigma * z, t, torch.cat([obs, prefix], -1))
