"""OMAR's and TD3 + CQL's 20 updates, in float64, against vectors recorded from the authors' released code."""

import pytest
import torch
from released import golden_of
from tensordict import TensorDict

from data.synthetic import continuous_spec
from lit_modules.omar import OMAR, OMARConfig

NAMES = ("omar_mpe", "omar_mujoco", "cql_td3_mpe", "cql_td3_mujoco")
LAYERS = ("hidden0", "hidden1", "out")
HEADS = {"policy": ("",), "critic": ("q1/", "q2/")}
NETS = ("policy", "critic", "policy_target", "critic_target")


def read(name: str) -> dict[str, torch.Tensor]:
    return golden_of(name)


def theta(golden: dict[str, torch.Tensor], when: str, net: str) -> torch.Tensor:
    """The released layers as rows [N, P] of a stack: weights transposed, head by head, then the norm."""
    at, parts = f"{when}/{net}", []
    for head in HEADS[net.removesuffix("_target")]:
        for layer in LAYERS:
            weight, bias = (golden[f"{at}/{head}{layer}/{kind}"] for kind in ("weight", "bias"))
            parts += [weight.transpose(-1, -2).flatten(-2), bias]
    return torch.cat([*parts, golden[f"{at}/norm/weight"], golden[f"{at}/norm/bias"]], -1)


def module_of(golden: dict[str, torch.Tensor]) -> OMAR:
    c = {key.removeprefix("config/"): value.item() for key, value in golden.items() if key.startswith("config/")}
    n_updates, n, batch, o = golden["batch/obs"].shape
    mujoco = bool(c["mujoco"])
    config = OMARConfig(
        name="omar", n_updates=n_updates, batch_size=batch, repeat_after=None, hidden=[16, 16], lr=c["lr"],
        max_grad_norm=c["grad_clip"], gamma=c["gamma"], tau=c["tau"], action_penalty=c["action_penalty"],
        cql_alpha=c["cql_alpha"], cql_actions=c["cql_samples"], cql_temperature=c["lse_temp"],
        cql_policy_sources=mujoco, cql_noise=c["cql_noise"], policy_log_density=False, omar=bool(c["omar"]),
        omar_coe=c["omar_coe"], sampler="elites" if mujoco else "softmax", sampler_rounds=c["omar_iters"],
        sampler_actions=c["omar_samples"], sampler_elites=c["omar_elites"], sampler_sigma=c["omar_sigma"],
    )  # fmt: skip
    module = OMAR(config, [0], continuous_spec(n, o, golden["batch/action"].shape[-1])).double()
    for net in NETS:
        getattr(module, net).theta.data[0] = theta(golden, "initial", net)
        for kind in ("running_mean", "running_var"):
            getattr(getattr(module, net), kind)[0] = golden[f"initial/{net}/norm/{kind}"]
    module.configure_optimizers()
    return module


def batch_of(golden: dict[str, torch.Tensor], k: int) -> TensorDict:
    """[1, N * B]: the rows of each agent's minibatch hold its own columns; those of the others are never read."""
    n, size = golden["batch/reward"][k].shape

    def rows(key: str) -> torch.Tensor:
        own = golden[f"batch/{key}"][k]  # (N, B, ..)
        return torch.stack([own] * n, 2).flatten(0, 1).unsqueeze(0)  # (1, N * B, N, ..)

    return TensorDict(
        {
            "obs": rows("obs"), "action": rows("action"), "rewards": rows("reward"),
            "terminated": golden["batch/done"][k].reshape(1, -1, 1), "next": {"obs": rows("next_obs")},
        },
        [1, n * size],
    )  # fmt: skip


def noise_of(golden: dict[str, torch.Tensor], k: int) -> dict[str, torch.Tensor]:
    drawn = {
        key.removeprefix("noise/").removeprefix("cql_"): v[k : k + 1] for key, v in golden.items() if "noise/" in key
    }
    if "sampler" in drawn:
        drawn["sampler"] = drawn["sampler"].transpose(3, 4)  # (1, N, rounds, B, M, A)
    return drawn


@pytest.mark.parametrize("name", NAMES)
def test_losses_parameters_and_statistics_of_twenty_updates(name):
    golden = read(name)
    module = module_of(golden)
    seen: dict[str, torch.Tensor] = {}
    descend = module.descend

    def record(group: str, loss: torch.Tensor, *args) -> None:
        seen[group] = loss.detach()[0]  # of each agent
        descend(group, loss, *args)

    module.descend = record
    for k in range(20):
        module.update_train(batch_of(golden, k), noise_of(golden, k))
        for group in ("critic", "policy"):
            torch.testing.assert_close(seen[group], golden[f"loss/{group}_loss"][k], rtol=1e-11, atol=1e-11)
    for net in NETS:
        found = getattr(module, net)
        torch.testing.assert_close(found.theta[0], theta(golden, "final", net), rtol=0, atol=1e-9)
        for kind in ("running_mean", "running_var"):
            expected = golden[f"final/{net}/norm/{kind}"]
            torch.testing.assert_close(getattr(found, kind)[0], expected, rtol=0, atol=1e-10)
