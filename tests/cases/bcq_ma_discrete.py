"""BCQ-MA for discrete actions in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor

from cases import mlp, move_target, step, with_ids
from cases.cql_ma_discrete import at, spread
from cases.omiga_discrete import ending, mix
from data.common.spec import WorldSpec
from data.synthetic import LOCAL
from lit_modules.bcq_ma_discrete import BCQMADiscrete, BCQMADiscreteConfig
from reproduce.regression.cases import Case, Parity


class PlainBCQMADiscrete:
    """Shared networks, two Adams."""

    def __init__(self, config: BCQMADiscreteConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.q, self.policy = mlp(seen, *h, spec.n_actions), mlp(seen, *h, spec.n_actions)
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.q_target, self.mixer_target = deepcopy(self.q), deepcopy(self.mixer)
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), lr=config.lr)
        self.q_adam = torch.optim.Adam([*self.q.parameters(), *self.mixer.parameters()], lr=config.lr)

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        c, obs, next_obs = self.c, with_ids(b["obs"]), with_ids(b["next_obs"])
        reward = b["return_to_go"][:, 0] if c.reward == "return_to_go" else b["reward"]
        logits = self.policy(obs)
        cloning = -torch.distributions.Categorical(logits=logits).log_prob(b["action"]).mean()
        policy_loss = cloning + c.logit_penalty * logits.square().mean()
        with torch.no_grad():
            g = self.policy(next_obs).softmax(-1)
            barred = g / g.max(-1, keepdim=True).values <= c.threshold
            best = (self.q_target(next_obs) - 1e12 * barred).max(-1).values
            w, bias = mix(self.mixer_target, b["next_state"])
            y = reward + c.gamma * ending(b, c.done) * ((w * best).sum(1) + bias)
        w, bias = mix(self.mixer, b["state"])
        q_loss = ((w * at(self.q(obs), b["action"])).sum(1) + bias - y).square().mean()
        step(self.policy_adam, policy_loss, c.max_grad_norm)
        step(self.q_adam, q_loss, c.max_grad_norm)
        for target, net in ((self.q_target, self.q), (self.mixer_target, self.mixer)):
            move_target(target, net, c.tau)
        return {"loss/q": q_loss.detach(), "loss/policy": policy_loss.detach()}


def bar_some(module: BCQMADiscrete) -> None:
    """Clones that are sure enough to bar actions, and slow copies that differ."""
    spread(module)
    with torch.no_grad():
        module.policy.theta *= 3


BCQ_DISCRETE_SMALL = BCQMADiscreteConfig(
    name="bcq_ma_discrete",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    threshold=0.3,
    logit_penalty=1e-2,
    reward="return_to_go",
    done="state",
)
CASE = Case(
    config=BCQ_DISCRETE_SMALL,
    spec=LOCAL,
    plain=PlainBCQMADiscrete,
    state=tuple(f"{net}.theta" for net in ("q", "policy", "mixer", "q_target", "mixer_target")),
    variants={"strict": {"threshold": 0.9, "reward": "step"}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "barred": Parity({"lr": 1e-3, "threshold": 0.8, "max_grad_norm": 0.05}, bar_some),
    },
)
