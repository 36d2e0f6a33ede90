"""OMAR-MA's sampler and policy loss by hand."""

import pytest
import torch

from data.synthetic import continuous_spec
from lit_modules.omar_ma import OMARMA, spread
from reproduce.regression.cases import cases

CONFIG = cases()["omar_ma"].config
SPEC = continuous_spec(1, 1, 1)


def made(**changes) -> OMARMA:
    config = CONFIG.replace(hidden=[2], mixer_hidden=[2], rounds=2, samples=3, elites=2, **changes)
    module = OMARMA(config, [0], SPEC).double()
    # Q(o, a) = 1 - |a - 0.5|: relu(a - 0.5) and relu(0.5 - a), inputs [o, a, one-hot].
    first = torch.tensor([[0, 0], [1, -1], [0, 0], [-0.5, 0.5]], dtype=torch.float64)  # three weights, the bias
    module.q.theta.data[0] = torch.cat([first.flatten(), torch.tensor([-1.0, -1.0, 1.0]).double()])
    return module


def noise(*rounds: list[float]) -> torch.Tensor:
    return torch.tensor(rounds, dtype=torch.float64).view(1, 1, 1, len(rounds), -1, 1)


def view(module: OMARMA) -> dict[str, torch.Tensor]:
    return {"obs": module.identified(torch.zeros(1, 1, 1, 1, dtype=torch.float64))}


def test_rounds_draw_alike_as_released():
    module = made(sigma=2.0)
    drawn = noise([0.1, -3.0, 3.0], [0.2, -0.1, 0.0])  # actions 0.2, -1, 1; 0.4, -0.2, 0
    best, value = module.best_sample(view(module)["obs"], drawn)
    assert (best.item(), value.item()) == (pytest.approx(0.4), pytest.approx(0.9))
    best, _ = module.best_sample(view(module)["obs"], noise([0.2, -3.0, 3.0], [0.0, -0.1, 0.0]))
    assert best.item() == pytest.approx(0.4)  # the first round's


def test_a_refined_round_draws_around_the_elites():
    module = made(sigma=2.0, refine=True)
    # Elites of round one: 0.2 (0.7) and 1 (0.5); mean 0.6, sample deviation 0.8 / sqrt(2).
    best, value = module.best_sample(view(module)["obs"], noise([0.1, -3.0, 3.0], [-0.1, 1.0, 1.0]))
    expected = 0.6 - 0.1 * 0.8 / 2**0.5
    assert best.item() == pytest.approx(expected, rel=1e-12)
    assert value.item() == pytest.approx(1 - abs(expected - 0.5), rel=1e-12)


def test_elites_that_agree_draw_themselves():
    assert spread(torch.full((4, 1), 0.5)).item() == 0
    assert spread(torch.full((1, 1), 0.5)).item() == 0
    module = made(sigma=2.0, refine=True)
    best, _ = module.best_sample(view(module)["obs"], noise([3.0, 4.0, -3.0], [7.0, -7.0, 1.0]))
    assert best.item() == 1.0


@pytest.mark.parametrize(("mean", "best"), [(0.9, 0.4), (0.5, 0.5)])
def test_policy_loss_by_hand(mean, best):
    """The best sample is 0.4, with the value 0.9."""
    module = made(sigma=2.0, coefficient=0.25)
    a = torch.tensor(mean, dtype=torch.float64)
    out = torch.stack([a.atanh(), torch.tensor(0.0).double()]).view(1, 1, 1, 2).requires_grad_()
    drawn = {"policy": torch.zeros(1, 1, 1, 1).double(), "sampler": noise([0.1, -3.0, 3.0], [0.2, -0.1, 0.0])}
    loss = module.policy_loss(view(module), out, torch.zeros(()), drawn)
    assert loss.item() == pytest.approx(0.25 * (mean - best) ** 2 - 0.75 * (1 - abs(mean - 0.5)), rel=1e-12)
    (grad,) = torch.autograd.grad(loss.sum(), out, retain_graph=True)
    assert grad.abs().sum() > 0 or mean == 0.5
    assert torch.autograd.grad(loss.sum(), module.q.theta, allow_unused=True) == (None,)


def test_more_elites_than_samples_are_refused():
    with pytest.raises(ValueError, match="elites must be at most samples"):
        CONFIG.replace(elites=7)
