"""QMIX's mixer and OMIGA's networks in continuous control: 20 updates of B3C (wjkim1202/B3C_OfflineMARL 481e913), in
float64, against vectors recorded from its released code. B3C is no algorithm of this project: its update is composed
here of the parts that our algorithms use, the mixer without the absolute value, which is the code's default."""

from typing import Any

import pytest
import torch
from released import golden_of, theta
from tensordict import TensorDict
from torch import Tensor

from data.synthetic import continuous_spec
from lit_modules.common.distributions import tanh_normal_sample
from lit_modules.common.functional import make_target, polyak
from lit_modules.common.local_to_global import LocalToGlobal
from lit_modules.common.optim import Adam
from lit_modules.common.qmix import MixerWeights, QMixer
from reproduce.regression.cases import cases

MLP = ["hidden0", "hidden1", "out"]
GAUSSIAN = ["hidden0", "hidden1", ("mean", "log_std")]
HYPERNETS = {
    "w1": ("weight0", ["hidden", "out"]),
    "b1": ("bias0", [""]),
    "w2": ("weight1", ["hidden", "out"]),
    "b2": ("bias1", ["hidden", "out"]),
}
Golden = dict[str, Tensor]


class SignedMixer(QMixer):
    """Weights of either sign: B3C's 'nonmono'."""

    def forward(self, state: Tensor) -> MixerWeights:
        w1 = self.w1(state).unflatten(-1, (self.n_agents, -1))
        return MixerWeights(w1, self.b1(state), self.w2(state), self.b2(state).squeeze(-1))


class B3C(LocalToGlobal):
    """y = r + gamma (1 - done) min(Q_tot'(s', pi(o')), clip); policy: -Q_tot / |E Q_tot| + E (pi - a)^2."""

    def __init__(self, golden: Golden):
        n, o = golden["batch/obs"].shape[2:]
        super().__init__([0], continuous_spec(n, o, golden["batch/action"].shape[-1]))
        self.c = {key.removeprefix("config/"): x.item() for key, x in golden.items() if key.startswith("config/")}
        self.config = cases()["cql_ma"].config.replace(hidden=[16, 16], lr=self.c["lr"])
        self.q, self.policy = self.make_q(), self.make_policy()
        self.mixer = SignedMixer(o, n, int(self.c["embed"]), 64, self.weight_rngs)
        self.q_target, self.mixer_target = make_target(self.q), make_target(self.mixer)

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "policy": Adam([self.policy.theta], lr=self.c["lr"]),
            "q": Adam([self.q.theta, *self.mixer.parameters()], lr=self.c["lr"]),
        }

    def q_tot(self, q: Any, mixer: QMixer, state: Tensor, obs: Tensor, action: Tensor) -> Tensor:
        local = self.per_agent(q, self.with_action(obs, action)).squeeze(-1)  # (S, N, B)
        return mixer(state).total(local.transpose(1, 2))  # (S, B)

    def update(self, batch: TensorDict, noise: dict[str, Tensor]) -> dict[str, Tensor]:
        c, d = self.c, self.unpack(batch)
        state, next_state = batch["state"][:, :, 0], batch["next", "state"][:, :, 0]  # agent 0's view
        with torch.no_grad():
            later = tanh_normal_sample(self.per_agent(self.policy, d["next_obs"]), noise["next"])
            value = self.q_tot(self.q_target, self.mixer_target, next_state, d["next_obs"], later)
            y = d["reward"] + c["gamma"] * d["mask"] * value.clamp(max=c["critic_clip"])
        q_loss = (self.q_tot(self.q, self.mixer, state, d["obs"], d["action"]) - y).square().mean(-1)
        pi = tanh_normal_sample(self.per_agent(self.policy, d["obs"]), noise["policy"])
        q = self.q_tot(self.q, self.mixer, state, d["obs"], pi)
        cloning = (d["action"] - pi).square().mean((1, 2, 3))
        policy_loss = c["rl_weight"] * -q.mean(-1) / q.mean(-1).detach().abs() + c["bc_weight"] * cloning
        losses = {"policy": policy_loss, "q": q_loss}
        for name, loss in losses.items():  # one after the other: the policy's loss reaches Q and mixer too
            self.descend(name, loss, c["grad_clip"])
        polyak(self.q_target, self.q, c["tau"])
        polyak(self.mixer_target, self.mixer, c["tau"])
        return {name: loss.detach() for name, loss in losses.items()}


def places() -> dict[str, tuple[str, list[Any]]]:
    """The module's networks: their place in the file, and their layers."""
    found: dict[str, tuple[str, list[Any]]] = {"policy": ("policy", GAUSSIAN)}
    for kind in ("", "_target"):
        found[f"q{kind}"] = (f"q{kind}", MLP)
        found |= {f"mixer{kind}.{net}": (f"mixer{kind}/{part}", layers) for net, (part, layers) in HYPERNETS.items()}
    return found


def test_losses_and_parameters_of_twenty_updates():
    golden = golden_of("facmac_b3c")
    module = B3C(golden).double()
    for net, (place, layers) in places().items():
        stack: Any = module.get_submodule(net)
        stack.theta.data[0] = theta(golden, f"initial/{place}", layers)
    module.configure_optimizers()
    for k in range(20):
        b = {key.removeprefix("batch/"): x[k : k + 1] for key, x in golden.items() if key.startswith("batch/")}
        later = {"obs": b["next_obs"], "state": b["next_state"]}
        now = {key: b[key] for key in ("obs", "state", "action", "reward")}
        batch = TensorDict({**now, "terminated": 1 - b["mask"], "next": later}, b["reward"].shape[:2])
        noise = {name: golden[f"noise/{name}"][k : k + 1].transpose(1, 2) for name in ("next", "policy")}
        for name, loss in module.update(batch, noise).items():
            assert loss.item() == pytest.approx(golden[f"loss/{name}_loss"][k].item(), rel=0, abs=1e-9), (k, name)
    for net, (place, layers) in places().items():
        stack = module.get_submodule(net)
        torch.testing.assert_close(stack.theta[0], theta(golden, f"final/{place}", layers), rtol=0, atol=1e-9)
