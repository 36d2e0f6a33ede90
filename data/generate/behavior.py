"""Behavior policies for regenerated MuJoCo data: TD3 from TorchRL, with decentralized actors.

One MultiAgentMLP with shared weights maps each agent's own view to its action; the twin critics see the simulator's
features and the joint action, in training only. Snapshots of the actor are kept along the way: together they are the
training run, and data.generate.mamujoco collects with them.

    python -m data.generate.behavior train omiga/hopper_3x1      # configs/behavior -> outputs/behavior, half an hour
    python -m data.generate.behavior measure omiga/hopper_3x1    # returns of every snapshot, beside it
    python -m data.generate.behavior keep omiga/hopper_3x1       # the snapshots that datasets use -> data/behavior
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.modules import MLP, MultiAgentMLP
from torchrl.objectives import SoftUpdate, TD3Loss

from data.generate.mamujoco import WEIGHTS, play
from data.registry import datasets
from data.sampling import stream
from data.schema import row_statistics
from data.worlds.mamujoco import MultiAgentMujoco
from reproduce.files import write_json, write_with
from reproduce.paths import CONFIGS, outputs_dir
from reproduce.provenance import provenance

MEASURED_EPISODES = 20


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


def actor_network(obs_size: int, action_size: int, n_agents: int, cells: int) -> nn.Module:
    """obs [..., N, D] -> action [..., N, A] in [-1, 1]; one set of weights for all agents."""
    mlp = MultiAgentMLP(
        obs_size, action_size, n_agents, centralized=False, share_params=True, depth=2, num_cells=cells,
        activation_class=nn.ReLU,
    )  # fmt: skip
    return nn.Sequential(mlp, nn.Tanh())


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


def layers(network: nn.Module) -> dict[str, Tensor]:
    """weight0, bias0, .. of the actor's linear layers, copied: what a snapshot file holds."""
    state = {key: value for key, value in network.state_dict().items() if key.endswith(("weight", "bias"))}
    kinds = {kind: [v for k, v in state.items() if k.endswith(kind)] for kind in ("weight", "bias")}
    return {f"{kind}{k}": value.detach().clone() for kind, values in kinds.items() for k, value in enumerate(values)}


def train(recipe: Recipe, report: Callable[[dict[str, Any]], None]) -> dict[int, dict[str, Tensor]]:
    """Environment steps -> layers of the actor, every `snapshot_every` steps. `report` gets a point at each."""
    torch.manual_seed(recipe.seed)
    world = MultiAgentMujoco(recipe.n_worlds, recipe.scenario, recipe.agent_conf)
    network = actor_network(world.obs_size, world.action_size, world.n_agents, recipe.cells)
    actor = TensorDictModule(Decentralized(network), ["obs", "features"], ["action"])
    joint_action = world.n_agents * world.action_size
    critic = TensorDictModule(
        Critic(world.n_features, joint_action, recipe.critic_cells), ["features", "action"], ["state_action_value"]
    )
    loss = TD3Loss(actor, critic, bounds=(-1.0, 1.0), num_qvalue_nets=2, loss_function="l2")
    loss.make_value_estimator(gamma=recipe.gamma)
    targets = SoftUpdate(loss, tau=recipe.tau)
    optimizers = [
        torch.optim.Adam(list(params.flatten_keys().values()), lr=recipe.lr, fused=True)
        for params in (loss.actor_network_params, loss.qvalue_network_params)
    ]
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(recipe.n_steps + recipe.n_worlds), batch_size=recipe.batch_size
    )

    def descend(optimizer: torch.optim.Optimizer, value: Tensor) -> None:
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    kept, owed, updates, returns, running = {}, 0.0, 0, [], torch.zeros(recipe.n_worlds)
    td, started = world.reset(), time.perf_counter()
    for step in range(0, recipe.n_steps, recipe.n_worlds):
        if step < recipe.random_steps:
            td["action"] = torch.rand(recipe.n_worlds, world.n_agents, world.action_size) * 2 - 1
        else:
            with torch.no_grad():
                mean = network(td["obs"])
                td["action"] = (mean + recipe.noise * torch.randn_like(mean)).clamp(-1, 1)
        after = world.step(td)["next"]
        now = {key: td[key].float() for key in ("obs", "features", "action")}
        later = {key: after[key].float() for key in ("obs", "features", "reward")}
        ends = {key: after[key] for key in ("done", "terminated")}
        buffer.extend(TensorDict({**now, "next": later | ends}, [recipe.n_worlds]))
        running += after["reward"].squeeze(-1)
        ended = after["done"].squeeze(-1)
        returns += running[ended].tolist()
        running[ended] = 0.0
        td = after.exclude("reward")
        if ended.any():
            td = world.reset(td.set("_reset", ended.unsqueeze(-1))).exclude("_reset")
        owed += recipe.updates_per_step * recipe.n_worlds if step >= recipe.random_steps else 0.0
        while owed >= 1:
            owed, updates = owed - 1, updates + 1
            batch = buffer.sample()
            descend(optimizers[1], loss.value_loss(batch)[0])
            if updates % 2 == 0:  # TD3's delayed policy
                descend(optimizers[0], loss.actor_loss(batch)[0])
                targets.step()
        done = step + recipe.n_worlds
        if done % recipe.snapshot_every < recipe.n_worlds:
            kept[done] = layers(network)
            recent = returns[-8:]
            mean = round(sum(recent) / len(recent), 1) if recent else None
            seconds = round(time.perf_counter() - started, 1)
            report({"steps": done, "episodes": len(returns), "return_of_last_8": mean, "seconds": seconds})
    return kept


def recipe_of(name: str) -> Recipe:
    return Recipe(**yaml.safe_load((CONFIGS / "behavior" / f"{name}.yaml").read_text(encoding="utf-8")))


def _save(path: Path, kept: dict[int, dict[str, Tensor]]) -> None:
    tensors = {f"{steps}/{key}": value.contiguous() for steps, values in kept.items() for key, value in values.items()}
    write_with(path, lambda partial: save_file(tensors, partial))


def _load(path: Path) -> dict[int, dict[str, Tensor]]:
    kept: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(path).items():
        steps, part = key.split("/")
        kept.setdefault(int(steps), {})[part] = value
    return dict(sorted(kept.items()))


def _train(name: str) -> None:
    torch.set_num_threads(1)
    origin, curve = provenance("cpu", 1), []

    def report(point: dict[str, Any]) -> None:
        curve.append(point)
        print(json.dumps(point), flush=True)

    recipe = recipe_of(name)
    kept = train(recipe, report)
    _save(outputs_dir() / "behavior" / f"{name}.safetensors", kept)
    write_json(
        outputs_dir() / "behavior" / f"{name}.json", {"recipe": asdict(recipe), "curve": curve, "provenance": origin}
    )


def _measure(name: str, noises: list[float]) -> None:
    """Return statistics of every snapshot under several noises; what mixtures are chosen by."""
    recipe, found = recipe_of(name), []
    world = {"name": "mamujoco", "scenario": recipe.scenario, "agent_conf": recipe.agent_conf}
    for steps, weights in _load(outputs_dir() / "behavior" / f"{name}.safetensors").items():
        parts = [weights[f"{kind}{k}"] for k in range(3) for kind in ("weight", "bias")]
        for noise in noises:
            s = row_statistics(play(world, parts, MEASURED_EPISODES, noise, stream(recipe.seed, 6, steps)))
            point = {"snapshot": steps, "noise": noise, **s["return"], "length": s["length"]["mean"]}
            found.append(point)
            print(json.dumps({k: round(v, 1) for k, v in point.items()}), flush=True)
    write_json(outputs_dir() / "behavior" / f"{name}_measured.json", {"measured": found})


def _keep(name: str) -> None:
    """Copy the snapshots that the registry's datasets name, and the run's story."""
    recipes = [entry["generator"]["params"] for entry in datasets().values()]
    used = {part["snapshot"] for params in recipes if params.get("weights") == name for part in params["parts"]}
    everything = _load(outputs_dir() / "behavior" / f"{name}.safetensors")
    _save(WEIGHTS / f"{name}.safetensors", {steps: everything[steps] for steps in sorted(used)})
    story = json.loads((outputs_dir() / "behavior" / f"{name}.json").read_text(encoding="utf-8"))
    write_json(WEIGHTS / f"{name}.json", story)


if __name__ == "__main__":
    command, which = sys.argv[1:3]
    {"train": _train, "measure": lambda n: _measure(n, [float(x) for x in sys.argv[3:]] or [0.1]), "keep": _keep}[
        command
    ](which)
