"""OMIGA's 20 updates for discrete actions, in float64, against vectors recorded from the authors' released code."""

from typing import Any

import pytest
import torch
from cases.omiga_discrete import OMIGA_DISCRETE_SMALL
from released import golden_of, theta
from tensordict import TensorDict
from torch import Tensor

from data.schema import return_to_go
from data.synthetic import local_spec
from lit_modules.omiga_discrete import OMIGADiscrete

MLP: list[Any] = ["hidden0", "hidden1", "out"]
LAYERS = {"v": MLP, "q": MLP, "policy": MLP, "mixer": ["hidden0", ("weight_head", "bias_head")]}
NETS = ("v", "q", "policy", "mixer", "v_target", "q_target", "mixer_target")
RUNS = {"return_to_go": "", "step": "step/"}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return golden_of("omiga_discrete")


def module_of(golden: dict[str, Tensor], **switches: Any) -> OMIGADiscrete:
    c = {key.removeprefix("config/"): value.item() for key, value in golden.items() if key.startswith("config/")}
    n_updates, batch, n, o = golden["batch/obs"].shape
    config = OMIGA_DISCRETE_SMALL.replace(
        n_updates=n_updates, batch_size=batch, hidden=[16, 16], mixer_hidden=[8], lr=c["lr"], gamma=c["gamma"],
        max_grad_norm=c["grad_clip"], tau=c["tau"], alpha=c["alpha"], **switches,
    )  # fmt: skip
    spec = local_spec(n, o, golden["batch/legal_actions"].shape[-1], golden["batch/state"].shape[-1])
    module = OMIGADiscrete(config, [0], spec).double()
    for net in NETS:
        getattr(module, net).theta.data.copy_(theta(golden, f"initial/{net}", LAYERS[net.removesuffix("_target")]))
    module.configure_optimizers()
    return module


def batch_of(golden: dict[str, Tensor], k: int) -> TensorDict:
    """As a file without ends gives it: the done rule has to find them in the states."""
    b = {key.removeprefix("batch/"): value[k : k + 1] for key, value in golden.items() if key.startswith("batch/")}
    never, later = torch.zeros(b["mask"].shape, dtype=torch.bool), {key: b[f"next_{key}"] for key in ("obs", "state")}
    now = {key: b[key] for key in ("obs", "state", "action")} | {"terminated": never, "truncated": never}
    rewards = {"reward": b["reward_step"], "return_to_go": b["reward"]}
    return TensorDict({**now, **rewards, "next": later}, b["reward"].shape[:2])


@pytest.mark.parametrize("reward", RUNS)
def test_losses_and_parameters_of_twenty_updates(golden, reward):
    module, run = module_of(golden, reward=reward), RUNS[reward]
    for k in range(20):
        batch = batch_of(golden, k)
        assert torch.equal(module.unpack(batch)["mask"], golden["batch/mask"][k : k + 1].squeeze(-1))
        found = module.update_train(batch, {})
        for name in ("q", "v", "policy"):
            assert found[f"loss/{name}"].item() == pytest.approx(
                golden[f"{run}loss/{name}_loss"][k].item(), rel=1e-9, abs=1e-9
            )
    for net in NETS:
        expected = theta(golden, f"{run}final/{net}", LAYERS[net.removesuffix("_target")])
        torch.testing.assert_close(getattr(module, net).theta[0], expected, rtol=0, atol=1e-9)


def test_returns_to_go_are_those_of_the_released_loader(golden):
    length, reward = golden["episodes/length"], golden["episodes/reward"]
    episode = torch.arange(len(length)).repeat_interleave(length)
    step = torch.arange(len(reward)) - (length.cumsum(0) - length)[episode]
    stored = TensorDict({"reward": reward, "episode": episode, "step": step}, [len(reward)])
    found = return_to_go(stored)[golden["batch/index"]]
    torch.testing.assert_close(found, golden["batch/reward"], rtol=0, atol=1e-9)
