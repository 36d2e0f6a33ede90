"""TD3 from TorchRL with decentralized actors: one MultiAgentMLP with shared weights maps each agent's own view to its
action; the twin critics see the simulator's features and the joint action, in training only."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.modules import MLP
from torchrl.objectives import SoftUpdate, TD3Loss

from data.behavior.policies import actor_network, layers
from data.worlds.mamujoco import MultiAgentMujoco


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run; one file of configs/behavior."""

    scenario: str
    agent_conf: str
    seed: int
    n_steps: int  # environment steps, all worlds together
    n_worlds: int
    random_steps: int  # uniform actions at first
    updates_per_step: float
    batch_size: int
    cells: int  # of the actor's two hidden layers
    critic_cells: int
    lr: float
    gamma: float
    tau: float
    noise: float  # deviation of the exploration noise
    snapshot_every: int  # environment steps

    @property
    def world(self) -> dict[str, Any]:
        """The world that the policies act in, as datasets name it."""
        return {"name": "mamujoco", "scenario": self.scenario, "agent_conf": self.agent_conf}


class Decentralized(nn.Module):
    """The actor under the keys that TD3Loss hands to actor and critics alike; it reads the agents' views only."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, obs: Tensor, features: Tensor) -> Tensor:
        return self.network(obs)


class Critic(nn.Module):
    """Q(features, joint action) [..., 1]."""

    def __init__(self, n_features: int, joint_action: int, cells: int):
        super().__init__()
        self.mlp = MLP(n_features + joint_action, 1, depth=2, num_cells=cells, activation_class=nn.ReLU)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        return self.mlp(torch.cat([features, action.flatten(-2)], -1))


class Team:
    """The agents that learn together: networks, targets, experience and TD3's update.

    `share`: one set of weights for all agents, or one for each.
    """

    def __init__(self, recipe: Any, sizes: tuple[int, int, int], n_features: int, n_rows: int, share: bool = True):
        """sizes: of an agent's view, of its action, number of agents. n_rows: how much experience is kept."""
        joint_action = sizes[1] * sizes[2]
        self.network = actor_network(*sizes, recipe.cells, share)
        actor = TensorDictModule(Decentralized(self.network), ["obs", "features"], ["action"])
        critic = TensorDictModule(
            Critic(n_features, joint_action, recipe.critic_cells),
            ["features", "action"],
            ["state_action_value"],
        )
        self.loss = TD3Loss(actor, critic, bounds=(-1.0, 1.0), num_qvalue_nets=2, loss_function="l2")  # type: ignore
        self.loss.make_value_estimator(gamma=recipe.gamma)
        self.targets = SoftUpdate(self.loss, tau=recipe.tau)
        self.optimizers = [
            torch.optim.Adam(list(params.flatten_keys().values()), lr=recipe.lr, fused=True)
            for params in (self.loss.actor_network_params, self.loss.qvalue_network_params)
        ]
        self.buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(n_rows), batch_size=recipe.batch_size)
        self.n_updates = 0

    def explore(self, obs: Tensor, noise: float) -> Tensor:
        """obs [n, N, D] -> actions [n, N, A], noise of that deviation added, clipped."""
        with torch.no_grad():
            mean = self.network(obs)
            return (mean + noise * torch.randn_like(mean)).clamp(-1, 1)

    def update(self) -> None:
        self.n_updates += 1
        batch = self.buffer.sample()
        self._descend(self.optimizers[1], self.loss.value_loss(batch)[0])
        if self.n_updates % 2 == 0:  # TD3's delayed policy
            self._descend(self.optimizers[0], self.loss.actor_loss(batch)[0])
            self.targets.step()

    def _descend(self, optimizer: torch.optim.Optimizer, value: Tensor) -> None:
        optimizer.zero_grad()
        value.backward()
        optimizer.step()


def train(recipe: Recipe, report: Callable[[dict[str, Any]], None]) -> dict[int, dict[str, Tensor]]:
    """Environment steps -> layers of the actor, every `snapshot_every` steps. `report` gets a point at each."""
    torch.manual_seed(recipe.seed)
    world = MultiAgentMujoco(recipe.n_worlds, recipe.scenario, recipe.agent_conf)
    sizes = (world.obs_size, world.action_size, world.n_agents)
    team = Team(recipe, sizes, world.n_features, recipe.n_steps + recipe.n_worlds)
    kept, owed, returns, running = {}, 0.0, [], torch.zeros(recipe.n_worlds)
    td, started = world.reset(), time.perf_counter()
    for step in range(0, recipe.n_steps, recipe.n_worlds):
        if step < recipe.random_steps:
            td["action"] = torch.rand(recipe.n_worlds, world.n_agents, world.action_size) * 2 - 1
        else:
            td["action"] = team.explore(td["obs"], recipe.noise)
        after = world.step(td)["next"]
        now = {key: td[key].float() for key in ("obs", "features", "action")}
        later = {key: after[key].float() for key in ("obs", "features", "reward")}
        ends = {key: after[key] for key in ("done", "terminated")}
        team.buffer.extend(TensorDict({**now, "next": later | ends}, [recipe.n_worlds]))
        running += after["reward"].squeeze(-1)
        ended = after["done"].squeeze(-1)
        returns += running[ended].tolist()
        running[ended] = 0.0
        td = after.exclude("reward")
        if ended.any():
            td = world.reset(td.set("_reset", ended.unsqueeze(-1))).exclude("_reset")
        owed += recipe.updates_per_step * recipe.n_worlds if step >= recipe.random_steps else 0.0
        while owed >= 1:
            owed -= 1
            team.update()
        done = step + recipe.n_worlds
        if done % recipe.snapshot_every < recipe.n_worlds:
            kept[done] = layers(team.network)
            recent = returns[-8:]
            mean = round(sum(recent) / len(recent), 1) if recent else None
            seconds = round(time.perf_counter() - started, 1)
            report({"steps": done, "episodes": len(returns), "return_of_last_8": mean, "seconds": seconds})
    return kept
