"""ComaDICE's 20 updates on fixed batches, in float64, against vectors recorded from the authors' released code."""

import pytest
import torch
from released import golden_of, theta
from tensordict import TensorDict

from data.synthetic import continuous_spec
from lit_modules.comadice import ComaDICE, ComaDICEConfig

LAYERS = {
    "v": ["f1", "f2", "f3"],
    "q": ["f1", "f2", "f3"],
    "policy": ["f1", "f2", ("mu", "sigma")],
    "mixer": ["f_v", ("w_v", "b_v")],
}
NETS = ("v", "q", "policy", "mixer", "v_target", "q_target", "mixer_target")


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return golden_of("comadice")


def module_of(golden: dict[str, torch.Tensor]) -> ComaDICE:
    c = {key.removeprefix("config/"): value.item() for key, value in golden.items() if key.startswith("config/")}
    n_updates, batch, n, o = golden["batch/obs"].shape
    config = ComaDICEConfig(
        name="comadice", n_updates=n_updates, batch_size=batch, hidden=[16, 16], mixer_hidden=[64], lr=c["lr"],
        max_grad_norm=c["grad_clip"], gamma=c["gamma"], tau=c["tau"], alpha=c["alpha"], divergence="soft_chisquare",
        total_weight=True, action_scale=c["action_scale"], repeat_after=None,
    )  # fmt: skip
    module = ComaDICE(config, [0], continuous_spec(n, o, golden["batch/action"].shape[-1])).double()
    for net in NETS:
        getattr(module, net).theta.data.copy_(theta(golden, f"initial/{net}", LAYERS[net.removesuffix("_target")]))
    module.configure_optimizers()
    return module


def batch_of(golden: dict[str, torch.Tensor], k: int) -> TensorDict:
    b = {key.removeprefix("batch/"): value[k : k + 1] for key, value in golden.items() if key.startswith("batch/")}
    next_part = {"obs": b["next_obs"], "state": b["next_state"]}
    now = {key: b[key] for key in ("obs", "state", "action", "reward", "is_init")}
    return TensorDict({**now, "terminated": 1 - b["mask"], "next": next_part}, b["reward"].shape[:2])


def test_losses_and_parameters_of_twenty_updates(golden):
    """Some batches hold no first state, and one holds nothing else. The released policy loss rounds the squashing's
    density, which is constant, otherwise."""
    module = module_of(golden)
    firsts = golden["batch/is_init"].sum((1, 2))
    assert firsts.min() == 0
    assert firsts.max() == golden["batch/is_init"].shape[1]
    for k in range(20):
        found = module.update_train(batch_of(golden, k), {})
        assert found["loss/q"].item() == pytest.approx(golden["loss/q_loss"][k].item(), rel=1e-9)
        assert found["loss/policy"].item() == pytest.approx(golden["loss/actor_loss"][k].item(), rel=1e-5)
    for net in NETS:
        expected = theta(golden, f"final/{net}", LAYERS[net.removesuffix("_target")])
        torch.testing.assert_close(getattr(module, net).theta[0], expected, rtol=0, atol=1e-9)
    for name in ("lambda_v", "lambda_e"):
        torch.testing.assert_close(getattr(module, name).squeeze(), golden[f"final/{name}"], rtol=0, atol=1e-9)
        assert golden[f"final/{name}"] > 0.01
