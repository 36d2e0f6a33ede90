"""OMIGA in small, and plainly."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import ANT, HALFCHEETAH, HOPPER, mlp, move_target, squashed_log_prob, step, with_ids
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS, continuous_spec
from lit_modules.omiga import OMIGA, OMIGAConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainOMIGA:
    """The released code's settings: shared networks, three Adams, one backward after another."""

    def __init__(self, config: OMIGAConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.v, self.q = mlp(seen, *h, 1), mlp(seen + spec.action_size, *h, 1)
        self.policy = mlp(seen, *h, 2 * spec.action_size)
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.v_target, self.q_target, self.mixer_target = (deepcopy(net) for net in (self.v, self.q, self.mixer))
        groups = ([self.policy], [self.q, self.mixer], [self.v])
        self.optimizers = [
            torch.optim.Adam([p for net in nets for p in net.parameters()], lr=config.lr) for nets in groups
        ]

    def mix(self, mixer: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
        out = mixer(state.flatten(1))  # (B, N + 1)
        return out[:, :-1].abs(), out[:, -1]

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs, state, next_state [B, N, O], action [B, N, A], reward and mask [B]."""
        c, obs, next_obs = self.c, with_ids(b["obs"]), with_ids(b["next_obs"])
        size = b["obs"].shape[-1]
        obs_action = torch.cat([b["obs"], b["action"], obs[..., size:]], -1)
        with torch.no_grad():
            w, bias = self.mix(self.mixer_target, b["next_state"])
            y = b["reward"] + c.gamma * b["mask"] * ((w * self.v_target(next_obs).squeeze(-1)).sum(1) + bias)
            w_slow, _ = self.mix(self.mixer_target, b["state"])
            q_slow = self.q_target(obs_action).squeeze(-1)
        w, bias = self.mix(self.mixer, b["state"])
        q_loss = F.mse_loss((w * self.q(obs_action).squeeze(-1)).sum(1) + bias, y)

        v = self.v(obs).squeeze(-1)
        z = w_slow / c.alpha * (q_slow - v)
        if c.z_limit is not None:
            z = z.clamp(-c.z_limit, c.z_limit)
        m = z.detach().max().clamp(min=-1.0)
        v_loss = ((z - m).exp() + (-m).exp() * w_slow * v / c.alpha).mean()

        log_pi = squashed_log_prob(self.policy(obs), b["action"])
        policy_loss = -(z.detach().exp() * log_pi).mean()

        for loss, optimizer in zip((policy_loss, q_loss, v_loss), self.optimizers, strict=True):
            step(optimizer, loss, c.max_grad_norm)
        for target, net in ((self.q_target, self.q), (self.mixer_target, self.mixer), (self.v_target, self.v)):
            move_target(target, net, c.tau)
        return {"loss/q": q_loss.detach(), "loss/v": v_loss.detach(), "loss/policy": policy_loss.detach()}


def reach_every_clip(module: OMIGA) -> None:
    """Let the first policies' means and log-deviations lie beyond their clamps on both sides, for some of the data."""
    with torch.no_grad():
        module.policy.theta[:, -sum(module.policy.split[-2:]) :] *= 60


def value_all_data_low(module: OMIGA) -> None:
    """Weights of 1 in the mixers and values far above Q: every z lies below -1, where the largest is floored."""
    with torch.no_grad():
        for net in (module.mixer, module.mixer_target):
            net.theta[:, -sum(net.split[-2:]) :] = 0
            net.theta[:, -net.split[-1] :] = 1
        for net in (module.v, module.v_target):
            net.theta[:, -1] += 3


OMIGA_SMALL = OMIGAConfig(
    name="omiga",
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
)
LARGE = "omiga/mujoco/halfcheetah_medium"
CASE = Case(
    config=OMIGA_SMALL,
    spec=CONTINUOUS,
    plain=PlainOMIGA,
    state=tuple(f"{net}.theta" for net in ("v", "q", "policy", "mixer", "q_target", "v_target", "mixer_target")),
    variants={
        "poster": {"targets": "q", "z_limit": None, "rescale": False, "simultaneous": False, "shared": False},
    },
    parity={
        "as_configured": Parity(),
        "every_clip": Parity({"alpha": 0.01, "lr": 1e-3, "max_grad_norm": 0.02}, reach_every_clip),
        "low_values": Parity({"lr": 1e-3}, value_all_data_low),
    },
    benchmarks=(
        Benchmark(
            "omiga mpe size",
            LARGE,
            continuous_spec(3, 18, 2),
            changes={"hidden": [64, 64], "mixer_hidden": [32]},
            target="0.20 compiled",
        ),
        Benchmark("omiga hopper", LARGE, HOPPER),
        Benchmark("omiga halfcheetah", LARGE, HALFCHEETAH, target="0.82 compiled"),
        Benchmark("omiga ant", LARGE, ANT),
    ),
)
