"""ICQ for discrete actions on OMIGA's networks in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cases import mlp, move_target, step, with_ids
from cases.cql_ma_discrete import at
from cases.omiga_discrete import ending, mix
from data.common.spec import WorldSpec
from data.synthetic import LOCAL
from lit_modules.icq_ma_discrete import ICQMADiscreteConfig
from reproduce.regression.cases import Case, Parity


class PlainICQMADiscrete:
    """Shared networks, two Adams."""

    def __init__(self, config: ICQMADiscreteConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.q1, self.q2, self.policy = (mlp(seen, *h, spec.n_actions) for _ in range(3))
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.q1_target, self.q2_target, self.mixer_target = (deepcopy(net) for net in (self.q1, self.q2, self.mixer))
        values = [p for net in (self.q1, self.q2, self.mixer) for p in net.parameters()]
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), lr=config.lr)
        self.q_adam = torch.optim.Adam(values, lr=config.lr)

    def smaller(self, q1: nn.Module, q2: nn.Module, obs: Tensor, action: Tensor) -> Tensor:
        return torch.minimum(at(q1(with_ids(obs)), action), at(q2(with_ids(obs)), action))

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        c, scale = self.c, len(b["obs"]) if self.c.weights == "batch" else 1
        reward = b["return_to_go"][:, 0] if c.reward == "return_to_go" else b["reward"]
        mask = ending(b, c.done)
        with torch.no_grad():
            w, bias = mix(self.mixer_target, b["next_state"])
            later = (w * self.smaller(self.q1_target, self.q2_target, b["next_obs"], b["next_action"])).sum(1) + bias
            y = reward + c.gamma * mask * later * scale * (later / c.target_temperature).softmax(0)
        decay, j = torch.ones_like(y), 0
        for k in range(len(y)):
            j = 0 if k == 0 or mask[k] == 0 else j + 1
            decay[k] = 1.0 if c.td_lambda is None else (c.td_lambda * c.gamma) ** j
        w, bias = mix(self.mixer, b["state"])
        q = self.smaller(self.q1, self.q2, b["obs"], b["action"])
        q_loss = (decay * ((w * q).sum(1) + bias - y)).square().mean()
        log_pi = torch.distributions.Categorical(logits=self.policy(with_ids(b["obs"]))).log_prob(b["action"])
        weight = scale * (w * q / c.policy_temperature).softmax(0).detach()
        policy_loss = -(weight * log_pi).mean()
        step(self.policy_adam, policy_loss, c.max_grad_norm)
        step(self.q_adam, q_loss, c.max_grad_norm)
        for name in ("q1", "q2", "mixer"):
            move_target(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        return {"loss/q": q_loss.detach(), "loss/policy": policy_loss.detach()}


ICQ_MA_DISCRETE_SMALL = ICQMADiscreteConfig(
    name="icq_ma_discrete",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    target_temperature=10.0,
    policy_temperature=1.0,
    td_lambda=0.8,
    weights="released",
    reward="return_to_go",
    done="state",
)
NETS = ("q1", "q2", "mixer")
CASE = Case(
    config=ICQ_MA_DISCRETE_SMALL,
    spec=LOCAL,
    plain=PlainICQMADiscrete,
    state=("policy.theta", *(f"{net}.theta" for net in (*NETS, *(f"{net}_target" for net in NETS)))),
    variants={"batch": {"weights": "batch", "td_lambda": None, "reward": "step"}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "batch": Parity({"lr": 1e-3, "weights": "batch", "max_grad_norm": 0.05, "done": "terminated"}),
    },
)
