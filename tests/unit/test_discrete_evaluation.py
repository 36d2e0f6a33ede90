"""What discrete learners do in evaluation and not in training: BCQ's constraint, ICQ's exploration."""

import torch

from lit_modules.common.functional import taken
from reproduce.regression.cases import make_module


def seen(module, n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Observations [1, n, N, O], and legal actions [1, n, N, A] of which the first always is."""
    spec, g = module.spec, torch.Generator().manual_seed(0)
    obs = torch.randn(1, n, spec.n_agents, spec.obs_size, generator=g, dtype=torch.float64)
    legal = torch.rand(1, n, spec.n_agents, spec.n_actions, generator=g) < 0.7
    legal[..., 0] = True
    return obs, legal


def test_bcq_acts_by_actions_that_the_clone_allows():
    module = make_module("bcq_ma_discrete", [0])
    module.policy.theta.data *= 3  # a clone that is sure of itself
    obs, legal = seen(module)
    with torch.no_grad():
        action, _ = module.act(obs, legal, None)
        views = module.identified(obs)  # (1, N, n, O + N)
        logits = module.per_agent(module.policy, views).transpose(1, 2).masked_fill(~legal, -torch.inf)
        q = module.per_agent(module.q, views).transpose(1, 2).masked_fill(~legal, -torch.inf)
    clone = logits.softmax(-1)
    allowed = clone > module.config.threshold * clone.max(-1, keepdim=True).values
    assert taken(allowed, action).all()
    assert torch.equal(action, q.masked_fill(~allowed, -torch.inf).argmax(-1))
    assert (action != q.argmax(-1)).any()  # which the constraint forbids


def test_icq_explores_in_evaluation_as_its_clock_says():
    module = make_module("icq_discrete", [0])
    c = module.config
    _, legal = seen(module)
    out = torch.randn(legal.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for n_updates, eps in ((0, c.epsilon_start), (c.epsilon_updates, c.epsilon_end)):
        module.n_updates = n_updates
        pi = out.masked_fill(~legal, -torch.inf).softmax(-1)
        expected = (1 - eps) * pi + eps * legal / legal.sum(-1, keepdim=True)
        torch.testing.assert_close(module.action_log_probs(out, legal).exp(), expected, rtol=0, atol=1e-7)
