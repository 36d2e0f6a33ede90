"""The stacked OMIGA against the plainly written one: the same losses and parameters after many updates, in float64."""

import pytest
import torch
from plain_omiga import PlainOMIGA
from torch import nn

from lit_modules.common.mlp import StackedMLP
from lit_modules.omiga import OMIGA
from reproduce.regression.fingerprints import CONTINUOUS, OMIGA_CONFIG, fitting

NETS = ("v", "q", "policy", "mixer", "v_target", "q_target", "mixer_target")


def load(net: StackedMLP, seed: int, into: nn.Sequential) -> None:
    """Put one row of a stack into a plain network."""
    parts = net.theta.detach()[seed].split(net.split)
    linears = [layer for layer in into if isinstance(layer, nn.Linear)]
    for k, ((fan_in, out), linear) in enumerate(zip(net.layers, linears, strict=True)):
        linear.weight.data = parts[2 * k].view(fan_in, out).T.clone()  # the optimizers hold the same Parameters
        linear.bias.data = parts[2 * k + 1].clone()


def flat(net: nn.Sequential) -> torch.Tensor:
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    return torch.cat([x.flatten() for layer in linears for x in (layer.weight.T, layer.bias)])


def test_stacked_and_plain_agree():
    stacked = OMIGA(OMIGA_CONFIG, [0, 1], CONTINUOUS).double()
    stacked.configure_optimizers()
    data = [fitting(stacked, 16), fitting(stacked, 32)[16:]]
    plains = []
    for seed in range(2):
        plain = PlainOMIGA(OMIGA_CONFIG, 3, 4, 2)
        for name in NETS:
            load(getattr(stacked, name), seed, getattr(plain, name))
        plains.append(plain)
    for _ in range(30):
        found = stacked.update_train(torch.stack(data), {})
        for seed, (plain, d) in enumerate(zip(plains, data, strict=True)):
            b = {key: d[key] for key in ("obs", "state", "action", "reward")}
            b |= {"next_obs": d["next", "obs"], "next_state": d["next", "state"], "mask": 1 - d["terminated"].double()}
            q, v, policy = plain.update(b)
            for name, value in (("q", q), ("v", v), ("policy", policy)):
                assert found[f"loss/{name}"][seed].item() == pytest.approx(value, rel=1e-9)
    for seed, plain in enumerate(plains):
        for name in NETS:
            torch.testing.assert_close(
                getattr(stacked, name).theta[seed], flat(getattr(plain, name)), rtol=0, atol=1e-9
            )
