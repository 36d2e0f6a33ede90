"""CQL-MA for discrete actions in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cases import mlp, move_target, step, with_ids
from cases.omiga_discrete import ending, mix
from data.common.spec import WorldSpec
from data.synthetic import LOCAL
from lit_modules.cql_ma_discrete import CQLMADiscreteConfig
from reproduce.regression.cases import Case, Parity


class PlainCQLMADiscrete:
    """Shared networks, two Adams."""

    def __init__(self, config: CQLMADiscreteConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.q, self.policy = mlp(seen, *h, spec.n_actions), mlp(seen, *h, spec.n_actions)
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.q_target, self.mixer_target = deepcopy(self.q), deepcopy(self.mixer)
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), lr=config.lr)
        self.q_adam = torch.optim.Adam([*self.q.parameters(), *self.mixer.parameters()], lr=config.lr)

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs, state, next_state [B, N, ..], action [B, N]; noise: next [N, B]."""
        q_loss, policy_loss = self.q_loss(b, noise["next"].T), self.policy_loss(b)
        step(self.policy_adam, policy_loss, self.c.max_grad_norm)
        step(self.q_adam, q_loss, self.c.max_grad_norm)
        for target, net in ((self.q_target, self.q), (self.mixer_target, self.mixer)):
            move_target(target, net, self.c.tau)
        return {"loss/q": q_loss.detach(), "loss/policy": policy_loss.detach()}

    def policy_loss(self, b: dict[str, Tensor]) -> Tensor:
        weight = at(self.q(with_ids(b["obs"])), b["action"]).detach()
        log_pi = torch.distributions.Categorical(logits=self.policy(with_ids(b["obs"]))).log_prob(b["action"])
        return -(weight * log_pi).sum(1).mean()

    def q_loss(self, b: dict[str, Tensor], uniform: Tensor) -> Tensor:
        c, obs, next_obs = self.c, with_ids(b["obs"]), with_ids(b["next_obs"])
        reward = b["return_to_go"][:, 0] if c.reward == "return_to_go" else b["reward"]
        with torch.no_grad():
            cdf = self.policy(next_obs).softmax(-1).cumsum(-1)
            drawn = (cdf < (uniform * cdf[..., -1]).unsqueeze(-1)).sum(-1)
            w, bias = mix(self.mixer_target, b["next_state"])
            later = (w * at(self.q_target(next_obs), drawn)).sum(1) + bias
            y = reward + c.gamma * ending(b, c.done) * later
        w, bias = mix(self.mixer, b["state"])
        q = self.q(obs)
        q_tot = (w * at(q, b["action"])).sum(1) + bias
        conservative = (w.unsqueeze(-1) * q + bias[:, None, None]).logsumexp(-1).sum(1) - q_tot
        return (q_tot - y).square().mean() + c.conservatism * conservative.mean()


def at(values: Tensor, action: Tensor) -> Tensor:
    return values.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def spread(module: nn.Module) -> None:
    """Slow copies that differ, and Q far apart."""
    with torch.no_grad():
        module.q_target.theta *= 3  # type: ignore[operator]
        module.mixer_target.theta *= 2  # type: ignore[operator]


CQL_DISCRETE_SMALL = CQLMADiscreteConfig(
    name="cql_ma_discrete",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    conservatism=1.0,
    reward="return_to_go",
    done="state",
)
CASE = Case(
    config=CQL_DISCRETE_SMALL,
    spec=LOCAL,
    plain=PlainCQLMADiscrete,
    state=tuple(f"{net}.theta" for net in ("q", "policy", "mixer", "q_target", "mixer_target")),
    variants={"step": {"reward": "step", "done": "terminated"}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "clipped": Parity({"lr": 1e-3, "max_grad_norm": 0.02, "reward": "step"}, spread),
    },
)
