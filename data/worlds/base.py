"""The questions that every world answers, whatever its rules."""

from typing import Any

import torch
from torch import Tensor
from torchrl.envs import EnvBase

from data.common.errors import ReproduceError
from data.common.spec import WorldSpec
from data.layout import Layout, layout_of

MOST = 10**7


def positive(name: str, value: int) -> int:
    """`value` when it is an int from 1 to MOST; else ReproduceError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ReproduceError(f"{name} is {value!r}, expected a whole number of at least 1.")
    if value > MOST:
        raise ReproduceError(f"{name} is {value!r}, expected at most {MOST}.")
    return value


class World(EnvBase):
    """n_worlds worlds stepped at once, in TorchRL's terms.

    A step's TensorDict holds obs, state, reward [n, 1], done, terminated and truncated [n, 1]. It may hold `metrics`,
    a TensorDict of [n] numbers named as in `spec.metrics`, which count at the step that ends an episode. A finished
    world that is stepped on keeps its state and its ends, and gives reward 0.
    """

    start_size = 0  # random numbers that a start is made of; 0: every reset leads to the same start
    wave = 10_000  # episodes that collecting data steps at once
    waves_apart = False  # whether waves of data are faster side by side, in processes of one thread
    at_once: int | None = None  # worlds that an evaluation may step at once; None: any number
    n_measured = 10  # episodes by which a behavior policy is measured
    references_note = ""  # on `references` beside the published ones; four numbers are filled in: ours, then theirs
    observe: Any = None  # observe(features [.., F]) -> {"obs", "state"}; None: observations are stored as they are

    @property
    def spec(self) -> WorldSpec:
        """Sizes and conventions."""
        raise NotImplementedError

    @property
    def layout(self) -> Layout:
        """How experience of this world is stored."""
        return layout_of(self.spec, self.observe)

    @classmethod
    def layout_for(cls, **params: Any) -> Layout:
        """The layout of a world with these parameters."""
        return cls(1, **params).layout  # type: ignore[call-arg]

    @classmethod
    def absent(cls, **params: Any) -> str:
        """What is missing here to play it and no package index has, in a sentence; empty: nothing."""
        return ""

    @classmethod
    def fingerprint(cls, **params: Any) -> str:
        """A short text that changes when what the world shows changes."""
        raise NotImplementedError

    def draw_starts(self, n: int, generator: torch.Generator) -> Tensor:
        """Start noise of n worlds, [n, start_size], to be given to `reset` as `start`. By default nothing is drawn."""
        return torch.empty(n, 0)

    def references(self) -> dict[str, float] | None:
        """Returns of `random` and `expert` play measured here, by which scores are normalized; None: the published
        ones hold."""
        return None

    def foreign_parts(self) -> dict[str, dict[str, Any]]:
        """Parts of this world that are not this repository's, by name, as a record states them."""
        return {}

    def _set_seed(self, seed: int | None) -> None:
        """Nothing: starts are given to `reset`, and the dynamics are deterministic."""
