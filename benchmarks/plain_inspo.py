"""InSPO as one would write it first: one seed, one nn.Module and one Adam per agent and quantity, nothing stacked.

The same update as lit_modules/inspo.py (a test holds the two together in float64); here as the yardstick of speed.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lit_modules.inspo import InSPOConfig


def mlp(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, out in pairwise(sizes):
        layers += [nn.Linear(fan_in, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class PlainInSPO:
    """`round(candidates, order, uniform, beta)` is one update. candidates: dict of [M, N, ..] scaled tensors."""

    def __init__(self, config: InSPOConfig, n_agents: int, obs_size: int, n_actions: int):
        self.config, self.n = config, n_agents
        sizes = [obs_size, *config.hidden, n_actions]
        self.mu, self.pi, self.q, self.target = ([mlp(sizes) for _ in range(n_agents)] for _ in range(4))
        self.q_adam = [torch.optim.Adam(q.parameters(), lr=config.lr) for q in self.q]
        self.pi_adam = [torch.optim.Adam(pi.parameters(), lr=config.policy_lr) for pi in self.pi]

    def log_probs(self, net: nn.Module, obs: Tensor, legal: Tensor) -> Tensor:
        return net(obs).masked_fill(~legal, -1e8).log_softmax(-1)

    def round(
        self, candidates: dict[str, Tensor], order: list[int], uniform: Tensor, beta: float, lr_scale: float = 1.0
    ) -> None:
        c = self.config
        for adam, lr in [(a, c.lr) for a in self.q_adam] + [(a, c.policy_lr) for a in self.pi_adam]:
            adam.param_groups[0]["lr"] = lr * lr_scale
        for turn, i in enumerate(order):
            with torch.no_grad():
                log_rho = 0.0
                for j in range(self.n):
                    if j != i:
                        obs, legal = candidates["obs"][:, j], candidates["legal"][:, j]
                        ratio = self.log_probs(self.pi[j], obs, legal) - self.log_probs(self.mu[j], obs, legal)
                        log_rho = log_rho + ratio.gather(-1, candidates["action"][:, j, None])[:, 0]
                cdf = log_rho.clamp(-20, 5).softmax(0).cumsum(0)  # type: ignore[union-attr]
                pick = torch.searchsorted(cdf, uniform[turn] * cdf[-1], right=True).clamp(max=len(cdf) - 1)
            obs, legal, action = (candidates[k][pick, i] for k in ("obs", "legal", "action"))
            next_obs, next_legal = candidates["next_obs"][pick, i], candidates["next_legal"][pick, i]
            reward, terminated = candidates["reward"][pick], candidates["terminated"][pick]
            with torch.no_grad():
                log_mu = self.log_probs(self.mu[i], obs, legal)
                next_log_mu = self.log_probs(self.mu[i], next_obs, next_legal)
            for _ in range(c.steps_per_turn):
                q, log_pi = self.q[i](obs), self.log_probs(self.pi[i], obs, legal)
                q_a, log_pi_a = (x.gather(-1, action[:, None])[:, 0] for x in (q, log_pi))
                with torch.no_grad():
                    next_log_pi = self.log_probs(self.pi[i], next_obs, next_legal)
                    next_v = self.value(self.target[i](next_obs), next_log_pi, next_log_mu, beta)
                    y = reward + c.gamma * (1 - terminated) * next_v
                    log_mu_a = log_mu.gather(-1, action[:, None])[:, 0]
                    advantage = q_a - self.value(q, log_pi, log_mu, beta) - beta * log_mu_a
                    weight = (advantage / (c.alpha + beta)).clamp(-10, 5).exp()
                for loss, net, adam in (
                    ((y - q_a).square().mean(), self.q[i], self.q_adam[i]),
                    (-(weight * log_pi_a).mean(), self.pi[i], self.pi_adam[i]),
                ):
                    adam.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(net.parameters(), c.max_grad_norm)
                    adam.step()
        with torch.no_grad():
            for target, q in zip(self.target, self.q, strict=True):
                for slow, fast in zip(target.parameters(), q.parameters(), strict=True):
                    slow.lerp_(fast, c.tau)

    def value(self, q: Tensor, log_pi: Tensor, log_mu: Tensor, beta: float) -> Tensor:
        return (log_pi.exp() * (q - self.config.alpha * (log_pi - log_mu) - beta * log_pi)).sum(-1)
