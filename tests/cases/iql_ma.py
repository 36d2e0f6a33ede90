"""IQL-MA in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor

from cases import HOPPER, mlp, move_target, squashed_log_prob, step, with_ids
from cases.cql_ma import MPE, MPE_SIZE, ROW, judge, mix
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS
from lit_modules.iql_ma import IQLMA, IQLMAConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainIQLMA:
    """Shared networks, three Adams; every total with its bias."""

    def __init__(self, config: IQLMAConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.v, self.policy = mlp(seen, *h, 1), mlp(seen, *h, 2 * spec.action_size)
        self.q1, self.q2 = (mlp(seen + spec.action_size, *h, 1) for _ in range(2))
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.q1_target, self.q2_target, self.mixer_target = map(deepcopy, (self.q1, self.q2, self.mixer))
        groups = ([self.policy], [self.q1, self.q2, self.mixer], [self.v])
        self.optimizers = [
            torch.optim.Adam([p for net in nets for p in net.parameters()], lr=config.lr) for nets in groups
        ]

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs, state, next_state [B, N, O], action [B, N, A], reward and mask [B]."""
        c, obs = self.c, with_ids(b["obs"])
        with torch.no_grad():
            w, bias = mix(self.mixer_target, b["next_state"])
            y = b["reward"] + c.gamma * b["mask"] * ((w * self.v(with_ids(b["next_obs"])).squeeze(-1)).sum(1) + bias)
            slow_w, slow_bias = mix(self.mixer_target, b["state"])
            slow = [judge(net, b["obs"], b["action"]) for net in (self.q1_target, self.q2_target)]
            q_tot = torch.minimum(*((slow_w * q).sum(1) + slow_bias for q in slow))
        w, bias = mix(self.mixer, b["state"])
        totals = [(w * judge(net, b["obs"], b["action"])).sum(1) + bias for net in (self.q1, self.q2)]
        q_loss = sum((total - y).square().mean() for total in totals)

        v = self.v(obs).squeeze(-1)  # (B, N)
        u = q_tot - ((slow_w * v).sum(1) + slow_bias)
        v_loss = torch.where(u < 0, (1 - c.expectile) * u.square(), c.expectile * u.square()).mean()

        weight = (c.beta * slow_w * (torch.minimum(*slow) - v.detach())).exp().clamp(max=c.weight_limit)
        policy_loss = -(weight * squashed_log_prob(self.policy(obs), b["action"])).mean()

        for loss, optimizer in zip((policy_loss, q_loss, v_loss), self.optimizers, strict=True):
            step(optimizer, loss, c.max_grad_norm)
        for name in ("q1", "q2", "mixer"):
            move_target(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        return {"loss/q": q_loss.detach(), "loss/v": v_loss.detach(), "loss/policy": policy_loss.detach()}


def tell_apart(module: IQLMA) -> None:
    """Slow copies that differ from their networks, and advantages on both sides of the weight's limit."""
    with torch.no_grad():
        for net in (module.q1, module.q2_target, module.mixer_target):
            net.theta *= 3


IQL_SMALL = IQLMAConfig(
    name="iql_ma",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    expectile=0.7,
    beta=3.0,
    weight_limit=100.0,
)
NETS = ("v", "q1", "q2", "policy", "mixer")
CASE = Case(
    config=IQL_SMALL,
    spec=CONTINUOUS,
    plain=PlainIQLMA,
    state=tuple(f"{net}.theta" for net in (*NETS, "q1_target", "q2_target", "mixer_target")),
    variants={"mild": {"expectile": 0.5, "beta": 0.5, "weight_limit": 1.2}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "limited": Parity({"lr": 1e-3, "max_grad_norm": 0.1, "weight_limit": 1.5, "expectile": 0.9}, tell_apart),
    },
    benchmarks=(
        Benchmark("iql_ma mpe size", ROW, MPE, ("algo=iql_ma",), MPE_SIZE, "0.30 compiled"),
        Benchmark("iql_ma hopper", ROW, HOPPER, ("algo=iql_ma",)),
    ),
)
