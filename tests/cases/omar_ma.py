"""OMAR-MA in small, and plainly."""

import torch
from torch import Tensor

from cases import HOPPER, move_target, step, with_ids
from cases.cql_ma import CQL_SMALL, MPE, MPE_SIZE, ROW, PlainCQLMA, judge, sample
from data.synthetic import CONTINUOUS
from lit_modules.omar_ma import OMARMAConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainOMARMA(PlainCQLMA):
    """CQL-MA's plain critic; the sampler round by round."""

    c: OMARMAConfig  # type: ignore[assignment]

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: tensors [B, N, ..]; noise [N, B, ..]: sampler [N, B, R, M, A], policy [N, B, A], and CQL-MA's."""
        c, noise = self.c, {key: x.transpose(0, 1) for key, x in noise.items()}
        q_loss = self.q_loss(b, noise)
        a = sample(self.policy(with_ids(b["obs"])), noise["policy"])  # (B, N, A)
        value = judge(self.q, b["obs"], a)
        best, best_value = a.detach(), value.detach()
        sampled, sampled_value = self.best_sample(b["obs"], noise["sampler"])
        best = torch.where((sampled_value > best_value).unsqueeze(-1), sampled, best)
        policy_loss = c.coefficient * (a - best).square().mean() - (1 - c.coefficient) * value.mean()
        step(self.policy_adam, policy_loss, c.max_grad_norm)
        step(self.q_adam, q_loss, c.max_grad_norm)
        for target, net in ((self.q_target, self.q), (self.mixer_target, self.mixer)):
            move_target(target, net, c.tau)
        return {"loss/q": q_loss.detach(), "loss/policy": policy_loss.detach()}

    @torch.no_grad()
    def best_sample(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        c, elites = self.c, None
        mean, deviation = torch.zeros(()), torch.tensor(c.sigma)
        for k in range(c.rounds):
            actions = (mean + deviation * noise[:, :, k]).clamp(-1, 1)  # (B, N, M, A)
            actions = actions if elites is None else torch.cat([actions, elites], 2)
            value = judge(self.q, obs, actions)
            value, order = value.sort(-1, descending=True)
            elites = actions.take_along_dim(order[:, :, : c.elites, None], 2)
            if c.refine:
                mean, deviation = elites.mean(2, keepdim=True), elites.std(2, keepdim=True)
        return elites[:, :, 0], value[:, :, 0]


OMAR_SMALL = OMARMAConfig(
    # Wide enough that Q is nowhere flat in an action: the best of two equal values is decided by rounding.
    **CQL_SMALL.model_dump() | {"name": "omar_ma", "hidden": [32, 32]},
    coefficient=0.5,
    rounds=2,
    samples=6,
    elites=3,
    sigma=2.0,
    refine=False,
)
CASE = Case(
    config=OMAR_SMALL,
    spec=CONTINUOUS,
    plain=PlainOMARMA,
    state=tuple(f"{net}.theta" for net in ("q", "policy", "mixer", "q_target", "mixer_target")),
    variants={"refine": {"refine": True, "rounds": 3, "sigma": 0.5, "coefficient": 0.9}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "refine": Parity({"lr": 1e-3, "refine": True, "rounds": 3, "sigma": 0.5, "coefficient": 0.7}),
    },
    benchmarks=(
        Benchmark("omar_ma mpe size", ROW, MPE, ("algo=omar_ma",), MPE_SIZE, "0.30 compiled"),
        Benchmark("omar_ma hopper", ROW, HOPPER, ("algo=omar_ma",), target="0.85 compiled"),
    ),
)
