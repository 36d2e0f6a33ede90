"""BCQ-MA's losses by hand, its proposals, and its evaluation, which draws."""

import pytest
import torch
from test_cql_ma import SPEC, batch, constant

from data.synthetic import continuous_spec
from lit_modules.bcq_ma import BCQMA
from reproduce.regression.cases import cases, make_module

CONFIG = cases()["bcq_ma"].config


def made(**changes) -> BCQMA:
    module = BCQMA(CONFIG.replace(**changes), [0], SPEC).double()
    constant(module, decoder=[0.5], policy=[1.0], policy_target=[-1.0], mixer=[1.0, -2.0, 0.5])
    return module


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(1, 2, 4, *shape, dtype=torch.float64)


def test_proposals_are_decoded_perturbed_and_clamped():
    module = made(phi=0.3)
    a, xi = torch.tensor(0.5).double().tanh(), torch.tensor(1.0).double().tanh()
    obs = module.identified(torch.zeros(1, 4, 2, 1, dtype=torch.float64))
    found = module.proposals(module.policy, obs, zeros(3, 4))
    assert found.shape == (1, 2, 4, 3, 1)
    torch.testing.assert_close(found, torch.full_like(found, (a + 0.3 * xi).item()))
    assert module.proposals(made(phi=3.0).policy, obs, zeros(1, 4)).max() < 1
    assert made(phi=3.0).proposals(module.policy, obs, zeros(1, 4)).max() == 1


@pytest.mark.parametrize("terminated", [False, True])
def test_q_loss_by_hand(terminated):
    module = made()
    constant(module, q1=[1.0], q2=[2.0], q1_target=[5.0], q2_target=[3.0], mixer_target=[2.0, -1.0, -1.0])
    soft = 0.75 * 3 + 0.25 * 5
    y = 3.0 + (0.0 if terminated else 0.9 * (3 * soft - 1))
    totals = (1 + 2 + 0.5, 2 + 4 + 0.5)
    loss = module.q_loss(module.unpack(batch(terminated=terminated)), zeros(4, 4))
    assert loss.item() == pytest.approx(sum((t - y) ** 2 for t in totals), rel=1e-12)


def test_vae_loss_by_hand():
    module = made(kl_weight=0.5)
    constant(module, encoder=[0.5] * 4 + [-6.0] * 4)  # the log-deviation is clamped to -4
    a = torch.tensor(0.5).double().tanh().item()
    variance = torch.tensor(-8.0).double().exp().item()
    divergence = -0.5 * (1 - 8 - 0.25 - variance)
    loss = module.vae_loss(module.unpack(batch()), zeros(4))
    assert loss.item() == pytest.approx((a - 0.5) ** 2 + 0.5 * divergence, rel=1e-12)


def test_latents_are_clamped_where_actions_are_proposed():
    module = make_module("bcq_ma", [0])
    obs = module.identified(torch.zeros(1, 4, 3, 4, dtype=torch.float64))
    noise = torch.ones(1, 3, 4, 1, 6, dtype=torch.float64)
    far, near = (module.proposals(module.policy, obs, size * noise) for size in (9.0, 0.5))
    assert torch.equal(far, near)
    assert not torch.equal(near, module.proposals(module.policy, obs, 0.4 * noise))


def test_the_released_decoder_reads_latent_and_one_hot_swapped():
    released, consistent = (make_module(name, [0]) for name in ("bcq_ma", "bcq_ma_consistent"))
    obs = released.identified(torch.randn(1, 4, 3, 4, generator=torch.Generator().manual_seed(0)).double())
    noise = 0.1 * torch.ones(1, 3, 4, 1, 6, dtype=torch.float64)
    parts = obs[..., :4], noise[..., 0, :], obs[..., 4:]
    for module, order in ((released, (0, 1, 2)), (consistent, (0, 2, 1))):
        decoded = module.per_agent(module.decoder, torch.cat([parts[k] for k in order], -1)).tanh()
        pushed = module.config.phi * module.per_agent(module.policy, module.with_action(obs, decoded)).tanh()
        found = module.proposals(module.policy, obs, noise).squeeze(-2)
        torch.testing.assert_close(found, (decoded + pushed).clamp(-1, 1), rtol=0, atol=1e-12)


def test_evaluation_draws_by_each_seeds_own_streams():
    obs = torch.randn(3, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    stacked, alone = make_module("bcq_ma", [0, 1, 2]), make_module("bcq_ma", [1])

    def play(module, seen, steps: int = 3) -> torch.Tensor:
        carry, actions = module.initial_carry(len(seen), 5), []
        for _ in range(steps):
            action, carry = module.act(seen, None, None, carry)
            actions.append(action)
        return torch.stack(actions)

    together = play(stacked, obs)
    assert together.shape == (3, 3, 5, 3, 2)
    assert torch.equal(together, play(stacked, obs))
    assert torch.equal(together[:, 1], play(alone, obs[1:2])[:, 0])
    assert not torch.equal(together[0], together[1])  # every step draws anew
    stacked.n_updates = 7
    assert not torch.equal(together, play(stacked, obs))  # and so does every evaluation


def test_the_best_proposal_is_taken():
    module = BCQMA(CONFIG.replace(phi=0.0, act_samples=50, hidden=[2]), [0], continuous_spec(1, 1, 1)).double()
    first = torch.tensor([[0, 0], [1, -1], [0, 0], [-0.2, 0.2]], dtype=torch.float64)  # Q = -|a - 0.2|
    module.q1.theta.data[0] = torch.cat([first.flatten(), torch.tensor([-1.0, -1.0, 0.0]).double()])
    module.decoder.theta.data *= 3
    obs = torch.zeros(1, 6, 1, 1, dtype=torch.float64)
    action, _ = module.act(obs, None, None)
    carry = module.initial_carry(1, 6)
    noise = torch.randn(6, 1, 50, 2, generator=carry[0]).to(obs).unsqueeze(0).transpose(1, 2)
    proposals = module.proposals(module.policy, module.identified(obs), noise)[0, 0, :, :, 0]
    nearest = proposals.gather(1, (proposals - 0.2).abs().argmin(1, keepdim=True))
    torch.testing.assert_close(action[0, :, 0], nearest, rtol=0, atol=1e-12)
