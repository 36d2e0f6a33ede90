"""Every stacked algorithm against its plain version of tests/cases: the same losses and parameters in float64."""

from functools import reduce

import pytest
import torch
from cases import plain_batch
from torch import Tensor, nn

from lit_modules.common.schedule import Chunk
from reproduce.regression.cases import cases, minibatches

N_UPDATES = 30  # of each phase
NORMS = (nn.LayerNorm, nn.BatchNorm1d)
STATISTICS = ("running_mean", "running_var")  # of a stack's own norm
SETTINGS = [(name, parity) for name, case in cases().items() for parity in case.parity]


def layers(net: nn.Module, kind: type | tuple[type, ...]) -> list:
    return [layer for layer in net.modules() if isinstance(layer, kind)]


def load(stack: nn.Module, row: Tensor, into: nn.Module) -> None:
    """Put a row of a stack into a plain network: linear layers in the order of their use, then norms."""
    parts = iter(row.split(stack.split))  # type: ignore[arg-type]
    for linear in layers(into, nn.Linear):
        linear.weight.data = next(parts).view(linear.in_features, linear.out_features).T.clone()
        linear.bias.data = next(parts).clone()
    for norm in layers(into, NORMS):
        norm.weight.data, norm.bias.data = next(parts).clone(), next(parts).clone()
    assert next(parts, None) is None


def flat(net: nn.Module) -> Tensor:
    parts = [x.flatten() for linear in layers(net, nn.Linear) for x in (linear.weight.T, linear.bias)]
    return torch.cat([*parts, *(x for norm in layers(net, NORMS) for x in (norm.weight, norm.bias))])


def stacks(module: nn.Module, within: str = "") -> list[tuple[str, nn.Module]]:
    """(dotted name, stack) of every stack in a module."""
    found = []
    for name, child in module.named_children():
        name = within + name
        found += [(name, child)] if hasattr(child, "theta") else stacks(child, f"{name}.")
    return found


def pairs(module: nn.Module, plain: object, seed: int) -> list[tuple[str, nn.Module, tuple[int, ...], nn.Module]]:
    """(name, stack, index of the row, plain network) of every network that the plain version has."""
    found = []
    for name, stack in stacks(module):
        nets = reduce(lambda owner, part: getattr(owner, part, None), name.split("."), plain)
        for k, net in enumerate(nets if isinstance(nets, list) else [nets] * (nets is not None)):
            row = (seed, k)[: stack.theta.ndim - 1]  # type: ignore[union-attr]
            found.append((f"{name}{list(row)}", stack, row, net))
    return found


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_stacked_and_plain_agree(name, setting):
    case, parity = cases()[name], cases()[name].parity[setting]
    module = case.module([0, 1], parity.changes)
    module.configure_optimizers()
    if parity.prepare:
        parity.prepare(module)
    plains = [case.plain(module.config, case.spec) for _ in range(2)]
    for seed, plain in enumerate(plains):
        for _, stack, row, net in pairs(module, plain, seed):
            load(stack, stack.theta.detach()[row], net)
            for norm in layers(net, nn.BatchNorm1d):
                for key in STATISTICS:
                    setattr(norm, key, getattr(stack, key)[row].clone())
            for key, _ in net.named_buffers(recurse=False):
                setattr(net, key, getattr(stack, key)[row].clone())
    first = {key: value.clone() for key, value in module.state_dict().items()}
    start = 0
    for phase in module.phases():
        update = f"update_{phase.name}"
        n = min(phase.n_updates, N_UPDATES)
        if n and hasattr(plains[0], update):
            data = minibatches(module, phase, n, 2)
            noise = module.draw(Chunk(phase.name, start, n, phase.batch_size))
            for k in range(n):
                drawn = {key: value[k] for key, value in noise.items()}
                found = getattr(module, update)(data[k].clone(), drawn)
                for seed, plain in enumerate(plains):
                    own = {key: value[seed] if value.ndim else value for key, value in drawn.items()}
                    for key, value in getattr(plain, update)(plain_batch(data[k, seed], case.spec), own).items():
                        assert found[key][seed].item() == pytest.approx(value.item(), rel=1e-12, abs=1e-12), (key, k)
        start += phase.n_updates
    learned = {key for key, value in module.state_dict().items() if not torch.equal(value, first[key])}
    compared = set()
    for seed, plain in enumerate(plains):
        for place, stack, row, net in pairs(module, plain, seed):
            torch.testing.assert_close(
                stack.theta.detach()[row], flat(net), rtol=0, atol=1e-12, msg=lambda m, p=place: f"{p}: {m}"
            )
            compared.add(place.partition("[")[0] + ".theta")
            for norm in layers(net, nn.BatchNorm1d):
                for key in STATISTICS:
                    torch.testing.assert_close(getattr(stack, key)[row], getattr(norm, key), rtol=0, atol=1e-12)
                    compared.add(f"{place.partition('[')[0]}.{key}")
        for key, value in (*module.named_buffers(recurse=False), *module.named_parameters(recurse=False)):
            if hasattr(plain, key):  # a count or a multiplier of the algorithm's own
                own = torch.as_tensor(getattr(plain, key)).detach()
                torch.testing.assert_close(value.detach()[seed], own, rtol=0, atol=1e-12, check_dtype=False)
                compared.add(key)
    assert learned
    assert learned <= compared  # the plain version has everything that moved
