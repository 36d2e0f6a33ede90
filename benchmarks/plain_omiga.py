"""OMIGA's update for one seed written plainly with torch.nn and torch.optim: the yardstick of speed and correctness."""

from copy import deepcopy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, out in pairwise(sizes):
        layers += [nn.Linear(fan_in, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def squashed_log_prob(out: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """out [.., 2 A], action [.., A] -> log-density of tanh(normal), [..]."""
    mean, log_std = out.chunk(2, -1)
    normal = torch.distributions.Normal(mean.clamp(-9, 9), log_std.clamp(-5, 2).exp())
    u = action.clamp(-1 + 1e-7, 1 - 1e-7).atanh()
    squash = 2 * (torch.log(torch.tensor(2.0, dtype=u.dtype)) - u - F.softplus(-2 * u))
    return (normal.log_prob(u) - squash).sum(-1)


class PlainOMIGA:
    """One seed, shared networks, three Adams: what a careful researcher would write first. batch: agents' views."""

    def __init__(self, config, n_agents: int, obs_size: int, action_size: int):
        self.c, self.n = config, n_agents
        h, seen = config.hidden, obs_size + n_agents
        self.v, self.q = mlp(seen, *h, 1), mlp(seen + action_size, *h, 1)
        self.policy = mlp(seen, *h, 2 * action_size)
        self.mixer = mlp(n_agents * obs_size, *config.mixer_hidden, n_agents + 1)
        self.v_target, self.q_target, self.mixer_target = (deepcopy(net) for net in (self.v, self.q, self.mixer))
        self.groups = [
            list(self.policy.parameters()),
            [*self.q.parameters(), *self.mixer.parameters()],
            list(self.v.parameters()),
        ]
        self.optimizers = [torch.optim.Adam(group, lr=config.lr) for group in self.groups]

    def mix(self, mixer, state):
        out = mixer(state.flatten(1))  # (B, N + 1)
        return out[:, :-1].abs(), out[:, -1:]

    def update(self, b: dict[str, torch.Tensor]) -> tuple[float, float, float]:
        """b: obs, next_obs, state, next_state [B, N, O], action [B, N, A], reward and mask [B, 1]."""
        c = self.c
        ids = torch.eye(self.n, dtype=b["obs"].dtype).expand(len(b["obs"]), -1, -1)
        obs, next_obs = torch.cat([b["obs"], ids], -1), torch.cat([b["next_obs"], ids], -1)
        obs_action = torch.cat([b["obs"], b["action"], ids], -1)
        with torch.no_grad():
            w, bias = self.mix(self.mixer_target, b["next_state"])
            v_tot = (w * self.v_target(next_obs).squeeze(-1)).sum(1, keepdim=True) + bias
            y = b["reward"] + c.gamma * b["mask"] * v_tot
            w_slow, _ = self.mix(self.mixer_target, b["state"])
            q_slow = self.q_target(obs_action).squeeze(-1)
        w, bias = self.mix(self.mixer, b["state"])
        q_tot = (w * self.q(obs_action).squeeze(-1)).sum(1, keepdim=True) + bias
        q_loss = F.mse_loss(q_tot, y)

        v = self.v(obs).squeeze(-1)
        z = (w_slow / c.alpha * (q_slow - v)).clamp(-c.z_limit, c.z_limit)
        m = z.detach().max().clamp(min=-1.0)
        v_loss = ((z - m).exp() + (-m).exp() * w_slow * v / c.alpha).mean()

        log_pi = squashed_log_prob(self.policy(obs), b["action"])
        policy_loss = -(z.detach().exp() * log_pi).mean()

        for loss, group, optimizer in zip((policy_loss, q_loss, v_loss), self.groups, self.optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(group, c.max_grad_norm)
            optimizer.step()
        with torch.no_grad():
            for slow, net in ((self.q_target, self.q), (self.mixer_target, self.mixer), (self.v_target, self.v)):
                for p_slow, p in zip(slow.parameters(), net.parameters(), strict=True):
                    p_slow.copy_(c.tau * p + (1 - c.tau) * p_slow)
        return q_loss.item(), v_loss.item(), policy_loss.item()
