"""CFCQL's and MACQL's 20 rounds, in float64, against vectors recorded from the authors' released code."""

from dataclasses import replace

import pytest
import torch
from released import golden_of
from tensordict import TensorDict

from data.synthetic import continuous_spec
from lit_modules.cfcql import CFCQL, CFCQLConfig

NAMES = ("cfcql_mpe", "cfcql_mujoco", "macql_mujoco")
LAYERS = ("hidden0", "hidden1", "out")
HEADS = {"policy": ("",), "critic": ("q1/", "q2/")}
NETS = ("policy", "critic", "policy_target", "critic_target")
Golden = dict[str, torch.Tensor]


def read(name: str) -> Golden:
    return golden_of(name)


def theta(golden: Golden, when: str, net: str) -> torch.Tensor:
    """The released layers as rows of a stack: weights transposed, head by head, then the norm."""
    at, parts = f"{when}/{net}", []
    for head in HEADS[net.removesuffix("_target")]:
        for layer in LAYERS:
            weight, bias = (golden[f"{at}/{head}{layer}/{kind}"] for kind in ("weight", "bias"))
            parts += [weight.transpose(-1, -2).flatten(-2), bias]
    return torch.cat([*parts, golden[f"{at}/norm/weight"], golden[f"{at}/norm/bias"]], -1)


def module_of(golden: Golden) -> CFCQL:
    c = {key.removeprefix("config/"): value for key, value in golden.items() if key.startswith("config/")}
    c = {key: value.item() for key, value in c.items() if value.ndim == 0}
    n_updates, n_critic, n, batch, o = golden["batch/obs"].shape
    mujoco = bool(c["mujoco"])
    config = CFCQLConfig(
        name="cfcql", n_updates=n_updates, critic_updates=n_critic, batch_size=batch, repeat_after=None,
        hidden=[16, 16], lr=c["lr"], max_grad_norm=c["grad_clip"], gamma=c["gamma"], tau=c["tau"],
        state="stored" if mujoco else "obs", target_noise=c["target_noise"], action_penalty=c["action_penalty"],
        cql_alpha=c["cql_alpha"], cql_actions=c["cql_samples"], cql_temperature=c["lse_temp"],
        cql_policy_sources=mujoco, cql_noise=c["cql_noise"], data_noise=c["data_noise"],
        counterfactual_critic=bool(c["counterfactual_cql"]), counterfactual_policy=bool(c["counterfactual_policy"]),
        swapped_densities=True,
    )  # fmt: skip
    spec = continuous_spec(n, o, golden["batch/action"].shape[-1])
    module = CFCQL(config, [0], replace(spec, state_size=golden["batch/state"].shape[-1])).double()
    for net in NETS:
        getattr(module, net).theta.data[0] = theta(golden, "initial", net)
        for kind in ("running_mean", "running_var"):
            getattr(getattr(module, net), kind)[0] = golden[f"initial/{net}/norm/{kind}"]
    module.configure_optimizers()
    return module


def batch_of(golden: Golden, k: int) -> TensorDict:
    """[1, U * B]; the state is agent 0's copy."""
    b = {key.removeprefix("batch/"): value[k] for key, value in golden.items() if key.startswith("batch/")}
    n_critic, n, size = b["obs"].shape[:3]

    def per_agent(x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2).flatten(0, 1).unsqueeze(0)  # (1, U * B, N, ..)

    def copies(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.flatten(0, 1)] + [torch.full_like(x.flatten(0, 1), torch.nan)] * (n - 1), 1).unsqueeze(0)

    later = {"obs": per_agent(b["next_obs"]), "action": per_agent(b["next_action"]), "state": copies(b["next_state"])}
    now = {"obs": per_agent(b["obs"]), "action": per_agent(b["action"]), "state": copies(b["state"])}
    ends = {"rewards": copies(b["reward"]), "terminated": b["done"].reshape(1, -1, 1)}
    return TensorDict({**now, **ends, "next": later}, [1, n_critic * size])


def noise_of(golden: Golden, k: int) -> Golden:
    of_noise = {key.removeprefix("noise/"): value for key, value in golden.items() if key.startswith("noise/")}
    return {key.removeprefix("cql_"): value[k : k + 1] for key, value in of_noise.items()}


def errors(name: str) -> dict[str, float]:
    """Largest differences: losses, relative; parameters and running statistics after 20 rounds."""
    golden = read(name)
    module = module_of(golden)
    seen: dict[str, list[torch.Tensor]] = {}
    descend = module.descend

    def record(group: str, loss: torch.Tensor, *args) -> None:
        seen.setdefault(group, []).append(loss.detach()[0])
        descend(group, loss, *args)

    module.descend = record
    for k in range(20):
        module.update_train(batch_of(golden, k), noise_of(golden, k))
    found = {}
    for group, values in seen.items():
        expected = golden[f"loss/{group}_loss"].flatten()
        found[f"{group}_loss"] = ((torch.stack(values) - expected) / expected.abs().clamp(min=1)).abs().max().item()
    for net in NETS:
        found[net] = (getattr(module, net).theta[0] - theta(golden, "final", net)).abs().max().item()
        for kind in ("running_mean", "running_var"):
            moved = getattr(getattr(module, net), kind)[0] - golden[f"final/{net}/norm/{kind}"]
            found[f"{net}.{kind}"] = moved.abs().max().item()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_losses_parameters_and_statistics_of_twenty_rounds(name):
    found = errors(name)
    assert len(found) == 2 + 3 * len(NETS)
    assert max(found.values()) <= 1e-10, found
