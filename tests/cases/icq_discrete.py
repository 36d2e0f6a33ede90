"""ICQ-MA for discrete actions in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cases import mlp
from cases.cfcql_discrete import PlainAgent, agent_inputs, plain_td_lambda, rows
from data.common.spec import WorldSpec
from data.synthetic import DISCRETE
from lit_modules.icq_discrete import ICQDiscrete, ICQDiscreteConfig
from reproduce.regression.cases import Case, Parity


class PlainLinearMixer(nn.Module):
    def __init__(self, state: int, n: int, embed: int):
        super().__init__()
        self.n, self.w1, self.w2 = n, mlp(state, n * embed), mlp(state, embed)

    def forward(self, state: Tensor) -> Tensor:
        """state [.., St] -> k [.., N]."""
        w1 = self.w1(state).abs().unflatten(-1, (self.n, -1))
        k = (w1 * self.w2(state).abs().unsqueeze(-2)).sum(-1)
        return k / k.sum(-1, keepdim=True)


class PlainICQ:
    """A critic step for each step that some episode has, three RMSprops, then one step of the agents."""

    def __init__(self, config: ICQDiscreteConfig, spec: WorldSpec):
        self.c, self.n, self.a = config, spec.n_agents, spec.n_actions
        self.agent = PlainAgent(spec.obs_size + spec.n_actions + self.n, config.gru_hidden, spec.n_actions)
        self.critic = mlp(spec.state_size + spec.obs_size + self.n, *config.critic_hidden, spec.n_actions + 1)
        self.mixer = PlainLinearMixer(spec.state_size, self.n, config.mixer_embed)
        self.critic_target, self.mixer_target = deepcopy(self.critic), deepcopy(self.mixer)
        settings = {"alpha": config.rms_alpha, "eps": config.rms_eps}
        self.critic_parameters = [*self.critic.parameters(), *self.mixer.parameters()]
        self.critic_rms = torch.optim.RMSprop(self.critic_parameters, lr=config.critic_lr, **settings)
        self.agent_rms = torch.optim.RMSprop(self.agent.parameters(), lr=config.lr, **settings)
        self.since_copy = 0

    def q(self, critic: nn.Module, b: dict[str, Tensor]) -> Tensor:
        """[B, T + 1, N, A]."""
        obs, state = rows(b, "obs"), rows(b, "state").unsqueeze(2).expand(-1, -1, self.n, -1)
        ids = torch.eye(self.n, dtype=obs.dtype).expand(*obs.shape[:2], self.n, self.n)
        out = critic(torch.cat([state, obs, ids], -1))
        return out[..., :-1] + out[..., -1:]

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        c, mask, size = self.c, b["mask"], len(b["mask"])
        done = rows(b, "action")  # (B, T + 1, N)
        with torch.no_grad():
            q = self.q(self.critic_target, b).gather(-1, done.unsqueeze(-1)).squeeze(-1)
            value = (self.mixer_target(rows(b, "state")) * q).sum(-1)
            value = size * (value / c.target_temperature).softmax(0) * value
            y = plain_td_lambda(value, b, c.gamma, c.td_lambda)
        losses = []
        for t in range(mask.shape[1]):
            if mask[:, t].sum() == 0:
                continue
            q = self.q(self.critic, b)[:, t].gather(-1, done[:, t].unsqueeze(-1)).squeeze(-1)
            error = (self.mixer(rows(b, "state")[:, t]) * q).sum(-1) - y[:, t]
            loss = (error.square() * mask[:, t]).sum() / mask[:, t].sum()
            self.critic_rms.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.critic_parameters, c.max_grad_norm)
            self.critic_rms.step()
            losses.append(loss.detach())
            self.since_copy += 1
        if self.since_copy >= c.target_update_interval:
            self.since_copy = 0
            self.critic_target.load_state_dict(self.critic.state_dict())
            self.mixer_target.load_state_dict(self.mixer.state_dict())
        policy_loss = self.policy_loss(b, done[:, :-1], noise["epsilon"])
        self.agent_rms.zero_grad()
        policy_loss.backward()
        nn.utils.clip_grad_norm_(self.agent.parameters(), c.max_grad_norm)
        self.agent_rms.step()
        return {"loss/critic": torch.stack(losses).mean(), "loss/policy": policy_loss.detach()}

    def policy_loss(self, b: dict[str, Tensor], done: Tensor, epsilon: Tensor) -> Tensor:
        seen, legal = agent_inputs(b, self.a), rows(b, "legal_actions")[:, :-1]
        logits = self.agent(seen.flatten(0, 1)).view(*seen.shape[:3], -1).transpose(1, 2)[:, :-1]
        pi = ((1 - epsilon) * logits.softmax(-1) + epsilon / self.a) * legal
        pi = pi / pi.sum(-1, keepdim=True).clamp(min=1e-30)
        with torch.no_grad():
            q = self.q(self.critic, b)[:, :-1]
            advantage = q.gather(-1, done.unsqueeze(-1)).squeeze(-1) - (pi * q).sum(-1)
            weight = len(done) * (advantage / self.c.policy_temperature).softmax(0)
            weight = weight * self.mixer(rows(b, "state")[:, :-1])
        steps = b["mask"] > 0
        log_pi = pi.gather(-1, done.unsqueeze(-1)).squeeze(-1)[steps].log()  # (steps, N)
        return -(weight[steps] * log_pi).mean()


def sharpen(module: ICQDiscrete) -> None:
    """Values large beside the temperatures, so that both softmaxes weigh."""
    with torch.no_grad():
        for net in (module.critic, module.critic_target):
            net.theta *= 3


ICQ_DISCRETE_SMALL = ICQDiscreteConfig(
    name="icq_discrete",
    n_updates=30,
    batch_size=6,
    gru_hidden=8,
    critic_hidden=[8, 8],
    mixer_embed=4,
    lr=1e-2,
    critic_lr=1e-2,
    rms_alpha=0.99,
    rms_eps=1e-5,
    max_grad_norm=20.0,
    gamma=0.9,
    td_lambda=0.75,
    target_temperature=10.0,
    policy_temperature=0.1,
    target_update_interval=60,
    epsilon_start=0.5,
    epsilon_end=0.05,
    epsilon_updates=20,
    epsilon_hold=4,
)
PARTS = ("critic.theta", "mixer.w1.theta", "mixer.w2.theta")
CASE = Case(
    config=ICQ_DISCRETE_SMALL,
    spec=DISCRETE,
    plain=PlainICQ,
    state=("agent.theta", *PARTS, *(part.replace(".", "_target.", 1) for part in PARTS), "since_copy"),
    variants={"mild": {"target_temperature": 1000.0, "policy_temperature": 10.0, "epsilon_start": 0.0}},
    parity={
        "as_configured": Parity({"lr": 1e-3, "critic_lr": 1e-3}),
        "clipped": Parity({"lr": 1e-3, "critic_lr": 1e-3, "max_grad_norm": 0.05, "batch_size": 2}, sharpen),
    },
)
