"""Cloning for one seed written plainly with torch.nn and torch.optim, discrete and continuous: yardsticks of speed."""

import torch
from plain_omiga import mlp, squashed_log_prob
from torch import nn


class PlainBC:
    """One network and one Adam per agent. d: obs [B, N, O] scaled, legal [B, N, A], action [B, N] int64."""

    def __init__(self, config, n_agents: int, obs_size: int, n_actions: int):
        self.c = config
        self.nets = [mlp(obs_size, *config.hidden, n_actions) for _ in range(n_agents)]
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=config.lr) for net in self.nets]

    def update(self, d: dict[str, torch.Tensor]) -> None:
        for i, (net, optimizer) in enumerate(zip(self.nets, self.optimizers, strict=True)):
            log_pi = net(d["obs"][:, i]).masked_fill(~d["legal"][:, i], -1e8).log_softmax(-1)
            loss = -log_pi.gather(-1, d["action"][:, i, None]).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), self.c.max_grad_norm)
            optimizer.step()


class PlainGaussianBC:
    """One network for all agents. d: obs [B, N, O], action [B, N, A] float."""

    def __init__(self, config, n_agents: int, obs_size: int, action_size: int):
        self.c, self.n = config, n_agents
        self.net = mlp(obs_size + n_agents, *config.hidden, 2 * action_size)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.lr)

    def update(self, d: dict[str, torch.Tensor]) -> None:
        ids = torch.eye(self.n, dtype=d["obs"].dtype).expand(len(d["obs"]), -1, -1)
        loss = -squashed_log_prob(self.net(torch.cat([d["obs"], ids], -1)), d["action"]).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), self.c.max_grad_norm)
        self.optimizer.step()
