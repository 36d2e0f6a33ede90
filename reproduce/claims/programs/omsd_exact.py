# The grounds of OMSD's argument, without a policy: the arithmetic of combinatorial mode shift, and scores known in
# closed form. Source: public notes on the paper (Proposition 3.1, Corollary 3.2); the mixture is the bandit's.
"""Exact companions of OMSD."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from data.buffer import ChunkLoader, OfflineDataModule
from data.catalog import store
from data.worlds import make_world
from lit_modules.omsd import OMSD, OMSDConfig, noise_schedule

BANDIT = "bandit/two_mode"


def mode_shift(largest_n: int, n_modes: int) -> dict[str, float]:
    """K equiprobable joint modes in which agents differ pairwise, n = 2 .. largest_n agents.

    error_of_tv: largest |TV(mu, product of marginals) - (1 - K^(1-n))|; chain_rule_tv: largest TV of mu to the product
    of its conditionals. Distributions are enumerated over the K^n joint actions.
    """
    error = chain = 0.0
    for n in range(2, largest_n + 1):
        joint = {(k,) * n: 1 / n_modes for k in range(n_modes)}
        product, conditional = {}, {}
        for actions in itertools.product(range(n_modes), repeat=n):
            product[actions] = math.prod(_share(joint, (), (i, a)) for i, a in enumerate(actions))
            conditional[actions] = math.prod(_share(joint, actions[:i], (i, a)) for i, a in enumerate(actions))
        error = max(error, abs(_tv(joint, product) - (1 - n_modes ** (1 - n))))
        chain = max(chain, _tv(joint, conditional))
    return {"error_of_tv": error, "chain_rule_tv": chain}


def _share(joint: dict, prefix: tuple, event: tuple[int, int]) -> float:
    """mu(a_i | a_<i): of the mass that begins with `prefix`, what has action a at agent i; 0 where there is none."""
    begun = {actions: p for actions, p in joint.items() if actions[: len(prefix)] == prefix}
    total = sum(begun.values())
    return sum(p for actions, p in begun.items() if actions[event[0]] == event[1]) / total if total else 0.0


def _tv(p: dict, q: dict) -> float:
    return 0.5 * sum(abs(p.get(key, 0.0) - q.get(key, 0.0)) for key in {*p, *q})


def mixture_noise(x: Tensor, t: Tensor | float, weights: Tensor, centers: Tensor, std: Tensor | float) -> Tensor:
    """eps(x, t) = -sigma_t times the score of diffused normals: x [n], weights, centers [n or 1, K] -> [n].

    t is one for all or [n], std one for all or [K]. Diffusion scales a center by alpha_t and makes a variance
    alpha_t^2 std^2 + sigma_t^2; weights stay.
    """
    alpha, sigma = (v.unsqueeze(-1) for v in noise_schedule(torch.as_tensor(t, dtype=x.dtype)))  # ([n], 1)
    variance = (alpha * std).square() + sigma.square()
    apart = x.unsqueeze(-1) - alpha * centers  # (n, K)
    responsibility = (weights.log() - apart.square() / (2 * variance) - variance.log() / 2).softmax(-1)
    return sigma.squeeze(-1) * (responsibility * apart / variance).sum(-1)


def bandit_config(**changes: Any) -> OMSDConfig:
    """Small networks and SRPO's diffusion for the two-mode bandit."""
    config = OMSDConfig(
        name="omsd", method="omsd", n_critic_updates=0, n_score_updates=0, n_updates=1, batch_size=64,
        hidden=[8], score_hidden=64, score_blocks=2, score_time=128, score_activation="mish", lr=1e-3, score_lr=1e-3,
        score_lr_end=0.0, score_weight_decay=0.01, dropout=0.0, gamma=0.99, tau=0.005, expectile=0.7,
        team_reward="first", beta=0.1, t_low=0.02, t_high=0.98, weighting="vds",
        subtract_noise=False, normalize_gradient=False, prefix="fresh", condition="obs", order=[], lr_end=0.0,
        share_stage1=False, init_scale=1.0,
    )  # fmt: skip
    return config.replace(**changes)


def bandit_module(config: OMSDConfig, seeds: list[int], kind: type[OMSD] = OMSD) -> tuple[OMSD, OfflineDataModule]:
    """A module for the two-mode bandit, to be trained without a trainer, and its data."""
    world = make_world("bandit", 1, n_agents=2)
    module = kind(config, seeds, world.spec)
    module.configure_optimizers()
    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    return module, OfflineDataModule(store.get(BANDIT).transitions, world.layout, module.keys, seeds)


def train_stage_1(module: OMSD, data: OfflineDataModule) -> None:
    """Critic and scores."""
    for chunk in ChunkLoader(data, module):
        if module.next_chunk.phase == "actor":
            break
        module.training_step(data.to_schema(chunk), 0)


def data_actions() -> Tensor:
    """The bandit's joint actions, [n, 2] float64."""
    rows = store.get(BANDIT).transitions
    return rows["action"][~rows["final"].squeeze(-1)][..., 0].double()


def conditional_scores(n_updates: int, batch_size: int, seed: int) -> dict[str, float]:
    """Score networks trained on the bandit's data against the diffused mixture, at t = .05, .2, .5.

    error_conditional: largest root mean square error of eps_2( . | a_1 = data), over 4096 noised data actions;
    error_marginal: of the first agent's, which has no prefix. wrong_sign: 1 unless at a_2 = 0, t = .2 the conditional
    score points to the mode of a_1 = +-.8; center_of_marginal: |eps_1(0)| there, which is pulled to neither.
    """
    module, data = bandit_module(bandit_config(n_score_updates=n_updates, batch_size=batch_size), [seed])
    train_stage_1(module, data)
    g = torch.Generator().manual_seed(seed)
    action = data_actions()[:4096]  # (n, 2)
    centers, std = torch.tensor([0.8, -0.8], dtype=torch.float64), 0.1
    given = (-(action[:, :1] - centers).square() / (2 * std**2)).softmax(-1)  # p(mode | a_1), (n, 2)
    errors: dict[str, float] = {"error_conditional": 0.0, "error_marginal": 0.0}
    for t in (0.05, 0.2, 0.5):
        alpha, sigma = noise_schedule(torch.tensor(t, dtype=torch.float64))
        x = alpha * action + sigma * torch.randn(action.shape, generator=g, dtype=torch.float64)
        predicted = predicted_noise(module, x, t, action[:, 0])
        for agent, (name, weights) in enumerate(
            (("error_marginal", torch.full_like(given, 0.5)), ("error_conditional", given))
        ):
            exact = mixture_noise(x[:, agent], t, weights, centers, std)
            errors[name] = max(errors[name], (predicted[:, agent] - exact).square().mean().sqrt().item())
    middle = predicted_noise(module, torch.zeros(2, 2), 0.2, torch.tensor([0.8, -0.8]))
    right = middle[0, 1] < 0 < middle[1, 1]  # the score is -eps / sigma
    return errors | {"wrong_sign": 1.0 - float(right), "center_of_marginal": middle[:, 0].abs().max().item()}


@torch.no_grad()
def predicted_noise(module: OMSD, x: Tensor, t: Tensor | float, first: Tensor) -> Tensor:
    """eps of both agents at x [n, 2] and t (one, or [n]), the second given a_1 = first [n] -> [n, 2] float64."""
    n = len(x)
    actions = torch.stack([first, first], 0).float().view(1, 2, n, 1)
    obs = torch.ones(1, 2, n, module.obs_size)
    noisy = x.float().T.reshape(1, 2, n, 1)
    times = torch.as_tensor(t).float().expand(1, 2, n)
    eps = module.score(noisy, times, module.conditions(obs, actions))
    return eps[0, :, :, 0].T.double()
