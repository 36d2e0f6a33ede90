"""Worlds by name, and the fingerprint that tells whether two of them behave alike."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from data.common.errors import ReproduceError, nearest
from data.common.validation import SHORT
from data.layout import Layout
from data.worlds.bandit import Bandit
from data.worlds.bridge import Bridge
from data.worlds.mamujoco import MultiAgentMujoco
from data.worlds.matrix import MatrixGame
from data.worlds.mpe import ParticleWorld
from data.worlds.smac import Smac
from data.worlds.smax import Smax

WORLDS: dict[str, Any] = {
    "bandit": Bandit,
    "bridge": Bridge,
    "matrix": MatrixGame,
    "mamujoco": MultiAgentMujoco,
    "mpe": ParticleWorld,
    "smac": Smac,
    "smax": Smax,
}


def make_world(name: str, n_worlds: int, device: str | torch.device = "cpu", **params: Any) -> Any:
    """n_worlds worlds of one kind (data.worlds.base.World); `params` are the keyword arguments of its class.

    Raises ReproduceError for an unknown name, and for an unknown or missing parameter.
    """
    _check(name, params)
    with _explained(name, params):
        return WORLDS[name](n_worlds, device=device, **params)


def layout_for(name: str, **params: Any) -> Layout:
    """How experience of such a world is stored; asks for no package that only playing needs.

    Raises ReproduceError as make_world does.
    """
    _check(name, params)
    with _explained(name, params):
        return WORLDS[name].layout_for(**params)


def at_once(name: str) -> int | None:
    """How many such worlds an evaluation may step at once; None: any number. Raises as make_world does."""
    _check_name(name)
    return WORLDS[name].at_once


def absent(name: str, **params: Any) -> str:
    """What is missing here to play such a world and no package index has, in a sentence; empty: nothing.

    Raises as make_world does.
    """
    _check(name, params)
    return WORLDS[name].absent(**params)


def fingerprint(name: str, **params: Any) -> str:
    """Changes when what the world shows changes: its class says how it is taken.

    Raises ReproduceError as make_world does.
    """
    _check(name, params)
    with _explained(name, params):
        return WORLDS[name].fingerprint(**params)


@contextmanager
def _explained(name: str, params: dict[str, Any]) -> Iterator[None]:
    """A parameter of a type that the world's class does not take is bad input."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        stated = ", ".join(f"{key}={SHORT.repr(value)}" for key, value in params.items())
        raise ReproduceError(f"world {name} cannot be made with {stated}: {error}.") from error


def _check_name(name: str) -> None:
    if name not in WORLDS:
        raise ReproduceError(f"unknown world {name!r}; known: {', '.join(WORLDS)}.{nearest(name, list(WORLDS))}")


def _check(name: str, params: dict[str, Any]) -> None:
    _check_name(name)
    taken = dict(inspect.signature(WORLDS[name].__init__).parameters)
    for own in ("self", "n_worlds", "device"):
        del taken[own]
    for key in params:
        if key not in taken:
            known = f"known: {', '.join(taken)}.{nearest(key, list(taken))}"
            raise ReproduceError(f"world {name} has no parameter {key!r}; {known}")
    for key, parameter in taken.items():
        if parameter.default is parameter.empty and key not in params:
            raise ReproduceError(f"world {name} needs the parameter {key!r}.")
