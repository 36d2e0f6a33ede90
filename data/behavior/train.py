"""Behavior policies for regenerated data: trained online once, their snapshots kept along the way.

Together the snapshots are the training run; data.generate.mixture collects with them. NAME is a recipe of
configs/behavior; NAME-3 the same with seed 3, for teams that are trained independently.

    python -m data.behavior.train train omiga/hopper_3x1      # configs/behavior -> outputs/behavior, half an hour
    python -m data.behavior.train measure omiga/hopper_3x1    # returns of every snapshot, beside it
    python -m data.behavior.train keep omiga/hopper_3x1       # the snapshots that datasets use -> data/behavior
    python -m data.behavior.train random omiga/hopper_3x1     # returns of uniform actions, for paper_results
    python -m data.behavior.train prey omar/simple_tag_prey 20000   # that snapshot is the world's prey
    python -m data.behavior.train references omar/simple_tag  # returns of uniform actions and of the expert data
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from data.behavior import mappo, matd3, ppo, td3
from data.catalog import store
from data.catalog.registry import datasets
from data.common.errors import ReproduceError
from data.common.files import write_json, write_with
from data.common.paths import CONFIGS, outputs_dir
from data.common.programs import ended, number
from data.common.provenance import provenance
from data.common.rng import Stream, generator
from data.common.yaml_files import read_yaml
from data.generate import generator_of
from data.generate.mixture import WEIGHTS, noisy_act, play, snapshots
from data.generate.random_play import random_returns
from data.statistics import trajectory_statistics
from data.worlds import WORLDS

LEARNERS = {"td3": td3, "ppo": ppo, "matd3": matd3, "mappo": mappo}


def recipe_of(name: str) -> tuple[Any, Any]:
    """(learner's module, its Recipe) of configs/behavior/<name>.yaml; <name>-<seed>: with that seed."""
    name, _, seed = name.partition("-")
    values = read_yaml(CONFIGS / "behavior" / f"{name}.yaml", f"configs/behavior/{name}.yaml")
    values |= {"seed": number(int, seed, "the seed")} if seed else {}
    learner = LEARNERS[values.pop("learner")]
    return learner, learner.Recipe(**values)


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    write_with(path, lambda partial: save_file(tensors, partial))


def _train(name: str) -> None:
    torch.set_num_threads(1)
    origin, curve = provenance("cpu", 1), []

    def report(point: dict[str, Any]) -> None:
        curve.append(point)
        print(json.dumps(point), flush=True)

    learner, recipe = recipe_of(name)
    kept = learner.train(recipe, report)
    tensors = {f"{steps}/{key}": value.contiguous() for steps, values in kept.items() for key, value in values.items()}
    _save(outputs_dir() / "behavior" / f"{name}.safetensors", tensors)
    write_json(
        outputs_dir() / "behavior" / f"{name}.json", {"recipe": asdict(recipe), "curve": curve, "provenance": origin}
    )


def _measure(name: str, noises: list[float]) -> None:
    """Return statistics of every snapshot under several noises; what mixtures are chosen by."""
    (_, recipe), found = recipe_of(name), []
    world, kind = recipe.world, WORLDS[recipe.world["name"]]
    for steps, weights in snapshots(name, outputs_dir() / "behavior").items():
        for noise in noises:
            noisy = partial(noisy_act, weights, noise, clip=kind.bounded_actions)
            s = trajectory_statistics(
                play(world, noisy, kind.n_measured, generator(recipe.seed, Stream.MEASUREMENT, steps))
            )
            point = {"snapshot": steps, "noise": noise, **s["return"], "length": s["length"]["mean"]}
            found.append(point)
            print(json.dumps({k: round(v, 1) for k, v in point.items()}), flush=True)
    write_json(outputs_dir() / "behavior" / f"{name}_measured.json", {"measured": found})


def _random(name: str) -> None:
    _, recipe = recipe_of(name)
    returns = torch.cat([random_returns(recipe.world, seed, 100) for seed in range(10)])
    error = returns.std().item() / len(returns) ** 0.5
    commit = provenance("cpu")["commit"]
    print(
        f"{name}: mean {returns.mean():.2f}, standard error {error:.2f}, {len(returns)} episodes, commit {commit[:7]}"
    )


def _references(name: str) -> None:
    """Returns of uniform actions and of the expert data: the ends of normalized scores against our own prey."""
    origin, scenario = provenance("cpu", 1), name.split("/")[1]
    random = torch.cat([random_returns(recipe_of(name)[1].world, seed, 1000) for seed in range(10)])
    error = random.std().item() / len(random) ** 0.5
    expert = store.get(f"omar/{scenario}-expert").manifest
    measured = {
        "random": {"mean": random.mean().item(), "standard_error": error, "n_episodes": len(random)},
        "expert": {"mean": expert["statistics"]["return"]["mean"], "dataset": expert["id"], "sha256": expert["sha256"]},
    }
    write_json(WEIGHTS / "omar" / f"{scenario}_references.json", measured | {"provenance": origin})


def _keep(name: str) -> None:
    """Copy the snapshots that the catalog's datasets name, and the run's story."""
    made_by = [e.generator for e in datasets().values() if not e.generator.parts]
    recipes = [made.params for made in made_by if name in generator_of(made.name).policies(made.params)]
    parts = [{"weights": params.get("weights")} | part for params in recipes for part in params["parts"]]
    used = {part["snapshot"] for part in parts if part["weights"] == name}
    everything = load_file(outputs_dir() / "behavior" / f"{name}.safetensors")
    _save(WEIGHTS / f"{name}.safetensors", {k: v for k, v in everything.items() if int(k.split("/")[0]) in used})
    _tell(name)


def _prey(name: str, snapshot: int) -> None:
    """The snapshot in the form in which a world reads its prey."""
    kept = load_file(outputs_dir() / "behavior" / f"{name}.safetensors")
    parts = {f"fc{k + 1}.{part}": kept[f"{snapshot}/{part}{k}"][0] for k in range(3) for part in ("weight", "bias")}
    _save(WEIGHTS / f"{name}.safetensors", {key: value.contiguous() for key, value in parts.items()})
    _tell(name, {"snapshot": snapshot})


def _tell(name: str, more: dict[str, Any] | None = None) -> None:
    """The run's story beside its weights."""
    story = json.loads((outputs_dir() / "behavior" / f"{name}.json").read_text(encoding="utf-8"))
    write_json(WEIGHTS / f"{name}.json", story | (more or {}))


def main(command: str = "", name: str = "", *numbers: str) -> None:
    """Raises ReproduceError for words that are no command of the list above."""
    commands: dict[str, Callable[[str], None]] = {
        "train": _train,
        "measure": lambda name: _measure(name, [number(float, word, "the noise") for word in numbers or ["0.1"]]),
        "keep": _keep,
        "random": _random,
        "references": _references,
        "prey": lambda name: _prey(name, number(int, next(iter(numbers), ""), "the snapshot")),
    }
    if command not in commands or not name:
        raise ReproduceError(f"write a command and a recipe's name; commands: {', '.join(commands)}.")
    if len(numbers) > {"measure": len(numbers), "prey": 1}.get(command, 0):
        raise ReproduceError(f"{command} {name}: what is {' '.join(numbers)} for?")
    recipe_of(name)
    commands[command](name)


if __name__ == "__main__":
    sys.exit(ended("train", main, sys.argv[1:]))
