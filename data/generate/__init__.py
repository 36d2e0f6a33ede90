"""Generators by name: how each regenerated dataset is made, and what is measured on it before it is accepted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tensordict import TensorDict

from data.common.errors import ReproduceError, nearest
from data.common.spec import WorldSpec
from data.generate import bandit, bridge, fights, matrix, mixture, mpe
from data.generate.collect import Progress

Make = Callable[..., TensorDict]
Measure = Callable[[TensorDict], dict[str, float]]


@dataclass(frozen=True)
class Generator:
    """make(world, seed, progress=, **params) -> experience. measure(experience) -> numbers that acceptance is about.

    n_rows(params, spec of the world): rows at most. policies(params): names of the committed policies that play.
    """

    make: Make
    measure: Measure = lambda experience: {}
    n_rows: Callable[[dict[str, Any], WorldSpec], int] = lambda params, spec: params["rows"]
    policies: Callable[[dict[str, Any]], set[str]] = lambda params: set()


def _episodes(params: dict[str, Any], spec: WorldSpec) -> int:
    return params["episodes"] * spec.episode_limit


GENERATORS = {
    "bandit_modes": Generator(bandit.modes, bandit.measures),
    "bridge_mix": Generator(bridge.mix, bridge.mix_measures, lambda params, spec: 2 * _episodes(params, spec)),
    "bridge_optimal": Generator(bridge.optimal, bridge.optimal_measures, _episodes),
    "mamujoco_mixture": Generator(mixture.mixture, policies=mixture.policies),
    "mpe_mixture": Generator(mixture.mixture, policies=mixture.policies),
    "mpe_random": Generator(mpe.random),
    "official_only": Generator(fights.official_only, n_rows=lambda params, spec: 0),
    "matrix_independent": Generator(matrix.independent, matrix.measures, _episodes),
    "smax_scripts": Generator(fights.scripted, n_rows=fights.n_rows),
    "matrix_joint_actions": Generator(matrix.joint_actions, matrix.measures, _episodes),
}


def generator_of(name: str) -> Generator:
    """Raises ReproduceError with the nearest names for an unknown one."""
    if name not in GENERATORS:
        raise ReproduceError(
            f"unknown generator {name!r}; known: {', '.join(GENERATORS)}.{nearest(name, list(GENERATORS))}"
        )
    return GENERATORS[name]


def n_rows(name: str, params: dict[str, Any], spec: WorldSpec) -> int:
    """Rows that the generator makes at most, when every episode has full length."""
    return generator_of(name).n_rows(params, spec)


def weights_of(name: str, params: dict[str, Any]) -> dict[str, str]:
    """Checksums of the committed policies that play, by name; empty where none does."""
    return {policy: mixture.checksum(policy) for policy in sorted(generator_of(name).policies(params))}


def generate(
    name: str, world: dict, seed: int, params: dict, progress: Progress | None = None
) -> tuple[TensorDict, dict[str, float]]:
    """Transitions in the schema, on the CPU, the same bits for the same seed, and their measures.

    `world` is {"name": .., and the world's parameters}. Raises ReproduceError for an unknown generator.
    """
    generator = generator_of(name)
    transitions = generator.make(world, seed, progress=progress, **params)
    return transitions, generator.measure(transitions)
