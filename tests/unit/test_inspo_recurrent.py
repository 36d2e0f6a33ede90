"""InSPO's turns on whole episodes: which steps count, and that the order and the newest policies matter."""

import pytest
import torch

from lit_modules.common.schedule import Chunk
from reproduce.regression.cases import make_module, minibatches


def prepared(**changes):
    module = make_module("inspo_recurrent", [0, 1])
    module.config = module.config.replace(**changes)
    module.configure_optimizers()
    with torch.no_grad():
        module.agent.theta *= 3
    d = module.unpack(minibatches(module, module.phases()[1], 1, 2)[0])
    d["log_mu"] = module.log_probs(module.behavior, d["seen"], d["legal"]).detach()
    d["seen"] = d["seen"].unflatten(1, (-1, 3))
    return module, d


@pytest.mark.parametrize("importance", ["resample", "reweight", "none"])
def test_steps_count_by_rho_and_only_within_episodes(importance):
    module, d = prepared(importance=importance, n_resampled=200_000)
    log_ratio, i = module.log_ratio(d), torch.tensor([2, 0])
    uniform = torch.rand(2, 200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight, sample_size = module.step_weights(d, log_ratio, i, uniform)
    rho = torch.stack([log_ratio[0, ..., :2].sum(-1), log_ratio[1, ..., 1:].sum(-1)]).clamp(-20, 5).exp() * d["mask"]
    expected = d["mask"] if importance == "none" else rho
    expected = expected / expected.sum((1, 2), keepdim=True)
    torch.testing.assert_close(weight, expected, rtol=0, atol=5e-3 if importance == "resample" else 1e-12)
    assert weight.sum((1, 2)).tolist() == pytest.approx([1, 1])
    assert (d["mask"] == 0).any()
    assert (weight[d["mask"] == 0] == 0).all()
    torch.testing.assert_close(sample_size, rho.sum((1, 2)).square() / rho.square().sum((1, 2)))


def test_a_turn_sees_what_the_turns_before_it_made():
    results = []
    for sequential in (True, False):
        module = prepared(sequential=sequential, policy_lr=0.1)[0]
        noise = module.draw(Chunk("round", 20, 1, 6))
        batch = minibatches(module, module.phases()[1], 1, 2)[0]
        found = module.update_round(batch, {key: value[0] for key, value in noise.items()})
        results.append(found["data/effective_sample_size"])
    assert (results[0] != results[1]).all()
