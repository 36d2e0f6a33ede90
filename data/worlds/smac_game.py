"""One game of StarCraft II in a process of its own, and what OMIGA's environment shows of it.

The modified view, of OMIGA's released code (branch SMAC): an agent sees last actions of itself and of allies in sight,
and its identity. Each agent has a state of its own: everybody alive, with cooldowns and places on the map. Of a dead
agent all is zero but the identity.
"""

from typing import Any

import numpy as np

from data.worlds.battle import View

NO_ATTACK = 6  # no-op for the dead, stop, north, south, east, west; then one action per enemy
CLOSE, STEP, RESET = "close", "step", "reset"


def modified_view(env: Any, agent: int, whole: bool) -> np.ndarray:
    """[O], or `whole` [S]: allies, enemies, own moves, oneself, identity."""
    me, legal = env.get_unit_by_id(agent), np.asarray(env.get_avail_agent_actions(agent), np.float32)
    identity = np.eye(env.n_agents, dtype=np.float32)[agent]
    sight = env.unit_sight_range(agent)

    def body(unit: Any, shields: int) -> list[float]:
        return [unit.health / unit.health_max] + ([unit.shield / env.unit_max_shield(unit)] if shields else [])

    def kind(unit: Any, ally: bool) -> list[float]:
        return np.eye(env.unit_type_bits)[env.get_unit_type_id(unit, ally)].tolist() if env.unit_type_bits else []

    def middle(unit: Any) -> list[float]:
        x, y = unit.pos.x - env.map_x / 2, unit.pos.y - env.map_y / 2
        return [x / env.max_distance_x, y / env.max_distance_y] if whole else []

    def other(number: int, unit: Any, ally: bool) -> list[float] | None:
        away = (unit.pos.x - me.pos.x) / sight, (unit.pos.y - me.pos.y) / sight
        distance = float(np.hypot(*away))
        if unit.health <= 0 or (not whole and distance >= 1):
            return None
        seen = float(distance < 1)
        if ally:
            waits = [unit.weapon_cooldown / env.unit_max_cooldown(unit)] if whole else []
            placed = [*waits, *body(unit, env.shield_bits_ally), *middle(unit), *kind(unit, True)]
            return [seen, distance, *away, *placed, *env.last_action[number]]
        known = [seen] if whole else []
        placed = [*known, *body(unit, env.shield_bits_enemy), *kind(unit, False), *middle(unit)]
        return [legal[NO_ATTACK + number], distance, *away, *placed]

    bits, n_actions = env.unit_type_bits, env.n_actions
    widths = {
        True: 5 + env.shield_bits_ally + bits + n_actions + 3 * whole,
        False: 5 + env.shield_bits_enemy + bits + 3 * whole,
    }
    allies = [(i, env.get_unit_by_id(i), True) for i in range(env.n_agents) if i != agent]
    others = [*allies, *((i, unit, False) for i, unit in sorted(env.enemies.items()))]
    own = 5 + env.shield_bits_ally + bits + n_actions + 2 * whole
    if me.health <= 0:
        return np.concatenate([np.zeros(sum(widths[ally] for *_, ally in others) + 4 + own, np.float32), identity])
    rows = [other(number, unit, ally) or [0.0] * widths[ally] for number, unit, ally in others]
    mine = [1.0, 0.0, 0.0, 0.0, *body(me, env.shield_bits_ally), *middle(me), *kind(me, True)]
    return np.concatenate([*rows, legal[2:6], mine, env.last_action[agent], identity]).astype(np.float32)


class Game:
    """One world. `seen` and `step` answer with plain arrays; a fight that is over stays as it is, at reward 0."""

    def __init__(self, env: Any, view: View, limit: int):
        self.env, self.view, env.episode_limit = env, view, limit
        self.last: dict[str, Any] = {}

    def reset(self) -> dict[str, Any]:
        self.env.reset()
        return self._seen(False, False, False)

    def step(self, action: list[int]) -> dict[str, Any]:
        if self.last["terminated"] or self.last["truncated"]:
            return self.last | {"reward": 0.0}
        reward, over, info = self.env.step(action)
        # A game that broke off says nothing of the units: the fight is cut.
        sides = (info.get("dead_allies"), info.get("dead_enemies"))
        ended = over and (
            sides[0] == self.env.n_agents or sides[1] == self.env.n_enemies or info.get("battle_won", False)
        )
        return self._seen(bool(ended), bool(over and not ended), bool(info.get("battle_won", False))) | {
            "reward": reward
        }

    def _seen(self, terminated: bool, truncated: bool, won: bool) -> dict[str, Any]:
        env = self.env
        if self.view == "plain":
            obs, state = env.get_obs(), env.get_state()
        else:
            obs, state = ([modified_view(env, i, whole) for i in range(env.n_agents)] for whole in (False, True))
        self.last = {
            "obs": np.asarray(obs, np.float32), "state": np.asarray(state, np.float32),
            "legal_actions": np.asarray(env.get_avail_actions()) != 0,
            "terminated": terminated, "truncated": truncated, "win_rate": float(won),
        }  # fmt: skip
        return self.last


def serve(pipe: Any, make: Any, map_name: str, seed: int, view: View, limit: int) -> None:
    """The process of one game: answers until it is told to close, or nobody is there any more."""
    env = None
    try:
        env = make(map_name, seed)
        game = Game(env, view, limit)
        while (asked := pipe.recv())[0] != CLOSE:
            pipe.send(game.reset() if asked[0] == RESET else game.step(asked[1]))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")  # words in place of an answer
    finally:
        if env is not None:
            env.close()
