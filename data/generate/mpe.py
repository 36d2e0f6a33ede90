"""Particle worlds' data: uniform actions, as OMAR's random datasets have them."""

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.rng import Stream, generator
from data.generate.collect import Progress
from data.generate.play import play
from data.worlds.mpe import ParticleWorld


def random(world: dict, seed: int, episodes: int, rows: int, progress: Progress | None = None) -> TensorDict:
    """So many episodes of uniform actions in [-1, 1]; `rows` is the size expected."""

    def act(obs: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(*obs.shape[:2], 2, generator=generator) * 2 - 1

    made = []
    for k, start in enumerate(range(0, episodes, ParticleWorld.wave)):
        made.append(play(world, act, min(ParticleWorld.wave, episodes - start), generator(seed, Stream.COLLECTION, k)))
        if progress:
            progress(min(sum(map(len, made)), rows), rows)
    return torch.cat(made)  # type: ignore
