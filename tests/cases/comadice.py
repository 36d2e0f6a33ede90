"""ComaDICE in small, and plainly."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import mlp, move_target, squashed_log_prob, step, with_ids
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS
from lit_modules.comadice import ComaDICE, ComaDICEConfig
from reproduce.regression.cases import Case, Parity


class PlainComaDICE:
    """Shared networks, five Adams, one step after another."""

    def __init__(self, config: ComaDICEConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.v, self.q = mlp(seen, *h, 1), mlp(seen + spec.action_size, *h, 1)
        self.policy = mlp(seen, *h, 2 * spec.action_size)
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.v_target, self.q_target, self.mixer_target = (deepcopy(net) for net in (self.v, self.q, self.mixer))
        self.lambda_v, self.lambda_e = (nn.Parameter(torch.zeros(1).double()) for _ in range(2))

        def adam(*nets: nn.Module) -> torch.optim.Adam:
            return torch.optim.Adam([p for net in nets for p in net.parameters()], lr=config.lr)

        self.of_q, self.of_v, self.of_policy = adam(self.q, self.mixer), adam(self.v), adam(self.policy)
        adams = (torch.optim.Adam([x], lr=config.lr) for x in (self.lambda_v, self.lambda_e))
        self.of_lambda_v, self.of_lambda_e = adams

    def mix(self, mixer: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
        out = mixer(state.flatten(1))  # (B, N + 1)
        return out[:, :-1].abs(), out[:, -1]

    def weight(self, x: Tensor) -> Tensor:
        if self.c.divergence == "kl":
            return (x - 1).exp()
        if self.c.divergence == "chisquare":
            return F.relu(x + 1)
        return torch.where(x < 0, x.clamp(max=0).exp(), x + 1)

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs, state, next_state [B, N, O], action [B, N, A], reward, mask, is_init [B]."""
        c, obs, action = self.c, with_ids(b["obs"]), b["action"] / self.c.action_scale
        size = b["obs"].shape[-1]
        obs_action = torch.cat([b["obs"], action, obs[..., size:]], -1)
        with torch.no_grad():
            w, bias = self.mix(self.mixer_target, b["next_state"])
            v_next = (w * self.v_target(with_ids(b["next_obs"])).squeeze(-1)).sum(1) + bias
            y = b["reward"] + c.gamma * b["mask"] * v_next
        q = self.q(obs_action).squeeze(-1)  # (B, N)
        w, bias = self.mix(self.mixer, b["state"])
        q_loss = F.mse_loss((w * q).sum(1) + bias, y)
        step(self.of_q, q_loss, c.max_grad_norm)

        v = self.v(obs).squeeze(-1)
        with torch.no_grad():
            w, _ = self.mix(self.mixer, b["state"])
        e = w * (q.detach() - v)
        first = b["is_init"].reshape(len(v)).bool()
        start = v[first].mean() if first.any() else 0 * v.sum()
        scaled = self.weight((e - self.lambda_v.detach()) / c.alpha) * (e.detach() - self.lambda_v.detach())
        v_loss = (1 - c.gamma) * start + scaled.mean()
        own = self.weight((e.detach() - self.lambda_v) / c.alpha) * (e.detach() - self.lambda_v)
        lambda_v_loss = own.mean() + self.lambda_v.sum()
        with torch.no_grad():
            w, _ = self.mix(self.mixer_target, b["state"])
            slow = w * (self.q_target(obs_action).squeeze(-1) - v)
            weight = self.weight((slow - self.lambda_e) / c.alpha)
        step(self.of_v, v_loss, c.max_grad_norm)
        step(self.of_lambda_v, lambda_v_loss)
        lambda_e_loss = self.lambda_e.sum() * (1 - weight.mean())
        step(self.of_lambda_e, lambda_e_loss)
        weight = weight.sum(1, keepdim=True) if c.total_weight else weight
        policy_loss = -(weight * squashed_log_prob(self.policy(obs), action)).mean()
        step(self.of_policy, policy_loss, c.max_grad_norm)
        for target, net in ((self.q_target, self.q), (self.mixer_target, self.mixer), (self.v_target, self.v)):
            move_target(target, net, c.tau)
        losses = {"q": q_loss, "v": v_loss, "lambda_v": lambda_v_loss, "lambda_e": lambda_e_loss, "policy": policy_loss}
        return {f"loss/{name}": loss.detach() for name, loss in losses.items()}


def tell_apart(module: ComaDICE) -> None:
    """Slow copies that differ, and advantages on both sides of every kink."""
    with torch.no_grad():
        for factor, net in enumerate((module.q, module.q_target, module.mixer, module.v_target), 2):
            net.theta *= factor


COMADICE_SMALL = ComaDICEConfig(
    name="comadice",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    alpha=0.5,
    divergence="soft_chisquare",
    total_weight=True,
    action_scale=4.0,
    repeat_after=None,
)
NETS = ("v", "q", "policy", "mixer", "v_target", "q_target", "mixer_target")
CASE = Case(
    config=COMADICE_SMALL,
    spec=CONTINUOUS,
    plain=PlainComaDICE,
    state=(*(f"{net}.theta" for net in NETS), "lambda_v", "lambda_e"),
    variants={
        "chisquare": {"divergence": "chisquare", "total_weight": False, "action_scale": 1.0},
        "kl": {"divergence": "kl", "alpha": 5.0, "repeat_after": 7},
    },
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "chisquare": Parity(
            {"lr": 1e-3, "divergence": "chisquare", "total_weight": False, "max_grad_norm": 0.02}, tell_apart
        ),
        "kl": Parity({"lr": 1e-3, "divergence": "kl", "alpha": 5.0, "action_scale": 1.0}, tell_apart),
    },
)
