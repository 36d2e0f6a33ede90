"""PPO from TorchRL with decentralized actors: one MultiAgentMLP with shared weights maps each agent's own view to the
mean of its Gaussian action; the critic sees the simulator's features, in training only."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict, stack
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import Tensor, nn
from torchrl.data import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
from torchrl.envs.utils import ExplorationType
from torchrl.modules import MLP, IndependentNormal, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from data.behavior.policies import actor_network, layers
from data.worlds.mamujoco import MultiAgentMujoco


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run; one file of configs/behavior."""

    scenario: str
    agent_conf: str
    seed: int
    n_iterations: int
    n_worlds: int
    horizon: int  # steps per world and iteration
    n_epochs: int
    minibatch_size: int
    cells: int  # of the two hidden layers of actor and critic
    lr: float  # falls linearly to 0
    gamma: float
    gae_lambda: float
    clip: float
    entropy: float
    initial_scale: float  # standard deviation of the first actions
    reward_scale: float  # brings values to the order of 10
    snapshot_every: int  # iterations

    @property
    def world(self) -> dict[str, Any]:
        """The world that the policies act in, as datasets name it."""
        return {"name": "mamujoco", "scenario": self.scenario, "agent_conf": self.agent_conf}


def train(recipe: Recipe, report: Callable[[dict[str, Any]], None]) -> dict[int, dict[str, Tensor]]:
    """Environment steps -> layers of the actor, every `snapshot_every` iterations. `report` gets a point at each."""
    torch.manual_seed(recipe.seed)
    world = MultiAgentMujoco(recipe.n_worlds, recipe.scenario, recipe.agent_conf)
    mean = actor_network(world.obs_size, world.action_size, world.n_agents, recipe.cells)
    normal = AddStateIndependentNormalScale((world.n_agents, world.action_size), scale_mapping="exp")
    nn.init.constant_(normal.state_independent_scale, torch.tensor(recipe.initial_scale).log().item())
    actor = ProbabilisticActor(
        TensorDictModule(nn.Sequential(mean, normal), ["obs"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=IndependentNormal,
        distribution_kwargs={"event_dim": 2, "upscale": None},  # the agents' factors as one joint density
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )
    value = MLP(world.n_features, 1, depth=2, num_cells=recipe.cells, activation_class=nn.Tanh)
    critic = TensorDictModule(value, ["features"], ["state_value"])
    loss = ClipPPOLoss(
        actor, critic, clip_epsilon=recipe.clip, entropy_coeff=recipe.entropy, critic_coeff=0.5,
        loss_critic_type="l2", normalize_advantage=True,
    )  # fmt: skip
    advantage = GAE(gamma=recipe.gamma, lmbda=recipe.gae_lambda, value_network=critic, shifted=True, time_dim=1)
    optimizer = torch.optim.Adam(loss.parameters(), lr=recipe.lr, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, recipe.n_iterations)
    n_batch = recipe.n_worlds * recipe.horizon
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(n_batch), sampler=SamplerWithoutReplacement(), batch_size=recipe.minibatch_size
    )

    kept, returns, running = {}, [], torch.zeros(recipe.n_worlds)
    td, started = world.reset(), time.perf_counter()
    for iteration in range(1, recipe.n_iterations + 1):
        rollout = []
        for _ in range(recipe.horizon):
            with torch.no_grad():
                td = actor(td)
            after = world.step(td)["next"]
            now = {key: td[key].float() for key in ("obs", "features", "action", "action_log_prob")}
            later = {"features": after["features"].float(), "reward": after["reward"] * recipe.reward_scale}
            later |= {key: after[key] for key in ("done", "terminated")}
            rollout.append(TensorDict({**now, "next": later}, [recipe.n_worlds]))
            running += after["reward"].squeeze(-1)
            ended = after["done"].squeeze(-1)
            returns += running[ended].tolist()
            running[ended] = 0.0
            td = after.select("obs", "features", "done", "terminated", "truncated")
            if ended.any():
                td = world.reset(td.set("_reset", ended.unsqueeze(-1))).exclude("_reset")
        batch = stack(rollout, 1)  # [W, T]
        with torch.no_grad():
            advantage(batch)
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
        if iteration % recipe.snapshot_every == 0:
            kept[iteration * n_batch] = layers(mean)
            recent = returns[-40:]
            scale = normal.state_independent_scale.exp().mean().item()
            report({
                "steps": iteration * n_batch, "episodes": len(returns), "action_scale": round(scale, 4),
                "return_of_last_40": round(sum(recent) / len(recent), 1) if recent else None,
                "seconds": round(time.perf_counter() - started, 1),
            })  # fmt: skip
    return kept
