"""Generators by name: how each regenerated dataset is made, and what is measured on it before it is accepted."""

from collections.abc import Callable

from tensordict import TensorDict

from data.common.errors import ReproduceError, nearest
from data.generate import bandit, bridge, matrix, mixture, mpe
from data.generate.collect import Progress

# name -> (make(world, seed, progress=, **params) -> transitions, measures(transitions) -> numbers)
GENERATORS: dict[str, tuple[Callable[..., TensorDict], Callable[[TensorDict], dict[str, float]]]] = {
    "bandit_modes": (bandit.modes, bandit.measures),
    "bridge_mix": (bridge.mix, bridge.mix_measures),
    "bridge_optimal": (bridge.optimal, bridge.optimal_measures),
    "mamujoco_mixture": (mixture.mixture, lambda rows: {}),
    "mpe_mixture": (mixture.mixture, lambda rows: {}),
    "mpe_random": (mpe.random, lambda rows: {}),
    "matrix_independent": (matrix.independent, matrix.measures),
    "matrix_joint_actions": (matrix.joint_actions, matrix.measures),
}


def generate(
    name: str, world: dict, seed: int, params: dict, progress: Progress | None = None
) -> tuple[TensorDict, dict[str, float]]:
    """Transitions in the schema, on the CPU, the same bits for the same seed, and their measures.

    `world` is {"name": .., and the world's parameters}. Raises ReproduceError for an unknown generator.
    """
    if name not in GENERATORS:
        raise ReproduceError(
            f"unknown generator {name!r}; known: {', '.join(GENERATORS)}.{nearest(name, list(GENERATORS))}"
        )
    make, measure = GENERATORS[name]
    transitions = make(world, seed, progress=progress, **params)
    return transitions, measure(transitions)
