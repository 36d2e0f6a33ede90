"""MAPPO from TorchRL for worlds with discrete actions: one network with shared weights maps each agent's own view and
identity to logits over its legal actions; the critic sees the state, in training only."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict, stack
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
from torchrl.envs.utils import ExplorationType
from torchrl.modules import MLP, MaskedCategorical, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from data.behavior.policies import layers
from data.worlds import make_world

SEEN = ("obs", "state", "legal_actions")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run; one file of configs/behavior."""

    name: str  # of the world
    params: dict[str, Any]  # of the world
    seed: int
    n_iterations: int
    n_worlds: int
    horizon: int  # steps per world and iteration
    n_epochs: int
    minibatch_size: int
    cells: int  # of the two hidden layers of actor and critic
    lr: float  # falls linearly to a tenth
    gamma: float
    gae_lambda: float
    clip: float
    entropy: float  # falls linearly to a tenth
    reward_scale: float
    snapshot_every: int  # iterations

    @property
    def world(self) -> dict[str, Any]:
        """The world that the policies act in, as datasets name it."""
        return {"name": self.name, **self.params}


class Logits(nn.Module):
    """obs [.., N, O] -> logits [.., N, A]; every agent's view has its identity appended."""

    identity: Tensor

    def __init__(self, obs_size: int, n_agents: int, n_actions: int, cells: int):
        super().__init__()
        self.net = MLP(obs_size + n_agents, n_actions, depth=2, num_cells=cells, activation_class=nn.ReLU)
        self.register_buffer("identity", torch.eye(n_agents))
        for parameter in list(self.net.parameters())[-2:]:  # first actions are nearly uniform
            parameter.data *= 0.01

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(torch.cat([obs, self.identity.expand(*obs.shape[:-1], -1)], -1))


def train(recipe: Recipe, report: Callable[[dict[str, Any]], None]) -> dict[int, dict[str, Tensor]]:
    """Environment steps -> layers of the actor, every `snapshot_every` iterations. `report` gets a point at each."""
    torch.manual_seed(recipe.seed)
    world: Any = make_world(n_worlds=recipe.n_worlds, device="cpu", **recipe.world)
    spec, n_batch = world.spec, recipe.n_worlds * recipe.horizon
    logits = Logits(spec.obs_size, spec.n_agents, spec.n_actions, recipe.cells)
    actor = ProbabilisticActor(
        TensorDictModule(logits, ["obs"], ["logits"]),
        in_keys={"logits": "logits", "mask": "legal_actions"},  # type: ignore[arg-type]
        distribution_class=MaskedCategorical,
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )
    value = MLP(spec.state_shape[-1], 1, depth=2, num_cells=recipe.cells, activation_class=nn.Tanh)
    critic = TensorDictModule(value, ["state"], ["state_value"])
    loss = ClipPPOLoss(
        actor, critic, clip_epsilon=recipe.clip, entropy_coeff=recipe.entropy, critic_coeff=0.5,
        loss_critic_type="l2", normalize_advantage=True,
    )  # fmt: skip
    advantage = GAE(gamma=recipe.gamma, lmbda=recipe.gae_lambda, value_network=critic, shifted=True, time_dim=1)
    optimizer = torch.optim.Adam(loss.parameters(), lr=recipe.lr, eps=1e-5, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, recipe.n_iterations)
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(n_batch), sampler=SamplerWithoutReplacement(), batch_size=recipe.minibatch_size
    )

    kept, returns, wins, running = {}, [], [], torch.zeros(recipe.n_worlds)
    td, started = world.reset(), time.perf_counter()
    for iteration in range(1, recipe.n_iterations + 1):
        rollout = []
        for _ in range(recipe.horizon):
            with torch.no_grad():
                td = actor(td)
            after = world.step(td)["next"]
            now = {key: td[key] for key in (*SEEN, "action", "action_log_prob")}
            later = {"state": after["state"], "reward": after["reward"] * recipe.reward_scale}
            later |= {key: after[key] for key in ("done", "terminated")}
            rollout.append(TensorDict({**now, "next": later}, [recipe.n_worlds]))
            running += after["reward"].squeeze(-1)
            ended = after["done"].squeeze(-1)
            returns += running[ended].tolist()
            if "win_rate" in spec.metrics:
                wins += after["metrics", "win_rate"][ended].tolist()
            running[ended] = 0.0
            td = after.select(*SEEN, "done", "terminated", "truncated")
            if ended.any():
                td = world.reset(td.set("_reset", ended.unsqueeze(-1))).exclude("_reset")
        batch = stack(rollout, 1)  # [W, T]
        with torch.no_grad():
            advantage(batch)
        shared = batch["advantage"].unsqueeze(-2)  # the team's, for every agent's own ratio
        batch["advantage"] = shared.expand(*batch.shape, spec.n_agents, 1)
        buffer.empty()
        buffer.extend(batch.reshape(-1))
        for _ in range(recipe.n_epochs * (n_batch // recipe.minibatch_size)):
            losses = loss(buffer.sample())
            total = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
            optimizer.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
            optimizer.step()
        decay.step()
        entropy: Any = loss.entropy_coeff
        entropy.fill_(recipe.entropy * max(1 - iteration / recipe.n_iterations, 0.1))
        if iteration % recipe.snapshot_every == 0:
            kept[iteration * n_batch] = layers(logits)
            recent, won = returns[-1000:], wins[-1000:]
            report({
                "steps": iteration * n_batch, "episodes": len(returns),
                "return_of_last_1000": round(sum(recent) / len(recent), 2) if recent else None,
                "win_rate_of_last_1000": round(sum(won) / len(won), 3) if won else None,
                "seconds": round(time.perf_counter() - started, 1),
            })  # fmt: skip
    return kept
