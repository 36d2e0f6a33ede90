"""ICQ-MA in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cases import HOPPER, mlp, move_target, squashed_log_prob, step, with_ids
from cases.cql_ma import MPE, MPE_SIZE, ROW, judge, mix
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS
from lit_modules.icq_ma import ICQMA, ICQMAConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainICQMA:
    """Shared networks, two Adams."""

    def __init__(self, config: ICQMAConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.q1, self.q2 = (mlp(seen + spec.action_size, *h, 1) for _ in range(2))
        self.policy = mlp(seen, *h, 2 * spec.action_size)
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.q1_target, self.q2_target, self.mixer_target = map(deepcopy, (self.q1, self.q2, self.mixer))
        values = [p for net in (self.q1, self.q2, self.mixer) for p in net.parameters()]
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), lr=config.lr)
        self.q_adam = torch.optim.Adam(values, lr=config.lr)

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs, state, next_state [B, N, O], action, next_action [B, N, A], reward and mask [B]."""
        c, size = self.c, len(b["reward"]) if self.c.weights == "batch" else 1
        with torch.no_grad():
            w, bias = mix(self.mixer_target, b["next_state"])
            slow = smaller(self.q1_target, self.q2_target, b["next_obs"], b["next_action"])
            later = (w * slow).sum(1) + bias
            y = b["reward"] + c.gamma * b["mask"] * size * (later / c.target_temperature).softmax(0) * later
        w, bias = mix(self.mixer, b["state"])
        q = smaller(self.q1, self.q2, b["obs"], b["action"])
        decay, counted = torch.ones_like(y), 1.0
        for k in range(len(y)):
            counted = 1.0 if k == 0 or b["mask"][k] == 0 else counted * (c.td_lambda or 0.0) * c.gamma
            decay[k] = counted if c.td_lambda is not None else 1.0
        q_loss = (decay * ((w * q).sum(1) + bias - y)).square().mean()
        weight = size * (w * q / c.policy_temperature).detach().softmax(0)
        policy_loss = -(weight * squashed_log_prob(self.policy(with_ids(b["obs"])), b["action"])).mean()
        step(self.policy_adam, policy_loss, c.max_grad_norm)
        step(self.q_adam, q_loss, c.max_grad_norm)
        for name in ("q1", "q2", "mixer"):
            move_target(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        return {"loss/q": q_loss.detach(), "loss/policy": policy_loss.detach()}


def smaller(q1: nn.Module, q2: nn.Module, obs: Tensor, action: Tensor) -> Tensor:
    return torch.minimum(judge(q1, obs, action), judge(q2, obs, action))


def tell_apart(module: ICQMA) -> None:
    """Slow copies that differ from their networks, and values as large as the temperatures."""
    with torch.no_grad():
        for net in (module.q1, module.q2_target, module.mixer):
            net.theta *= 3


ICQ_SMALL = ICQMAConfig(
    name="icq_ma",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    target_temperature=1.0,
    policy_temperature=2.0,
    td_lambda=0.8,
    weights="released",
)
CLEAN = {"weights": "batch", "td_lambda": None}
CASE = Case(
    config=ICQ_SMALL,
    spec=CONTINUOUS,
    plain=PlainICQMA,
    state=tuple(f"{net}.theta" for net in ("q1", "q2", "policy", "mixer", "q1_target", "q2_target", "mixer_target")),
    variants={"clean": CLEAN},
    parity={
        "as_configured": Parity({"lr": 1e-3}, tell_apart),
        "clean": Parity({**CLEAN, "lr": 1e-3, "max_grad_norm": 0.1}, tell_apart),
    },
    benchmarks=(
        Benchmark("icq_ma mpe size", ROW, MPE, ("algo=icq_ma",), MPE_SIZE, "0.30 compiled"),
        Benchmark("icq_ma hopper", ROW, HOPPER, ("algo=icq_ma",)),
    ),
)
