"""SMAX, JaxMARL's StarCraft-like fights, which run anywhere: same unit names as SMAC's maps, another game.

Against SMAC: no terrain, no shields and no splash damage (their points are in the health), a scripted enemy that never
retreats, death at the border, and no action for the dead: they may only stop (action 4). Actions are four moves, stop,
then one per enemy. `corridor` has its units in an open field; 2c_vs_64zg has no counterpart.

JAX computes on the CPU, with threads of its own that OMP_NUM_THREADS does not govern. What it compiles is kept below
outputs/cache/jax. The game's state stays with JAX: a TensorDict holds what agents see.
"""

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from data.common.environment import without
from data.common.errors import ReproduceError
from data.common.paths import outputs_dir
from data.common.spec import WorldSpec
from data.layout import Layout, layout_of
from data.worlds import battle
from data.worlds.battle import HEALTH, KILL, WIN, Battle, Map, View, first_legal

UNITS = ("marine", "marauder", "stalker", "zealot", "zergling", "hydralisk")  # by SMAX's number
SMAX_MAPS = {name: game for name, game in battle.MAPS.items() if {*game.allies, *game.enemies} <= {*UNITS}}
MOVES = 5  # four directions, and stop
OTHER, OWN, PLACED = 13, 10, 11  # features of another unit, of oneself, of a unit in a state of one's own
EVERYONE = Map(UNITS, UNITS, 40)  # the fight that the fingerprint is taken in


def needed() -> Any:
    """jax, jnp, SMAX and Scenario. Raises ReproduceError where the extra is missing."""
    if find_spec("jaxmarl") is None:
        raise ReproduceError("SMAX needs the package jaxmarl: `make smax` installs it, or `pip install -e '.[smax]'`.")
    return _imported()


@cache
def _imported() -> SimpleNamespace:
    # Its import prints, past a redirected stdout too, and reads variables that change results.
    with without("JAX_", "XLA_"), patch("builtins.print"):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no notes of the compiler's on the screen
        jax, fights = import_module("jax"), import_module("jaxmarl.environments.smax")
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_compilation_cache_dir", str(_cache_folder(jax.lib.__version__)))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.devices()
    scenario = import_module("jaxmarl.environments.smax.smax_env").Scenario
    return SimpleNamespace(jax=jax, jnp=jax.numpy, SMAX=fights.HeuristicEnemySMAX, Scenario=scenario)


def _cache_folder(version: str) -> Path:
    """Compiled code is of one machine: its processor's features are part of the name."""
    features = platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    return outputs_dir() / "cache" / "jax" / f"{version}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"


def spec_of(map_name: str, view: View = "plain", episode_limit: int | None = None) -> WorldSpec:
    """Sizes and conventions, of the world and of its datasets; needs no JAX."""
    game = battle.map_of(map_name, SMAX_MAPS)
    return battle.battle_spec(map_name, game, _sizes(game, battle.check_view(view)), view, episode_limit)


def _sizes(game: Map, view: View) -> tuple[int, int, int]:
    """(observation, state, actions)"""
    n, m = len(game.allies), len(game.enemies)
    n_actions = MOVES + m
    obs = OTHER * (n - 1 + m) + OWN
    if view == "plain":
        return obs, OWN * (n + m) + n * n_actions, n_actions
    return obs + n * n_actions + n, PLACED * (n + m) + n * n_actions + n, n_actions


class Rules:
    """One fight as functions of JAX, of a state (JaxMARL's, the agents' last actions, -1 before the first, what they
    see, what the enemies see)."""

    def __init__(self, game: Map, view: View, limit: int):
        has = needed()
        self.jax, self.jnp, self.view, self.limit = has.jax, has.jnp, view, limit
        self.n, self.m = len(game.allies), len(game.enemies)
        types = self.jnp.array([UNITS.index(unit) for unit in (*game.allies, *game.enemies)], dtype=self.jnp.uint8)
        self.env = has.SMAX(scenario=has.Scenario(types, self.n, self.m, False, False), max_steps=limit)
        self.units = self.env._env
        if self.units.unit_type_health.tolist() != [HEALTH[unit] for unit in UNITS]:
            raise ReproduceError("this version of jaxmarl has other units: install the one that pyproject.toml names.")
        self.scale = battle.MOST_RETURN / game.most_reward
        self.n_actions = MOVES + self.m

    def start(self, key: Any) -> Any:
        """key [2] uint32 -> a fresh state. Its leaves lose their weak types, which would compile every step twice."""
        state = self.env.reset(key)[1]
        made = (state, self.jnp.full((self.n,), -1, dtype=self.jnp.int32), *self.views(self.units.get_obs(state.state)))
        return self.jax.tree.map(lambda x: self.jax.lax.convert_element_type(x, self.jnp.asarray(x).dtype), made)

    def views(self, obs: dict[str, Any]) -> tuple[Any, Any]:
        """Both sides' observations, stacked."""
        agents = self.units.agents
        return tuple(self.jnp.stack([obs[agent] for agent in side]) for side in (agents[: self.n], agents[self.n :]))  # type: ignore

    def ends(self, state: Any) -> tuple[Any, Any, Any]:
        """(terminated, truncated, won)"""
        alive = state[0].state.unit_alive
        allies, enemies = alive[: self.n].any(), alive[self.n :].any()
        terminated = ~(allies & enemies)
        return terminated, ~terminated & (state[0].state.step >= self.limit), allies & ~enemies

    def advance(self, key: Any, before: Any, action: Any) -> tuple[Any, Any]:
        """action [N] int32 -> (the state after it, SMAC's reward); a fight that is over stays as it is."""
        terminated, truncated, _ = self.ends(before)
        over, state = terminated | truncated, before[0]
        # JaxMARL's step_env to the bit, but for the enemies' observations, which are those of the last step.
        key, chosen = self.jax.random.split(self.jax.random.fold_in(key, state.state.step))
        enemies, policy = self.env.get_enemy_actions(chosen, state.enemy_policy_state, before[3])
        actions = self.jnp.concatenate([action, self.jnp.stack([enemies[agent] for agent in self.env.enemy_agents])])
        obs, game, *_ = self.units.step_env_no_decode(key, state.state, self.units._decode_discrete_actions(actions))
        made = (state.replace(state=game, enemy_policy_state=policy), action, *self.views(obs))
        after = self.jax.tree.map(lambda old, new: self.jnp.where(over, old, new.astype(old.dtype)), before, made)
        health = [s[0].state.unit_health[self.n :] for s in (before, after)]
        kills = ((health[0] > 0) & (health[1] <= 0)).sum()
        won = self.ends(after)[2] & ~over
        return after, self.scale * ((health[0] - health[1]).sum() + KILL * kills + WIN * won)

    def seen(self, state: Any) -> dict[str, Any]:
        """obs [N, O], state [S] or [N, S], legal_actions [N, A], terminated, truncated, won"""
        jnp, game, obs = self.jnp, state[0].state, state[2]
        legal = self.env.get_avail_actions(state[0])
        legal = jnp.stack([legal[agent] for agent in self.env.agents])
        last = self.jax.nn.one_hot(state[1], self.n_actions)  # (N, A), zeros before the first step
        own = self.jax.vmap(self.units._get_own_features, (None, 0))(game, jnp.arange(self.n + self.m))
        if self.view == "plain":
            state_seen = jnp.concatenate([own.reshape(-1), last.reshape(-1)])
        else:
            obs, state_seen = self._modified(game, obs, own, last)
        terminated, truncated, won = self.ends(state)
        return {
            "obs": obs, "state": state_seen, "legal_actions": legal.astype(bool),
            "terminated": terminated, "truncated": truncated, "win_rate": won.astype(jnp.float32),
        }  # fmt: skip

    def _modified(self, game: Any, obs: Any, own: Any, last: Any) -> tuple[Any, Any]:
        """OMIGA's way: last actions and identity in every view, a state for each agent with itself in the middle."""
        jnp, n = self.jnp, self.n
        away = game.unit_positions - game.unit_positions[:n, None]  # (N, units, 2)
        reach = self.units.unit_type_sight_ranges[game.unit_types[:n]]
        alive = game.unit_alive.astype(jnp.float32)
        sees = (jnp.linalg.norm(away, axis=-1) < reach[:, None]) * alive  # (N, units), oneself included
        size = jnp.array([self.units.map_width, self.units.map_height])
        features = jnp.broadcast_to(jnp.concatenate([own[:, :1], own[:, 3:]], 1), (n, n + self.m, OWN - 2))
        placed = jnp.concatenate([features, away / size * alive[:, None], sees[..., None]], -1)  # (N, units, PLACED)
        state = jnp.concatenate([placed.reshape(n, -1), jnp.broadcast_to(last.reshape(-1), (n, last.size))], -1)
        seen = (last * sees[:, :n, None]).reshape(n, -1)  # of allies in sight
        living, identity = alive[:n, None], jnp.eye(n)
        return (jnp.concatenate([part * living, identity], -1) for part in (jnp.concatenate([obs, seen], -1), state))  # type: ignore


@cache
def _compiled(game: Map, view: View, limit: int) -> tuple[Callable, Callable, Any]:
    """(restart(keys, chosen, states), step(keys, states, actions), states that are none) of any number of worlds."""
    rules = Rules(game, view, limit)
    jax, jnp = rules.jax, rules.jnp

    def restart(key: Any, chosen: Any, state: Any) -> tuple[Any, Any]:
        fresh = jax.tree.map(lambda new, old: jnp.where(chosen, new, old), rules.start(key), state)
        return fresh, rules.seen(fresh)

    def step(key: Any, state: Any, action: Any) -> tuple[Any, Any]:
        after, reward = rules.advance(key, state, action)
        return after, rules.seen(after) | {"reward": reward}

    shape = jax.eval_shape(rules.start, jax.ShapeDtypeStruct((2,), jnp.uint32))
    return jax.jit(jax.vmap(restart)), jax.jit(jax.vmap(step)), shape


class Smax(Battle):
    """n_worlds fights of one map. `view` plain: as SMAC shows it, the state scaled and with last actions, all views
    without; modified: as OMIGA's environment does, see `Rules._modified`.

    A reset takes one key of JAX per world from `start` [n, 2] int64 (see `draw_starts`); without it, from torch's
    global stream. Key and actions decide a fight to the bit.
    """

    start_size = 2
    wave = 256

    def __init__(
        self,
        n_worlds: int,
        map_name: str,
        view: View = "plain",
        episode_limit: int | None = None,
        device: str | torch.device = "cpu",
    ):
        super().__init__(spec_of(map_name, view, episode_limit), n_worlds, device)
        needed()
        self._begin(battle.map_of(map_name, SMAX_MAPS), view)

    def _begin(self, game: Map, view: View) -> None:
        n = self.batch_size[0]
        self._restart, self._advance, shape = _compiled(game, view, self.episode_limit)
        self._keys = np.zeros((n, 2), np.uint32)
        self._state = needed().jax.tree.map(lambda leaf: np.zeros((n, *leaf.shape), leaf.dtype), shape)

    @classmethod
    def layout_for(cls, map_name: str, view: View = "plain", episode_limit: int | None = None) -> Layout:
        return layout_of(spec_of(map_name, view, episode_limit))

    @classmethod
    def fingerprint(cls, **params: Any) -> str:
        """Of the rules, the same for every map: mean returns and means of what is seen, in both views, of 8 fights
        between all kinds of units. 40 steps; agent i takes at step t the legal action of rank 7 t + 3 i + world."""
        spec_of(**params)
        return _fingerprint()

    def draw_starts(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(2**32, (n, 2), generator=generator)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        n = self.batch_size[0]
        given = TensorDict({}, self.batch_size) if tensordict is None else tensordict
        chosen, start = given.get("_reset", None), given.get("start", None)
        picked = np.ones(n, bool) if chosen is None else chosen.reshape(n, -1).any(1).cpu().numpy()
        if start is None:
            start = self.draw_starts(n, torch.Generator().manual_seed(int(torch.randint(2**31, ()).item())))
        self._keys = np.where(picked[:, None], start.cpu().numpy().astype(np.uint32), self._keys)
        self._state, seen = self._restart(self._keys, picked, self._state)
        return self._told(seen)

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        action = tensordict["action"].to("cpu", torch.int32).numpy()
        self._state, seen = self._advance(self._keys, self._state, action)
        return self._told(seen)

    def _told(self, seen: dict[str, Any]) -> TensorDict:
        # JAX's memory is JAX's: copied, since readers may write into theirs.
        found = {key: torch.from_dlpack(value).to(self.device, copy=True) for key, value in seen.items()}
        for key in ("terminated", "truncated", *({"reward"} & set(found))):
            found[key] = found[key].unsqueeze(-1)
        found["done"] = found["terminated"] | found["truncated"]
        metrics = TensorDict({"win_rate": found.pop("win_rate")}, self.batch_size, device=self.device)
        return TensorDict({**found, "metrics": metrics}, self.batch_size, device=self.device)


@cache
def _fingerprint() -> str:
    needed()
    return " ".join(part for view in ("plain", "modified") for part in _measured(view))


def _measured(view: View) -> list[str]:
    world = Smax.__new__(Smax)
    spec = battle.battle_spec("", EVERYONE, _sizes(EVERYONE, view), view, None)
    Battle.__init__(world, spec, 8, "cpu")
    world._begin(EVERYONE, view)
    td = world.reset(TensorDict({"start": torch.arange(16).view(8, 2)}, [8]))
    rank, returns, means = 3 * torch.arange(spec.n_agents) + torch.arange(8).unsqueeze(-1), 0.0, torch.zeros(2)
    for t in range(spec.episode_limit):
        td["action"] = first_legal(td["legal_actions"], rank + 7 * t)
        td = world.step(td)["next"]
        returns += td["reward"].double().mean().item()
        means = means + torch.stack([td["obs"].double().mean(), td["state"].double().mean()])
    return [f"{value:.4f}" for value in (returns, *means.tolist())]
