"""OMIGA for discrete actions in small, and plainly."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import mlp, move_target, step, with_ids
from data.common.spec import WorldSpec
from data.synthetic import LOCAL
from lit_modules.omiga_discrete import OMIGADiscrete, OMIGADiscreteConfig
from reproduce.regression.cases import Case, Parity


class PlainOMIGADiscrete:
    """The released code's settings: shared networks, three Adams, one backward after another."""

    def __init__(self, config: OMIGADiscreteConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.v, self.q, self.policy = mlp(seen, *h, 1), mlp(seen, *h, spec.n_actions), mlp(seen, *h, spec.n_actions)
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.v_target, self.q_target, self.mixer_target = (deepcopy(net) for net in (self.v, self.q, self.mixer))
        groups = ([self.policy], [self.q, self.mixer], [self.v])
        self.optimizers = [
            torch.optim.Adam([p for net in nets for p in net.parameters()], lr=config.lr) for nets in groups
        ]

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs, state, next_state [B, N, ..], action [B, N], reward [B]."""
        c, obs, next_obs, taken = self.c, with_ids(b["obs"]), with_ids(b["next_obs"]), b["action"].unsqueeze(-1)
        mask, reward = ending(b, c.done), b["return_to_go"][:, 0] if c.reward == "return_to_go" else b["reward"]
        with torch.no_grad():
            w, bias = mix(self.mixer_target, b["next_state"])
            y = reward + c.gamma * mask * ((w * self.v_target(next_obs).squeeze(-1)).sum(1) + bias)
            w_slow, _ = mix(self.mixer_target, b["state"])
            q_slow = self.q_target(obs).gather(-1, taken).squeeze(-1)
        w, bias = mix(self.mixer, b["state"])
        q_loss = F.mse_loss((w * self.q(obs).gather(-1, taken).squeeze(-1)).sum(1) + bias, y)

        v = self.v(obs).squeeze(-1)
        z = (w_slow / c.alpha * (q_slow - v)).clamp(-c.z_limit, c.z_limit)  # type: ignore[operator]
        m = z.detach().max().clamp(min=-1.0)
        v_loss = ((z - m).exp() + (-m).exp() * w_slow * v / c.alpha).mean()

        log_pi = torch.distributions.Categorical(logits=self.policy(obs)).log_prob(b["action"])
        policy_loss = -(z.detach().exp() * log_pi).mean()

        for loss, optimizer in zip((policy_loss, q_loss, v_loss), self.optimizers, strict=True):
            step(optimizer, loss, c.max_grad_norm)
        for target, net in ((self.q_target, self.q), (self.mixer_target, self.mixer), (self.v_target, self.v)):
            move_target(target, net, c.tau)
        return {"loss/q": q_loss.detach(), "loss/v": v_loss.detach(), "loss/policy": policy_loss.detach()}


def mix(mixer: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    out = mixer(state.flatten(1))  # (B, N + 1)
    return out[:, :-1].abs(), out[:, -1]


def ending(b: dict[str, Tensor], rule: str) -> Tensor:
    """1 where a transition bootstraps, [B]: neither end, and a state that changes; or not terminated."""
    if rule == "terminated":
        return b["mask"]
    moved = (b["state"] != b["next_state"]).flatten(1).any(1)
    return (moved & ~b["terminated"][:, 0] & ~b["truncated"][:, 0]).to(b["obs"].dtype)


def spread_values(module: OMIGADiscrete) -> None:
    """Slow copies that differ, and z beyond its clamp on both sides."""
    with torch.no_grad():
        module.q_target.theta *= 5
        module.mixer_target.theta *= 2


OMIGA_DISCRETE_SMALL = OMIGADiscreteConfig(
    name="omiga_discrete",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    alpha=0.5,
    targets="all",
    z_limit=10.0,
    rescale=True,
    simultaneous=True,
    shared=True,
    reward="return_to_go",
    done="state",
)
CASE = Case(
    config=OMIGA_DISCRETE_SMALL,
    spec=LOCAL,
    plain=PlainOMIGADiscrete,
    state=tuple(f"{net}.theta" for net in ("v", "q", "policy", "mixer", "q_target", "v_target", "mixer_target")),
    variants={"step": {"reward": "step", "done": "terminated", "simultaneous": False, "targets": "q"}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "every_clip": Parity({"lr": 1e-3, "alpha": 0.01, "max_grad_norm": 0.02}, spread_values),
        "step": Parity({"lr": 1e-3, "reward": "step", "done": "terminated"}),
    },
)
