"""BCQ-MA in small, and plainly."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from cases import HOPPER, mlp, move_target, with_ids
from cases.cql_ma import MPE, MPE_SIZE, ROW, judge, mix
from data.common.spec import WorldSpec
from data.synthetic import CONTINUOUS
from lit_modules.bcq_ma import BCQMA, BCQMAConfig
from reproduce.regression.cases import Benchmark, Case, Parity


class PlainBCQMA:
    """Shared networks, three Adams."""

    def __init__(self, config: BCQMAConfig, spec: WorldSpec):
        self.c, h, n, a = config, config.hidden, spec.n_agents, spec.action_size
        seen = spec.obs_size + n
        self.q1, self.q2 = (mlp(seen + a, *h, 1) for _ in range(2))
        self.policy = mlp(seen + a, *h, a)
        self.mixer = mlp(n * spec.state_size, *config.mixer_hidden, n + 1)
        self.encoder, self.decoder = mlp(seen + a, *config.vae_hidden, 4 * n), mlp(seen + 2 * n, *config.vae_hidden, a)
        for name in ("q1", "q2", "mixer", "policy"):
            setattr(self, f"{name}_target", deepcopy(getattr(self, name)))
        groups = ([self.policy], [self.q1, self.q2, self.mixer], [self.encoder, self.decoder])
        self.optimizers = [
            torch.optim.Adam([p for net in nets for p in net.parameters()], lr=config.lr) for nets in groups
        ]

    def update_train(self, b: dict[str, Tensor], noise: dict[str, Tensor]) -> dict[str, Tensor]:
        """b: tensors [B, N, ..]; noise: vae, policy [N, B, L], next [N, B, M, L]."""
        c, noise = self.c, {key: x.transpose(0, 1) for key, x in noise.items()}
        ids = with_ids(b["obs"])[..., b["obs"].shape[-1] :]
        mean, log_std = self.encoder(torch.cat([b["obs"], b["action"], ids], -1)).chunk(2, -1)
        deviation = log_std.clamp(-4, 15).exp()
        decoded = self.decoder(torch.cat([b["obs"], ids, mean + deviation * noise["vae"]], -1)).tanh()
        divergence = -0.5 * (1 + deviation.square().log() - mean.square() - deviation.square())
        vae_loss = (decoded - b["action"]).square().mean() + c.kl_weight * divergence.mean()
        with torch.no_grad():
            actions = self.proposals(self.policy_target, b["next_obs"], noise["next"])
            q1, q2 = (judge(net, b["next_obs"], actions) for net in (self.q1_target, self.q2_target))  # (B, N, M)
            soft = c.soft_min * torch.minimum(q1, q2) + (1 - c.soft_min) * torch.maximum(q1, q2)
            w, bias = mix(self.mixer_target, b["next_state"])
            y = b["reward"] + c.gamma * b["mask"] * ((w * soft.max(-1).values).sum(1) + bias)
        w, bias = mix(self.mixer, b["state"])
        totals = [(w * judge(net, b["obs"], b["action"])).sum(1) + bias for net in (self.q1, self.q2)]
        q_loss = sum((total - y).square().mean() for total in totals)
        proposed = self.proposals(self.policy, b["obs"], noise["policy"].unsqueeze(2))
        policy_loss = -judge(self.q1, b["obs"], proposed).mean()
        for loss, optimizer in zip((policy_loss, q_loss, vae_loss), self.optimizers, strict=True):
            params = optimizer.param_groups[0]["params"]
            for param, grad in zip(params, torch.autograd.grad(loss, params, retain_graph=True), strict=True):
                param.grad = grad
        for optimizer in self.optimizers:
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], c.max_grad_norm)
            optimizer.step()
        for name in ("q1", "q2", "mixer", "policy"):
            move_target(getattr(self, f"{name}_target"), getattr(self, name), c.tau)
        return {"loss/q": q_loss.detach(), "loss/policy": policy_loss.detach(), "loss/vae": vae_loss.detach()}

    def proposals(self, policy: nn.Module, obs: Tensor, noise: Tensor) -> Tensor:
        """obs [B, N, O], noise [B, N, M, L] -> [B, N, M, A]."""
        m, size = noise.shape[2], obs.shape[-1]
        obs, ids = (x.unsqueeze(2).expand(-1, -1, m, -1) for x in (obs, with_ids(obs)[..., size:]))
        z = noise.clamp(-0.5, 0.5)
        parts = [obs, z, ids] if self.c.decoder_order == "released" else [obs, ids, z]
        a = self.decoder(torch.cat(parts, -1)).tanh()
        return (a + self.c.phi * policy(torch.cat([obs, a, ids], -1)).tanh()).clamp(-1, 1)


def reach_the_bounds(module: BCQMA) -> None:
    """Actions near +-1, so that the clamp after the perturbation acts, and slow copies that differ."""
    with torch.no_grad():
        module.decoder.theta *= 6
        module.q2_target.theta *= 2


BCQ_SMALL = BCQMAConfig(
    name="bcq_ma",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    vae_hidden=[8, 8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    phi=0.05,
    soft_min=0.75,
    kl_weight=0.5,
    next_samples=4,
    act_samples=5,
    decoder_order="released",
)
NETS = ("q1", "q2", "policy", "mixer", "encoder", "decoder")
CASE = Case(
    config=BCQ_SMALL,
    spec=CONTINUOUS,
    plain=PlainBCQMA,
    state=tuple(f"{net}.theta" for net in (*NETS, "q1_target", "q2_target", "policy_target", "mixer_target")),
    variants={"consistent": {"decoder_order": "consistent", "soft_min": 1.0}},
    parity={
        "as_configured": Parity({"lr": 1e-3}),
        "consistent": Parity({"lr": 1e-3, "decoder_order": "consistent", "phi": 0.5}, reach_the_bounds),
    },
    benchmarks=(
        Benchmark("bcq_ma mpe size", ROW, MPE, ("algo=bcq_ma",), MPE_SIZE, "0.30 compiled"),
        Benchmark("bcq_ma hopper", ROW, HOPPER, ("algo=bcq_ma",)),
    ),
)
