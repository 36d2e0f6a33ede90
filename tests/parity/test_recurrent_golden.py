"""CFCQL, MACQL and ICQ-MA with recurrent agents, in float64, against vectors recorded from released code."""

from typing import Any

import pytest
import torch
from cases.cfcql_discrete import CFCQL_DISCRETE_SMALL
from cases.icq_discrete import ICQ_DISCRETE_SMALL
from released import golden_of
from tensordict import TensorDict
from torch import Tensor, nn

from data.common.spec import Discrete, WorldSpec
from lit_modules.cfcql_discrete import CFCQLDiscrete
from lit_modules.common.schedule import Chunk
from lit_modules.icq_discrete import ICQDiscrete

Golden = dict[str, Tensor]
AGENT = [
    "fc1/weight",
    "fc1/bias",
    "rnn/weight_ih",
    "rnn/bias_ih",
    "rnn/weight_hh",
    "rnn/bias_hh",
    "fc2/weight",
    "fc2/bias",
]
MLP = {"w1": ("hyper_w1", (0, 2)), "b1": ("hyper_b1", (0,)), "w2": ("hyper_w2", (0, 2)), "b2": ("hyper_b2", (0, 2))}
QMIX = {
    part: [f"{net}/{k}/{kind}" for k in layers for kind in ("weight", "bias")] for part, (net, layers) in MLP.items()
}


def load(name: str) -> Golden:
    return golden_of(name)


def row(golden: Golden, place: str, layers: list[str]) -> Tensor:
    """Released layers as one row of a stack: weights transposed."""
    values = [golden[f"{place}/{layer}"] for layer in layers]
    return torch.cat([(x.T if x.ndim == 2 else x).flatten() for x in values])


def spec_of(golden: Golden) -> WorldSpec:
    n_rows, n, o = golden["batch/obs"].shape[2:]
    n_actions, state = golden["batch/legal_actions"].shape[-1], golden["batch/state"].shape[-1]
    return WorldSpec(n, o, state, Discrete(n_actions), episode_limit=n_rows - 1)


def batch_of(golden: Golden, k: int) -> TensorDict:
    """Released rows 0..T as T transitions; one exists where the row after it is filled."""
    b = {key.removeprefix("batch/"): value[k : k + 1] for key, value in golden.items() if key.startswith("batch/")}
    seen = ("obs", "state", "legal_actions", "action")
    now = {key: b[key][:, :, :-1] for key in (*seen, "reward", "terminated")}
    later = {key: b[key][:, :, 1:] for key in seen}
    return TensorDict({**now, "mask": b["filled"][:, :, 1:], "next": later}, now["reward"].shape[:3])


def compare(golden: Golden, when: str, module: nn.Module, nets: dict[str, tuple[str, list[str]]]) -> None:
    for net, (place, layers) in nets.items():
        stack: Any = module.get_submodule(net)
        torch.testing.assert_close(stack.theta[0], row(golden, f"{when}/{place}", layers), rtol=0, atol=1e-9)


def fill(golden: Golden, module: nn.Module, nets: dict[str, tuple[str, list[str]]]) -> None:
    for net, (place, layers) in nets.items():
        stack: Any = module.get_submodule(net)
        stack.theta.data.copy_(row(golden, f"initial/{place}", layers))


CFCQL_NETS = {
    **{net: (net, AGENT) for net in ("agent", "agent_target")},
    **{f"{net}.{part}": (net, QMIX[part]) for net in ("mixer", "mixer_target") for part in QMIX},
}
RUNS: dict[str, dict[str, Any]] = {"": {}, "argmax/": {"temperature": 100.0}, "macql/": {"conservative": "joint"}}


@pytest.fixture(scope="module")
def cfcql() -> Golden:
    return load("cfcql_discrete")


def cfcql_of(golden: Golden, **changes: Any) -> CFCQLDiscrete:
    c = {key.removeprefix("config/"): value.item() for key, value in golden.items() if key.startswith("config/")}
    config = CFCQL_DISCRETE_SMALL.replace(
        n_behavior_updates=20, n_updates=20, batch_size=8, gru_hidden=12, mixer_embed=6, hypernet_hidden=10, lr=c["lr"],
        max_grad_norm=c["grad_clip"], gamma=c["gamma"], td_lambda=c["td_lambda"], alpha=c["alpha"],
        target_update_interval=int(c["target_update_interval"]), episodes_per_update=int(c["episodes_per_update"]),
        **{"temperature": c["temperature"]} | changes,
    )  # fmt: skip
    module = CFCQLDiscrete(config, [0], spec_of(golden)).double()
    fill(golden, module, {**CFCQL_NETS, "behavior": ("behavior", AGENT)})
    module.configure_optimizers()
    return module


def test_the_behavior_model_of_cfcql(cfcql):
    module = cfcql_of(cfcql)
    for k in range(20):
        found = module.update_behavior(batch_of(cfcql, k), {})
        assert found["loss/behavior"].item() == pytest.approx(cfcql["loss/behavior"][k].item(), rel=1e-9, abs=1e-9)
    compare(cfcql, "final", module, {"behavior": ("behavior", AGENT)})


@pytest.mark.parametrize("run", RUNS)
def test_losses_and_parameters_of_cfcql(cfcql, run):
    module, n = cfcql_of(cfcql, **RUNS[run]), len(cfcql[f"{run}loss/td"])
    module.behavior.theta.data.copy_(row(cfcql, "final/behavior", AGENT))
    copies = module.draw(Chunk("train", 20, n, 8))["copy"]
    assert copies.sum() >= 1  # targets are copied within
    for k in range(n):
        noise = {"copy": copies[k]}
        if run == "macql/":
            noise["joint"] = cfcql["macql/random_actions"][k : k + 1]
        found = module.update_train(batch_of(cfcql, k), noise)
        for key, name in (("q", "td"), ("conservative", "cql")):
            assert found[f"loss/{key}"].item() == pytest.approx(
                cfcql[f"{run}loss/{name}"][k].item(), rel=1e-9, abs=1e-9
            )
    compare(cfcql, f"{run}final", module, CFCQL_NETS)


ICQ_NETS = {"agent": ("agent", AGENT)} | {
    f"mixer{slow}.{part}": (f"mixer{slow}", [f"{place}/weight", f"{place}/bias"])
    for slow in ("", "_target")
    for part, place in (("w1", "hyper_w_1"), ("w2", "hyper_w_final"))
}
CRITIC = ["fc1/weight", "fc1/bias", "fc2/weight", "fc2/bias", "heads/weight", "heads/bias"]
CRITICS = {net: (net, CRITIC) for net in ("critic", "critic_target")}


@pytest.fixture(scope="module")
def icq() -> Golden:
    """With the critic's two last layers, an advantage for each action and a value, as one."""
    golden = load("icq_discrete")
    for when in ("initial", "final"):
        for net in CRITICS:
            for kind in ("weight", "bias"):
                parts = [golden[f"{when}/{net}/{layer}/{kind}"] for layer in ("fc3", "fc_v")]
                golden[f"{when}/{net}/heads/{kind}"] = torch.cat(parts)
    return golden


def test_losses_and_parameters_of_icq(icq):
    c = {key.removeprefix("config/"): value.item() for key, value in icq.items() if key.startswith("config/")}
    config = ICQ_DISCRETE_SMALL.replace(
        n_updates=20, batch_size=8, gru_hidden=12, critic_hidden=[16, 16], mixer_embed=6, max_grad_norm=c["grad_clip"],
        target_temperature=c["critic_beta"], policy_temperature=c["policy_beta"],
        target_update_interval=int(c["target_update_interval"]),
        **{key: c[key] for key in ("lr", "critic_lr", "rms_alpha", "rms_eps", "gamma", "td_lambda")},
    )  # fmt: skip
    module = ICQDiscrete(config, [0], spec_of(icq)).double()
    fill(icq, module, ICQ_NETS | CRITICS)
    module.configure_optimizers()
    for k in range(20):
        found = module.update_train(batch_of(icq, k), {"epsilon": icq["batch/epsilon"][k]})
        assert found["loss/critic"].item() == pytest.approx(icq["loss/critic"][k].mean().item(), rel=1e-9, abs=1e-9)
        assert found["loss/policy"].item() == pytest.approx(icq["loss/policy"][k].item(), rel=1e-9, abs=1e-9)
    compare(icq, "final", module, ICQ_NETS | CRITICS)


def test_the_exploration_of_icq_is_the_released_one():
    c = {"epsilon_start": 0.5, "epsilon_end": 0.05, "epsilon_updates": 5000, "epsilon_hold": 200}
    module = ICQDiscrete(ICQ_DISCRETE_SMALL.replace(**c), [0], WorldSpec(2, 3, 4, Discrete(3), episode_limit=5))
    k = torch.tensor([0, 199, 200, 2600, 5000, 40_000])
    assert module.epsilon(k).tolist() == pytest.approx([0.5, 0.5, 0.482, 0.266, 0.05, 0.05])
    drawn = module.draw(Chunk("train", 199, 3, 8))["epsilon"]  # it is tested, and eps lowered, after update 200
    assert drawn.tolist() == pytest.approx([0.5, 0.5, 0.482])
    assert module.draw(Chunk("train", 0, 2, 8))["epsilon"].tolist() == [0.5, 0.5]
