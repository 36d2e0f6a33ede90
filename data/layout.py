"""How experience is stored (data.schema): its keys, check, size, sampling, and the way back to the schema.

Two objects answer alike: `Transitions` and `Trajectories`. A world names its own (`world.layout`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from data import synthetic
from data.common.errors import ReproduceError
from data.common.spec import Box, Discrete, WorldSpec
from data.samplers import Episodes, SeedSampler, TrajectorySampler
from data.schema import flatten, is_init, next_action, return_to_go, trajectories_of, transitions_of
from data.statistics import return_statistics, trajectory_statistics

NEXT_ACTION = ("next", "action")  # 0 after an episode's last transition
DERIVED: dict[str, Callable[[TensorDict], Tensor]] = {"return_to_go": return_to_go, "is_init": is_init}
ACTION_LIMIT = 10.0  # Gaussian behavior policies leave [-1, 1] by a few deviations
Columns = dict[str, tuple[torch.dtype, tuple[int, ...]]]
Observe = Callable[[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Layout:
    """What both layouts share. `observe` derives obs and state from features, where features are stored."""

    spec: WorldSpec
    observe: Observe | None = None
    name = "experience"

    def columns(self) -> Columns:
        """Flat key -> (dtype, shape without the leading axis)."""
        raise NotImplementedError

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in memory and on disk."""
        return sum(dtype.itemsize * math.prod(shape) for dtype, shape in self.columns().values())

    def read(self, tensors: dict[str, Tensor]) -> TensorDict:
        """Experience from a file's tensors by flat key. Raises ReproduceError where it is another layout's."""
        raise NotImplementedError

    def check(self, experience: TensorDict) -> None:
        """Raise ReproduceError at the first key whose presence, dtype, shape or values are not this layout's."""
        raise NotImplementedError

    def statistics(self, experience: TensorDict) -> dict[str, Any]:
        """The manifest's `statistics`."""
        raise NotImplementedError

    def select(self, experience: TensorDict, keys: Sequence[Any]) -> TensorDict:
        """The columns that have to be stored so that chunks with `keys` of the schema can be made."""
        raise NotImplementedError

    def sampler(self, seeds: Sequence[int], experience: TensorDict) -> SeedSampler:
        """Which rows an update sees: each seed draws its own."""
        raise NotImplementedError

    def cut(self, drawn: TensorDict, shape: tuple[int, ...], keys: Sequence[Any]) -> TensorDict:
        """Drawn rows as a chunk of `shape`, with what `keys` (all that are stored where empty) are made from."""
        raise NotImplementedError

    def to_schema(self, chunk: TensorDict, keys: Sequence[Any]) -> TensorDict:
        """The chunk with `keys` of the schema, as far as it holds what they are made from."""
        raise NotImplementedError

    def synthetic(self, n: int, dtype: torch.dtype = torch.float32) -> TensorDict:
        """n rows of made-up experience, the same every time."""
        raise NotImplementedError

    def expected_sizes(self) -> tuple[int, ...]:
        """The sizes by which experience of another world is told."""
        raise NotImplementedError

    def sizes(self, experience: TensorDict) -> tuple[int, ...]:
        """The same sizes, of `experience`."""
        raise NotImplementedError

    # ---- shared by both

    def seen(self) -> Columns:
        """What the agents see, as the schema has it."""
        n, spec = self.spec.n_agents, self.spec
        seen: Columns = {
            "obs": (torch.float32, (n, spec.obs_size)),
            "state": (torch.float32, spec.state_shape),
        }
        legal: Columns = {"legal_actions": (torch.bool, (n, spec.n_actions))}
        return seen | legal if isinstance(spec.action, Discrete) else seen

    def acted(self) -> Columns:
        """Actions, rewards and ends."""
        n, spec = self.spec.n_agents, self.spec
        return {
            "action": (torch.float32, (n, spec.action.size)) if isinstance(spec.action, Box) else (torch.int64, (n,)),
            "reward": (torch.float32, (1,)),
            **({"rewards": (torch.float32, (n,))} if spec.individual_rewards else {}),
            "terminated": (torch.bool, (1,)),
            "truncated": (torch.bool, (1,)),
        }

    def check_columns(self, found: dict[str, Tensor], n: int) -> None:
        for key, (dtype, shape) in self.columns().items():
            value, expected = found.get(key), (n, *shape)
            if value is None:
                wanted = f"expected {dtype} {[n, '...']}".replace("'", "")
                raise ReproduceError(f"{self.name}: key {key} is missing, {wanted}; {sorted(found)} found.")
            if value.dtype != dtype or tuple(value.shape) != expected:
                raise ReproduceError(
                    f"{self.name}: {key} is {value.dtype} {list(value.shape)}, expected {dtype} {list(expected)}."
                )
            # The sum first: it is finite in all but bad data, and takes no mask of the column's size.
            if dtype == torch.float32 and not value.sum().isfinite() and not value.isfinite().all():
                raise ReproduceError(f"{self.name}: {key} is NaN or infinite first in row {_first(~value.isfinite())}.")

    def check_action(self, action: Tensor, legal: Tensor | None, acting: Tensor) -> None:
        """`acting` [n]: the rows in which somebody acts."""
        if legal is None:
            if action.abs().max() > ACTION_LIMIT:
                row = _first(action.abs() > ACTION_LIMIT)
                raise ReproduceError(
                    f"{self.name}: the action in row {row} is {action[row].flatten().tolist()}; actions are meant for "
                    f"[-1, 1], and beyond +-{ACTION_LIMIT:g} they are taken for another unit."
                )
            return
        n_actions = self.spec.n_actions
        allowed = legal.gather(-1, action.clamp(0, n_actions - 1).unsqueeze(-1)).squeeze(-1)
        illegal = (~allowed | (action < 0) | (action >= n_actions)) & acting.unsqueeze(-1)
        if illegal.any():
            row = _first(illegal)
            raise ReproduceError(
                f"{self.name}: action is illegal first in row {row}: {action[row].tolist()}, "
                f"expected an index in 0..{n_actions - 1} allowed by legal_actions."
            )

    def check_legal(self, key: str, legal: Tensor, acting: Tensor) -> None:
        stuck = ~legal.any(-1) & acting.unsqueeze(-1)  # [n, N]
        if stuck.any():
            raise ReproduceError(f"{self.name}: {key} leaves an agent without any action first in row {_first(stuck)}.")


class Transitions(Layout):
    """Flat transitions [n], each with what is seen now and next."""

    name = "transitions"

    def columns(self) -> Columns:
        seen, one = self.seen(), (torch.int64, ())
        later = {f"next.{key}": value for key, value in seen.items()}
        return seen | self.acted() | later | {"episode": one, "step": one}

    def read(self, tensors: dict[str, Tensor]) -> TensorDict:
        return transitions_of(tensors)

    def check(self, experience: TensorDict) -> None:
        """Values: no NaN or infinity in a float key, every action a legal one, at least one legal action per agent."""
        n = experience.batch_size[0] if experience.batch_dims == 1 else 0
        if n == 0:
            raise ReproduceError(f"transitions: batch size {list(experience.batch_size)}, expected [n] with n > 0.")
        found = flatten(experience)
        self.check_columns(found, n)
        everywhere, legal = torch.ones(n, dtype=torch.bool), found.get("legal_actions")
        if legal is not None:
            self.check_legal("legal_actions", legal, everywhere)
            # No action follows a terminal state, so nothing need be legal there.
            self.check_legal("next.legal_actions", found["next.legal_actions"], ~found["terminated"].squeeze(-1))
        self.check_action(found["action"], legal, everywhere)

    def statistics(self, experience: TensorDict) -> dict[str, Any]:
        return return_statistics(experience, self.spec.win_reward)

    def select(self, experience: TensorDict, keys: Sequence[Any]) -> TensorDict:
        if NEXT_ACTION in keys and NEXT_ACTION not in experience.keys(include_nested=True):
            experience = experience.clone(recurse=False).set(NEXT_ACTION, next_action(experience))
        return with_derived(experience, keys).select(*keys)

    def sampler(self, seeds: Sequence[int], experience: TensorDict) -> SeedSampler:
        if "step" not in experience or "episode" not in experience:
            return SeedSampler(seeds)
        return SeedSampler(seeds, Episodes.of_steps(experience["episode"], experience["step"]))

    def cut(self, drawn: TensorDict, shape: tuple[int, ...], keys: Sequence[Any]) -> TensorDict:
        return (drawn.select(*keys) if keys else drawn).reshape(*shape)

    def to_schema(self, chunk: TensorDict, keys: Sequence[Any]) -> TensorDict:
        return chunk

    def synthetic(self, n: int, dtype: torch.dtype = torch.float32) -> TensorDict:
        return synthetic.transitions(n, self.spec, dtype)

    def expected_sizes(self) -> tuple[int, ...]:
        return (self.spec.n_agents, self.spec.obs_size, self.spec.n_actions or self.spec.action_size)

    def sizes(self, experience: TensorDict) -> tuple[int, ...]:
        wide = "legal_actions" if "legal_actions" in experience else "action"
        return (*experience["obs"].shape[1:], experience[wide].shape[-1])


class Trajectories(Layout):
    """Whole episodes, every state once; the transition that starts in a row ends in the row after it."""

    name = "trajectories"

    @property
    def derived(self) -> bool:
        """Whether obs and state follow from stored features."""
        return self.spec.n_features > 0

    def states(self) -> Columns:
        """What is stored of a state."""
        return {"features": (torch.float32, (self.spec.n_features,))} if self.derived else self.seen()

    def columns(self) -> Columns:
        return self.states() | self.acted() | {"final": (torch.bool, (1,))}

    def read(self, tensors: dict[str, Tensor]) -> TensorDict:
        return trajectories_of(tensors)

    def check(self, experience: TensorDict) -> None:
        """Values: no NaN or infinity, actions legal or within +-ACTION_LIMIT, the last row final, an end only before
        a final row."""
        n = len(experience)
        if n < 2:
            raise ReproduceError(f"trajectories: {n} rows, a transition needs two.")
        found = flatten(experience)
        self.check_columns(found, n)
        final, ends = found["final"].squeeze(-1), (found["terminated"] | found["truncated"]).squeeze(-1)
        legal = found.get("legal_actions")
        if legal is not None:
            # Nothing need be legal in the state that a win or a loss ends in; one that a limit ends in is acted from.
            cut = torch.cat([torch.zeros(1, dtype=torch.bool), found["truncated"].squeeze(-1)[:-1]])
            self.check_legal("legal_actions", legal, ~final | cut)
        self.check_action(found["action"], legal, ~final)
        broken = ends & ~torch.cat([final[1:], final[-1:]])
        if not final[-1] or (ends & final).any() or broken.any():
            raise ReproduceError(
                "trajectories: an episode's end must be followed by its final row, and the last row be final."
            )

    def statistics(self, experience: TensorDict) -> dict[str, Any]:
        return trajectory_statistics(experience, self.spec.win_reward)

    def select(self, experience: TensorDict, keys: Sequence[Any]) -> TensorDict:
        if "rewards" in keys and "rewards" not in experience:  # the team's reward is each agent's
            rewards = experience["reward"].expand(-1, self.spec.n_agents)
            experience = experience.clone(recurse=False).set("rewards", rewards)
        experience = with_derived(experience, keys)
        later = [key[1] for key in keys if isinstance(key, tuple) and key != NEXT_ACTION]
        now = [key for key in keys if not isinstance(key, tuple)] + ["action"] * (NEXT_ACTION in keys)
        return experience.select(*dict.fromkeys([*(["features"] if self.derived else later), *now]), strict=False)

    def sampler(self, seeds: Sequence[int], experience: TensorDict) -> SeedSampler:
        return TrajectorySampler(seeds, experience["final"].squeeze(-1))

    def cut(self, drawn: TensorDict, shape: tuple[int, ...], keys: Sequence[Any]) -> TensorDict:
        now, *after = drawn.split(math.prod(shape))
        chunk = now.clone(recurse=False)
        if keys:
            chunk = now.select("features", *(k for k in keys if not isinstance(k, tuple)), strict=False)
        if after and self.derived:
            chunk["next_features"] = after[0]["features"]
        elif after:
            chunk["next"] = after[0].select(*self.seen(), strict=False)
        if NEXT_ACTION in keys:
            chunk["next_action"] = after[0]["action"]
        return chunk.reshape(*shape)

    def to_schema(self, chunk: TensorDict, keys: Sequence[Any]) -> TensorDict:
        """obs and state of a world may share memory."""
        if not self.derived:
            if "next_action" in chunk:
                chunk["next", "action"] = chunk["next_action"]
            return chunk.select(*keys, "mask", "is_init", strict=False)
        assert self.observe is not None, "these trajectories hold features: give the layout the world's `observe`"
        with torch.no_grad():
            made: dict[str, Any] = dict(self.observe(chunk["features"]))
            if "next_features" in chunk:
                made["next"] = self.observe(chunk["next_features"])
            if "next_action" in chunk:
                made["next"] = {**made.get("next", {}), "action": chunk["next_action"]}
        chunk = chunk.exclude("features", "next_features", "next_action").update(made)
        return chunk.select(*keys, "mask", "is_init", strict=False)

    def synthetic(self, n: int, dtype: torch.dtype = torch.float32) -> TensorDict:
        return synthetic.trajectories(n, self.spec, dtype)

    def expected_sizes(self) -> tuple[int, ...]:
        acted = (self.spec.n_agents, self.spec.action_size or self.spec.n_actions)
        return (*acted, self.spec.n_features or self.spec.obs_size)

    def sizes(self, experience: TensorDict) -> tuple[int, ...]:
        wide = "legal_actions" if "legal_actions" in experience else "action"
        return (*experience[wide].shape[1:], experience["features" if self.derived else "obs"].shape[-1])


LAYOUTS: dict[str, type[Layout]] = {"transitions": Transitions, "trajectories": Trajectories}


def layout_of(spec: WorldSpec, observe: Observe | None = None) -> Layout:
    """The layout that the spec names."""
    return LAYOUTS[spec.layout](spec, observe)


def with_derived(experience: TensorDict, keys: Sequence[Any]) -> TensorDict:
    """`experience` with what is derived from it, where `keys` ask for it."""
    missing = {name: derive(experience) for name, derive in DERIVED.items() if name in keys and name not in experience}
    return experience.clone(recurse=False).update(missing) if missing else experience


def _first(bad: Tensor) -> int:
    """Row of the first True in [n, ...]."""
    return int(bad.flatten(1).any(1).nonzero()[0, 0])
