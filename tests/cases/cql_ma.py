"""CQL-MA in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cases import HOPPER, mlp, move_target, squashed_log_prob, step, with_ids
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS, continuous_spec
from lit_modules.cql_ma import CQLMAConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainCQLMA:
    """Shared networks, two Adams; each source of actions goes through Q by itself."""

    def __init__(self, config: CQLMAConfig, spec: WorldSpec):
        self.c, h, seen = config, config.hidden, spec.obs_size + spec.n_agents
        self.q, self.policy = mlp(seen + spec.action_size, *h, 1), mlp(seen, *h, 2 * spec.action_size)
        self.mixer = mlp(spec.n_agents * spec.state_size, *config.mixer_hidden, spec.n_agents + 1)
        self.q_target, self.mixer_target = deepcopy(self.q), deepcopy(self.mixer)
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), lr=config.lr)
        self.q_adam = torch.optim.Adam([*self.q.parameters(), *self.mixer.parameters()], lr=config.lr)

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: obs, next_obs, state, next_state [B, N, O], action [B, N, A], reward and mask [B]; noise [N, B, ..]."""
        q_loss = self.q_loss(b, {key: x.transpose(0, 1) for key, x in noise.items()})
        weight = judge(self.q, b["obs"], b["action"]).detach()
        log_pi = squashed_log_prob(self.policy(with_ids(b["obs"])), b["action"])
        policy_loss = -(weight * log_pi).sum(1).mean()
        step(self.policy_adam, policy_loss, self.c.max_grad_norm)
        step(self.q_adam, q_loss, self.c.max_grad_norm)
        for target, net in ((self.q_target, self.q), (self.mixer_target, self.mixer)):
            move_target(target, net, self.c.tau)
        return {"loss/q": q_loss.detach(), "loss/policy": policy_loss.detach()}

    def q_loss(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> Tensor:
        """noise: next [B, N, A]; uniform, current, later [B, N, M, A]."""
        c = self.c
        with torch.no_grad():
            out, next_out = self.policy(with_ids(b["obs"])), self.policy(with_ids(b["next_obs"]))
            w, bias = mix(self.mixer_target, b["next_state"])
            next_q = judge(self.q_target, b["next_obs"], sample(next_out, noise["next"]))
            y = b["reward"] + c.gamma * b["mask"] * ((w * next_q).sum(1) + bias)
            current, later = (sample(x.unsqueeze(2), noise[key]) for x, key in ((out, "current"), (next_out, "later")))
        w, bias = mix(self.mixer, b["state"])
        q_tot = (w * judge(self.q, b["obs"], b["action"])).sum(1) + bias
        sampled = [judge(self.q, b["obs"], actions) for actions in (noise["uniform"], current, later)]
        values = w.unsqueeze(-1) * torch.cat(sampled, -1) + bias[:, None, None]  # (B, N, 3 M)
        conservative = values.logsumexp(-1).sum(1) - q_tot
        return (q_tot - y).square().mean() + c.conservatism * conservative.mean()


def mix(mixer: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    out = mixer(state.flatten(1))  # (B, N + 1)
    return out[:, :-1].abs(), out[:, -1]


def judge(q: nn.Module, obs: Tensor, action: Tensor) -> Tensor:
    """Q at [o, a, one-hot]: obs [B, N, O], action [B, N, A] or [B, N, M, A] -> [B, N] or [B, N, M]."""
    ids = torch.eye(obs.shape[1], dtype=obs.dtype).expand(len(obs), -1, -1)
    if action.ndim == 4:
        obs, ids = (x.unsqueeze(2).expand(-1, -1, action.shape[2], -1) for x in (obs, ids))
    return q(torch.cat([obs, action, ids], -1)).squeeze(-1)


def sample(out: Tensor, noise: Tensor) -> Tensor:
    mean, log_std = out.chunk(2, -1)
    return (mean + log_std.clamp(-5, 2).exp() * noise).tanh()


CQL_SMALL = CQLMAConfig(
    name="cql_ma",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    conservatism=1.0,
    n_actions=4,
)
ROW, MPE = "omiga/mujoco/halfcheetah_medium", continuous_spec(3, 18, 2)
MPE_SIZE = {"hidden": [64, 64], "mixer_hidden": [32]}
CASE = Case(
    config=CQL_SMALL,
    spec=CONTINUOUS,
    plain=PlainCQLMA,
    state=tuple(f"{net}.theta" for net in ("q", "policy", "mixer", "q_target", "mixer_target")),
    variants={"mild": {"conservatism": 0.1, "n_actions": 1}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "clipped": Parity({"lr": 1e-3, "max_grad_norm": 0.02, "conservatism": 5.0}),
    },
    benchmarks=(
        Benchmark("cql_ma mpe size", ROW, MPE, ("algo=cql_ma",), MPE_SIZE, "0.30 compiled"),
        Benchmark("cql_ma hopper", ROW, HOPPER, ("algo=cql_ma",), target="0.85 compiled"),
    ),
)
