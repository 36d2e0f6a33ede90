"""Random play in any world: the zero of a margin that is relative to it.

python -m data.generate.random_play smac map_name=5m_vs_6m view=modified
"""

import sys
from typing import Any

import torch
import yaml
from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.common.programs import ended
from data.common.provenance import provenance
from data.common.rng import Stream, generator
from data.common.spec import Box
from data.worlds import absent, at_once, make_world

EPISODES = 1000


@torch.no_grad()
def random_returns(world: dict[str, Any], seed: int, n_episodes: int) -> Tensor:
    """[n_episodes] returns of actions that are uniform in [-1, 1], or among the legal ones. As many worlds as an
    evaluation may step at once play in turns."""
    rng, n = generator(seed, Stream.RANDOM_PLAY), min(n_episodes, at_once(world["name"]) or n_episodes)
    worlds = make_world(n_worlds=n, **world)
    turns = [_turn(worlds, n, rng) for _ in range(-(-n_episodes // n))]
    return torch.cat(turns)[:n_episodes]


def _turn(worlds: Any, n: int, rng: torch.Generator) -> Tensor:
    td = worlds.reset(TensorDict({"start": worlds.draw_starts(n, rng)}, [n]))
    returns = torch.zeros(n, dtype=torch.float64)
    while not td["done"].all():
        td["action"] = _action(td, worlds.spec, rng)
        td = worlds.step(td)["next"]
        returns += td["reward"].squeeze(-1).double()
    return returns


def _action(td: TensorDict, spec: Any, rng: torch.Generator) -> Tensor:
    """[n, N, A] numbers, or [n, N] indices of legal actions."""
    n = len(td)
    if isinstance(spec.action, Box):
        return torch.rand(n, spec.n_agents, spec.action.size, generator=rng) * 2 - 1
    legal: Tensor = td["legal_actions"]  # [n, N, A]
    return torch.multinomial(legal.to(torch.float32).flatten(0, 1), 1, generator=rng).view(n, spec.n_agents)


def _parameter(word: str) -> tuple[str, Any]:
    key, _, value = word.partition("=")
    try:
        if key.isidentifier() and key != "name":
            return key, yaml.safe_load(value)
    except yaml.YAMLError:
        pass
    raise ReproduceError(f"{word!r} is no parameter; write KEY=VALUE, e.g. map_name=5m_vs_6m.")


def main(name: str = "", *words: str) -> None:
    """Print mean and standard error over EPISODES episodes of a world with these parameters.

    Raises ReproduceError for a world that is not there, and for words that are no parameters.
    """
    params = dict(map(_parameter, words))
    if reason := absent(name, **params):
        raise ReproduceError(reason)
    returns = random_returns({"name": name, **params}, 0, EPISODES)
    error, commit = returns.std().item() / EPISODES**0.5, str(provenance("cpu")["commit"])[:7]
    told = f"mean {returns.mean():.2f}, standard error {error:.2f}, {EPISODES} episodes, commit {commit}"
    print(f"{' '.join([name, *words])}: {told}")


if __name__ == "__main__":
    sys.exit(ended("random_play", main, sys.argv[1:]))
