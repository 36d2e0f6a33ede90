"""TD3 from TorchRL for teams in OMAR's particle worlds, and for the prey that the hunters of two of them chase.

Each agent has weights of its own and acts by its own view; the twin critics of a team see all positions and the team's
joint action, in training only (Ackermann et al. 2019, MATD3). A prey learns against hunters that learn beside it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data.behavior.policies import layers
from data.behavior.td3 import Team
from data.worlds.mpe import FOOD, ParticleWorld

FREE_OF_BOUNDS = 0.9  # distance from the middle along an axis at which a prey begins to pay


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run; one file of configs/behavior."""

    scenario: str
    seed: int
    prey: str  # fixed: the committed one, if the world has any | learning: it is what the run is for
    n_steps: int  # environment steps, all worlds together
    n_worlds: int
    random_steps: int  # uniform actions at first
    updates_per_step: float
    batch_size: int
    cells: int  # of the actors' two hidden layers
    critic_cells: int
    lr: float
    gamma: float
    tau: float
    noise: float  # deviation of the exploration noise
    reward_scale: float
    snapshot_every: int  # environment steps

    @property
    def world(self) -> dict[str, Any]:
        """The world that the policies act in, as datasets name it."""
        return {"name": "mpe", "scenario": self.scenario}


class LearningPrey:
    """Acts in a ParticleWorld as its prey, and remembers what it saw and did."""

    def __init__(self) -> None:
        self.team: Team | None = None
        self.noise: float | None = None  # None: uniform actions
        self.obs = self.action = torch.empty(0)

    def __call__(self, obs: Tensor) -> Tensor:
        """obs [n, O] -> action [n, 2]."""
        self.obs = obs.float().unsqueeze(1)
        if self.team is None or self.noise is None:
            self.action = torch.rand(len(obs), 1, 2) * 2 - 1
        else:
            self.action = self.team.explore(self.obs, self.noise)
        return self.action[:, 0].double()


def prey_reward(world: ParticleWorld, features: Tensor) -> Tensor:
    """[n, 1] for features [n, F]: minus the hunters' for contacts, a penalty that grows beyond the field, and 2 for
    food. Ours, after the particle worlds' usual rewards; OMAR does not say how its prey were trained."""
    physics = world.physics
    pos, _, landmarks = world.parts(features)
    prey, hunters = pos[:, physics.n_learners :], pos[:, : physics.n_learners]  # (n, 1, 2), (n, 3, 2)
    near = (prey - hunters).square().sum(-1).sqrt() < physics.sizes[: physics.n_learners] + physics.sizes[-1]
    out = prey[:, 0].abs()
    penalty = torch.where(out < 1, 10 * (out - FREE_OF_BOUNDS), (2 * out - 2).exp().clamp(max=10))
    reward = -physics.rules.contact_reward * near.sum(-1) - (penalty * (out > FREE_OF_BOUNDS)).sum(-1)
    if physics.name == "simple_world":
        food = landmarks[:, 1:3]
        reward = reward + 2.0 * ((prey - food).square().sum(-1).sqrt() < physics.sizes[-1] + FOOD).sum(-1)
    return reward.unsqueeze(-1).float()


def train(recipe: Recipe, report: Callable[[dict[str, Any]], None]) -> dict[int, dict[str, Tensor]]:
    """Environment steps -> layers of the actors (of the prey, where it learns), every `snapshot_every` steps."""
    torch.manual_seed(recipe.seed)
    prey = LearningPrey() if recipe.prey == "learning" else None
    world = ParticleWorld(recipe.n_worlds, recipe.scenario, prey)
    n, n_rows = recipe.n_worlds, recipe.n_steps + recipe.n_worlds
    team = Team(recipe, (world.obs_size, 2, world.n_agents), world.n_features, n_rows, share=False)
    teams = [team]
    if prey:
        prey.team = Team(
            recipe,
            (world.prey_view(torch.zeros(1, world.n_features)).shape[-1], 2, 1),
            world.n_features,
            n_rows,
            share=False,
        )
        teams.append(prey.team)

    def remember(side: Team, td: TensorDict, after: TensorDict, **own: Tensor) -> None:
        later = {"features": after["features"].float(), **{k: after[k] for k in ("done", "terminated")}}
        later |= {"obs": own["next_obs"], "reward": own["reward"] * recipe.reward_scale}
        now = {"features": td["features"].float(), "obs": own["obs"], "action": own["action"]}
        side.buffer.extend(TensorDict({**now, "next": later}, [n]))

    kept, owed, returns, running = {}, 0.0, [], torch.zeros(n)
    td, started = world.reset(), time.perf_counter()
    for step in range(0, recipe.n_steps, n):
        exploring = step >= recipe.random_steps
        if prey:
            prey.noise = recipe.noise if exploring else None
        td["action"] = team.explore(td["obs"], recipe.noise) if exploring else torch.rand(n, world.n_agents, 2) * 2 - 1
        after = world.step(td)["next"]
        remember(team, td, after, obs=td["obs"], action=td["action"], next_obs=after["obs"], reward=after["reward"])
        if prey:
            seen = world.prey_view(after["features"]).float().unsqueeze(1)
            earned = prey_reward(world, after["features"])
            remember(teams[1], td, after, obs=prey.obs, action=prey.action, next_obs=seen, reward=earned)
        running += after["reward"].squeeze(-1)
        td = after.exclude("reward")
        if after["done"].all():  # all episodes have one length
            returns.append(running.mean().item())
            running.zero_()
            td = world.reset()
        owed += recipe.updates_per_step * n if exploring else 0.0
        while owed >= 1:
            owed -= 1
            for side in teams:
                side.update()
        done = step + n
        if done % recipe.snapshot_every < n:
            kept[done] = layers(teams[-1].network)
            recent = returns[-4:]
            mean = round(sum(recent) / len(recent), 1) if recent else None
            seconds = round(time.perf_counter() - started, 1)
            report({"steps": done, "return_of_last_4": mean, "seconds": seconds})
    return kept
