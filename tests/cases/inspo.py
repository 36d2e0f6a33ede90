"""InSPO in small, and as one would write it first: one network and one Adam per agent and quantity, nothing stacked."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cases import BRIDGE, mlp, move_target, step
from data.common.spec import WorldSpec
from data.synthetic import DISCRETE, discrete_spec
from lit_modules.inspo import InSPO, InSPOConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainInSPO:
    """The sequential method with resampling and the soft value."""

    def __init__(self, config: InSPOConfig, spec: WorldSpec):
        self.c, self.n = config, spec.n_agents
        sizes = (spec.obs_size, *config.hidden, spec.n_actions)
        self.behavior_policy, self.policy, self.q = ([mlp(*sizes) for _ in range(self.n)] for _ in range(3))
        self.q_target = deepcopy(self.q)
        self.behavior_adam, self.q_adam, self.policy_adam = (
            [torch.optim.Adam(net.parameters(), lr=lr) for net in nets]
            for nets, lr in ((self.behavior_policy, config.lr), (self.q, config.lr), (self.policy, config.policy_lr))
        )

    def log_probs(self, net: nn.Module, obs: Tensor, legal: Tensor) -> Tensor:
        return net(obs).masked_fill(~legal, -1e8).log_softmax(-1)

    def update_behavior(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        total = torch.zeros(())
        for i, (mu, adam) in enumerate(zip(self.behavior_policy, self.behavior_adam, strict=True)):
            log_mu = self.log_probs(mu, b["obs"][:, i], b["legal"][:, i])
            loss = -log_mu.gather(-1, b["action"][:, i, None]).mean()
            step(adam, loss, self.c.max_grad_norm)
            self.policy[i].load_state_dict(mu.state_dict())
            total = total + loss.detach()
        return {"loss/behavior": total}

    def update_round(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: tensors [M, N, ..] of the candidates; noise: rows [N], whose remainder by N is the order of the agents,
        resample [N, B] in [0, 1), beta and lr_scale []."""
        c, beta, losses = self.c, noise["beta"], []
        for adams, lr in ((self.q_adam, c.lr), (self.policy_adam, c.policy_lr)):
            for adam in adams:
                adam.param_groups[0]["lr"] = lr * noise["lr_scale"].item()
        for turn, i in enumerate((noise["rows"] % self.n).tolist()):
            with torch.no_grad():
                log_rho = torch.zeros_like(b["reward"])
                for j in range(self.n):
                    if j != i:
                        obs, legal = b["obs"][:, j], b["legal"][:, j]
                        new, old = (self.log_probs(nets[j], obs, legal) for nets in (self.policy, self.behavior_policy))
                        log_rho = log_rho + (new - old).gather(-1, b["action"][:, j, None])[:, 0]
                cdf = log_rho.clamp(-20, 5).softmax(0).cumsum(0)
                pick = torch.searchsorted(cdf, noise["resample"][turn] * cdf[-1], right=True).clamp(max=len(cdf) - 1)
            obs, legal, action = (b[k][pick, i] for k in ("obs", "legal", "action"))
            next_obs, next_legal = b["next_obs"][pick, i], b["next_legal"][pick, i]
            reward, mask = b["reward"][pick], b["mask"][pick]
            with torch.no_grad():
                log_mu = self.log_probs(self.behavior_policy[i], obs, legal)
                next_log_mu = self.log_probs(self.behavior_policy[i], next_obs, next_legal)
            for _ in range(c.steps_per_turn):
                q, log_pi = self.q[i](obs), self.log_probs(self.policy[i], obs, legal)
                q_a, log_pi_a = (x.gather(-1, action[:, None])[:, 0] for x in (q, log_pi))
                with torch.no_grad():
                    next_log_pi = self.log_probs(self.policy[i], next_obs, next_legal)
                    next_v = self.value(self.q_target[i](next_obs), next_log_pi, next_log_mu, beta)
                    y = reward + c.gamma * mask * next_v
                    log_mu_a = log_mu.gather(-1, action[:, None])[:, 0]
                    advantage = q_a - self.value(q, log_pi, log_mu, beta) - beta * log_mu_a
                    weight = (advantage / (c.alpha + beta)).clamp(-10, 5).exp()
                q_loss, policy_loss = (y - q_a).square().mean(), -(weight * log_pi_a).mean()
                step(self.q_adam[i], q_loss, c.max_grad_norm)
                step(self.policy_adam[i], policy_loss, c.max_grad_norm)
            losses.append(torch.stack([q_loss.detach(), policy_loss.detach()]))
        for target, q in zip(self.q_target, self.q, strict=True):
            move_target(target, q, c.tau)
        return dict(zip(("loss/q", "loss/policy"), torch.stack(losses).mean(0), strict=True))

    def value(self, q: Tensor, log_pi: Tensor, log_mu: Tensor, beta: Tensor) -> Tensor:
        return (log_pi.exp() * (q - self.c.alpha * (log_pi - log_mu) - beta * log_pi)).sum(-1)


def reach_every_clip(module: InSPO) -> None:
    """Let policies differ from the clone, and values from each other, by more than the clips let through."""
    with torch.no_grad():
        for net in (module.behavior_policy, module.policy, module.q):
            net.theta *= 20


INSPO_SMALL = InSPOConfig(
    name="inspo",
    n_behavior_updates=20,
    n_updates=30,
    behavior_batch_size=16,
    n_candidates=32,
    batch_size=8,
    steps_per_turn=2,
    hidden=[8],
    lr=1e-2,
    policy_lr=1e-2,
    lr_end=0.5,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    alpha=0.2,
    beta_start=0.5,
    beta_end=0.0,
    anneal_fraction=0.7,
    entropy=True,
    soft_value=True,
    importance="resample",
    sequential=True,
)
FROM_APART = {"n_behavior_updates": 0, "max_grad_norm": 0.5}  # policies start elsewhere than the clones
FEW = {"n_updates": 100, "n_behavior_updates": 0}
CASE = Case(
    config=INSPO_SMALL,
    spec=DISCRETE,
    plain=PlainInSPO,
    state=tuple(f"{net}.theta" for net in ("behavior_policy", "policy", "q", "q_target")),
    variants={"reweight_simultaneous": {"importance": "reweight", "sequential": False}},
    losses={"q": "td_error"},
    parity={
        "as_configured": Parity(),
        "one_step": Parity({**FROM_APART, "steps_per_turn": 1}),
        "three_steps": Parity({**FROM_APART, "steps_per_turn": 3}),
        "every_clip": Parity({**FROM_APART, "lr": 1e-3, "policy_lr": 1e-3}, reach_every_clip),
    },
    benchmarks=(
        *(
            Benchmark(f"inspo {name}", row, discrete_spec(2, 4, a), changes=FEW, target="0.20 compiled")
            for name, row, a in (("xor", "inspo/xor/ab_ba", 2), ("m_ne", "inspo/m_ne/balanced", 3))
        ),
        Benchmark("inspo bridge", "inspo/bridge/mix", BRIDGE, changes=FEW, target="0.20 compiled"),
    ),
)
