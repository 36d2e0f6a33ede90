"""20 updates of the baselines on OMIGA's networks, in float64, against vectors recorded from released code."""

from typing import Any

import pytest
import torch
from released import Golden, golden_of, theta
from tensordict import TensorDict
from torch import Tensor

from data.synthetic import continuous_spec
from lit_modules import algorithm
from reproduce.regression.cases import cases

MLP = ["hidden0", "hidden1", "out"]
GAUSSIAN = ["hidden0", "hidden1", ("mean", "log_std")]
MIXER = ["hidden0", ("weight_head", "bias_head")]
ENCODER, DECODER = ["enc0", "enc1", ("mean", "log_std")], ["dec0", "dec1", "out"]
TWINS = {"q1": ("q/q1", MLP), "q2": ("q/q2", MLP), "mixer": ("mixer", MIXER)}
NETS: dict[str, dict[str, tuple[str, list[Any]]]] = {  # the module's network: its place in the file, its layers
    "cql": {"q": ("q", MLP), "policy": ("policy", GAUSSIAN), "mixer": ("mixer", MIXER)},
    "omar": {"q": ("q", MLP), "policy": ("policy", GAUSSIAN), "mixer": ("mixer", MIXER)},
    "icq": {**TWINS, "policy": ("policy", GAUSSIAN)},
    "bcq": {**TWINS, "policy": ("policy", MLP), "encoder": ("vae", ENCODER), "decoder": ("vae", DECODER)},
}
TARGETS = {
    "cql": ("q", "mixer"),
    "omar": ("q", "mixer"),
    "icq": ("q1", "q2", "mixer"),
    "bcq": ("q1", "q2", "mixer", "policy"),
}
OF_CQL = {"conservatism": "cql_alpha", "n_actions": "cql_samples"}
OF_OMAR = {"coefficient": "omar_coe", "rounds": "omar_iters", "samples": "omar_samples", "elites": "omar_elites"}
OF_ICQ = {key: key for key in ("target_temperature", "policy_temperature")} | {"td_lambda": "decay"}
OF_BCQ = {"phi": "phi", "soft_min": "soft_min", "next_samples": "next_samples", "kl_weight": "kl_weight"}
SETTINGS = {"cql": OF_CQL, "omar": OF_CQL | OF_OMAR | {"sigma": "omar_sigma"}, "icq": OF_ICQ, "bcq": OF_BCQ}


def load(name: str) -> Golden:
    return golden_of(f"omiga_{name}")


def places(name: str) -> dict[str, tuple[str, list[Any]]]:
    """The networks and their slow copies: q1_target lies in q_target/q1."""

    def slow(place: str) -> str:
        first, *rest = place.split("/")
        return "/".join([f"{first}_target", *rest])

    return NETS[name] | {f"{net}_target": (slow(NETS[name][net][0]), NETS[name][net][1]) for net in TARGETS[name]}


def module_of(golden: Golden, name: str) -> Any:
    config = cases()[f"{name}_ma"].config
    taken = {"gamma": "gamma", "tau": "tau", "lr": "lr", "max_grad_norm": "grad_clip", **SETTINGS[name]}
    stated = {key: golden[f"config/{theirs}"].item() for key, theirs in taken.items()}
    stated = {key: type(getattr(config, key))(value) for key, value in stated.items()}
    n_updates, batch, n, o = golden["batch/obs"].shape
    config = config.replace(n_updates=n_updates, batch_size=batch, hidden=[16, 16], mixer_hidden=[8], **stated)
    if name == "bcq":
        config = config.replace(vae_hidden=[12, 12])
    module = algorithm(config.name)[0](config, [0], continuous_spec(n, o, golden["batch/action"].shape[-1])).double()
    for net, (place, layers) in places(name).items():
        getattr(module, net).theta.data.copy_(theta(golden, f"initial/{place}", layers))
    module.configure_optimizers()
    return module


def batch_of(golden: Golden, k: int) -> TensorDict:
    b = {key.removeprefix("batch/"): value[k : k + 1] for key, value in golden.items() if key.startswith("batch/")}
    later = {key: b[f"next_{key}"] for key in ("obs", "state", "action")}
    now = {key: b[key] for key in ("obs", "state", "action", "reward")}
    return TensorDict({**now, "terminated": 1 - b["mask"], "next": later}, b["reward"].shape[:2])


def noise_of(golden: Golden, k: int) -> dict[str, Tensor]:
    """The file's draws (B, M, N, ..) as the modules read them: [1, N, B, M, ..]; the sampler's rounds before M."""
    n = golden["batch/obs"].shape[2]
    found = {}
    for key, value in golden.items():
        if key.startswith("noise/"):
            name, x = key.removeprefix("noise/").removeprefix("cql_"), value[k]
            if name == "sampler":  # (rounds, M, B, N, A)
                x = x.permute(3, 2, 0, 1, 4)
            else:
                x = x.permute(1, 0, 2) if x.ndim == 3 else x.permute(2, 0, 1, 3)
            assert len(x) == n
            name = "later" if key == "noise/cql_next" else name
            found[name] = x.unsqueeze(0)
    return found


def run(name: str) -> tuple[Golden, Any, float]:
    """(the file, the module after 20 updates, the largest error of a loss)."""
    golden, worst = load(name), 0.0
    module = module_of(golden, name)
    losses = [key for key in golden if key.startswith("loss/")]
    for k in range(20):
        found = module.update_train(batch_of(golden, k), noise_of(golden, k))
        for key in losses:
            worst = max(worst, (found[key.removesuffix("_loss")] - golden[key][k]).abs().item())
    return golden, module, worst


@pytest.mark.parametrize("name", NETS)
def test_losses_and_parameters_of_twenty_updates(name):
    golden, module, worst = run(name)
    assert worst < 1e-9
    compared = set()
    for net, (place, layers) in places(name).items():
        torch.testing.assert_close(
            getattr(module, net).theta[0], theta(golden, f"final/{place}", layers), rtol=0, atol=1e-9
        )
        compared.add(f"{net}.theta")
    assert compared == set(cases()[f"{name}_ma"].state)
