"""OMIGA's 20 updates on fixed batches, in float64, against vectors recorded from the authors' released code."""

import pytest
import torch
from released import golden_of, theta
from tensordict import TensorDict

from data.synthetic import continuous_spec
from lit_modules.omiga import OMIGA, OMIGAConfig

LAYERS = {
    "v": ["hidden0", "hidden1", "out"],
    "q": ["hidden0", "hidden1", "out"],
    "policy": ["hidden0", "hidden1", ("mean", "log_std")],
    "mixer": ["hidden0", ("weight_head", "bias_head")],
}


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return golden_of("omiga_continuous")


def module_of(golden: dict[str, torch.Tensor]) -> OMIGA:
    c = {key.removeprefix("config/"): value.item() for key, value in golden.items() if key.startswith("config/")}
    n_updates, batch, n, o = golden["batch/obs"].shape
    config = OMIGAConfig(
        name="omiga", n_updates=n_updates, batch_size=batch, hidden=[16, 16], mixer_hidden=[8], lr=c["lr"],
            max_grad_norm=c["grad_clip"], gamma=c["gamma"], tau=c["tau"], alpha=c["alpha"],
        targets="all", z_limit=10.0, rescale=True, simultaneous=True, shared=True,
    )  # fmt: skip
    module = OMIGA(config, [0], continuous_spec(n, o, golden["batch/action"].shape[-1])).double()
    for net in ("v", "q", "policy", "mixer", "v_target", "q_target", "mixer_target"):
        getattr(module, net).theta.data.copy_(theta(golden, f"initial/{net}", LAYERS[net.removesuffix("_target")]))
    module.configure_optimizers()
    return module


def batch_of(golden: dict[str, torch.Tensor], k: int) -> TensorDict:
    b = {key.removeprefix("batch/"): value[k : k + 1] for key, value in golden.items() if key.startswith("batch/")}
    next_part = {"obs": b["next_obs"], "state": b["next_state"]}
    now = {key: b[key] for key in ("obs", "state", "action", "reward")}
    return TensorDict({**now, "terminated": 1 - b["mask"], "next": next_part}, b["reward"].shape[:2])


def test_losses_and_parameters_of_twenty_updates(golden):
    module = module_of(golden)
    for k in range(20):
        found = module.update_train(batch_of(golden, k), {})
        for name in ("q", "v", "policy"):
            assert found[f"loss/{name}"].item() == pytest.approx(
                golden[f"loss/{name}_loss"][k].item(), rel=1e-9, abs=1e-9
            )
    for net in ("v", "q", "policy", "mixer", "v_target", "q_target", "mixer_target"):
        expected = theta(golden, f"final/{net}", LAYERS[net.removesuffix("_target")])
        torch.testing.assert_close(getattr(module, net).theta[0], expected, rtol=0, atol=1e-9)
