"""TD3+BC-MA in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cases import HOPPER, mlp, move_target, step, with_ids
from cases.cql_ma import MPE, MPE_SIZE, ROW, judge, mix
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS
from lit_modules.td3_bc_ma import TD3BCMA, TD3BCMAConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainTD3BCMA:
    """Shared networks, two Adams; the policy's turn comes when the count of critic updates says so."""

    def __init__(self, config: TD3BCMAConfig, spec: WorldSpec):
        self.c, h, n, a = config, config.hidden, spec.n_agents, spec.action_size
        seen = spec.obs_size + n
        self.q1, self.q2 = (mlp(seen + a, *h, 1) for _ in range(2))
        self.policy, self.mixer = mlp(seen, *h, a), mlp(n * spec.state_size, *config.mixer_hidden, n + 1)
        for name in ("q1", "q2", "mixer", "policy"):
            setattr(self, f"{name}_target", deepcopy(getattr(self, name)))
        values = [p for net in (self.q1, self.q2, self.mixer) for p in net.parameters()]
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), lr=config.lr)
        self.q_adam = torch.optim.Adam(values, lr=config.lr)
        self.n_critic_updates = 0

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: tensors [U * B, N, ..] or [U * B]; noise: target [U, N, B, A]."""
        c, size, losses, policy_loss = self.c, self.c.batch_size, [], torch.zeros(0)
        for u, drawn in enumerate(noise["target"]):
            rows = {key: x[u * size : (u + 1) * size] for key, x in b.items()}
            losses.append(self.step_critic(rows, drawn.transpose(0, 1)))
            self.n_critic_updates += 1
            if self.n_critic_updates % c.critic_updates == 0:
                policy_loss = self.step_policy(rows)
                for name in ("q1", "q2", "mixer", "policy"):
                    move_target(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        return {"loss/q": torch.stack(losses).mean(), "loss/policy": policy_loss}

    def step_critic(self, b: dict[str, Tensor], noise: Tensor) -> Tensor:
        c = self.c
        with torch.no_grad():
            smoothing = (noise * c.target_noise).clamp(-c.noise_limit, c.noise_limit)
            a = (self.policy_target(with_ids(b["next_obs"])).tanh() + smoothing).clamp(-1, 1)
            later = [total(q, self.mixer_target, b["next_state"], b["next_obs"], a) for q in self.targets]
            y = b["reward"] + c.gamma * b["mask"] * torch.minimum(*later)
        totals = [total(q, self.mixer, b["state"], b["obs"], b["action"]) for q in (self.q1, self.q2)]
        loss = sum((q_tot - y).square().mean() for q_tot in totals)
        step(self.q_adam, loss, c.max_grad_norm)
        return loss.detach()

    def step_policy(self, b: dict[str, Tensor]) -> Tensor:
        pi = self.policy(with_ids(b["obs"])).tanh()
        q_tot = total(self.q1, self.mixer, b["state"], b["obs"], pi)
        scale = self.c.alpha / q_tot.abs().mean().detach()
        loss = -scale * q_tot.mean() + (pi - b["action"]).square().mean()
        step(self.policy_adam, loss, self.c.max_grad_norm)
        return loss.detach()

    @property
    def targets(self) -> tuple[nn.Module, nn.Module]:
        return self.q1_target, self.q2_target  # type: ignore[attr-defined]


def total(q: nn.Module, mixer: nn.Module, state: Tensor, obs: Tensor, action: Tensor) -> Tensor:
    w, bias = mix(mixer, state)
    return (w * judge(q, obs, action)).sum(1) + bias


def reach_the_bounds(module: TD3BCMA) -> None:
    """Target actions near +-1, where noise is cut off, and slow copies that differ from their networks."""
    with torch.no_grad():
        module.policy_target.theta *= 6
        for net in (module.q2_target, module.mixer):
            net.theta *= 2


TD3_BC_SMALL = TD3BCMAConfig(
    name="td3_bc_ma",
    n_updates=50,
    critic_updates=2,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    target_noise=0.2,
    noise_limit=0.5,
    alpha=2.5,
)
NETS = ("q1", "q2", "policy", "mixer")
CASE = Case(
    config=TD3_BC_SMALL,
    spec=CONTINUOUS,
    plain=PlainTD3BCMA,
    state=tuple(f"{net}.theta" for net in (*NETS, *(f"{net}_target" for net in NETS))),
    variants={"undelayed": {"critic_updates": 1, "target_noise": 0.0, "alpha": 0.5}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "limited": Parity(
            {"lr": 1e-3, "max_grad_norm": 0.1, "target_noise": 1.0, "critic_updates": 3}, reach_the_bounds
        ),
    },
    benchmarks=(
        Benchmark("td3_bc_ma mpe size", ROW, MPE, ("algo=td3_bc_ma",), MPE_SIZE, "0.30 compiled"),
        Benchmark("td3_bc_ma hopper", ROW, HOPPER, ("algo=td3_bc_ma",)),
    ),
)
