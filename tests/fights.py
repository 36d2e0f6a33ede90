"""StarCraft without the game: a stand-in with smac's interface, and made-up experience of its maps."""

from types import SimpleNamespace

import numpy as np
import torch
from tensordict import TensorDict

from data.worlds import layout_for
from data.worlds.battle import MAPS
from data.worlds.smac import sizes


def experience(world: dict) -> TensorDict:
    """Three episodes; at their ends nobody acts and final states are those before, as MADT's files have them."""
    layout, made = layout_for(world["name"], **{k: v for k, v in world.items() if k != "name"}), []
    win = layout.spec.win_reward or 0.0
    for number, length in enumerate((4, layout.spec.episode_limit, 7)):  # won, at the limit, lost
        rows = layout.synthetic(length + 1)
        rows["obs"], rows["state"] = rows["obs"] + number, rows["state"] - number
        rows["legal_actions"][:, :, 1] = False
        rows["action"] = (
            torch.arange(length + 1).remainder(3).mul(2).unsqueeze(-1).expand(-1, layout.spec.n_agents).clone()
        )
        for key in ("obs", "state", "legal_actions"):
            rows[key][-1] = rows[key][-2]
        at = torch.arange(length + 1).unsqueeze(-1)
        rows["reward"] = torch.full((length + 1, 1), 0.25)
        rows["reward"][length - 1] += win * (number == 0)
        rows["final"] = at == length
        rows["terminated"], rows["truncated"] = (at == length - 1) & (number != 1), (at == length - 1) & (number == 1)
        rows["action"][-1], rows["reward"][-1] = 0, 0.0
        made.append(rows)
    return torch.cat(made)  # type: ignore


def unit(x, y, health=1.0):
    place = SimpleNamespace(x=x, y=y)
    return SimpleNamespace(pos=place, health=health, health_max=45.0, weapon_cooldown=3.0, shield=0.0)


class Standin:
    """smac's interface for marines: three steps of one damage each kill an enemy; `fate` says how a fight ends."""

    unit_type_bits = shield_bits_ally = shield_bits_enemy = 0
    map_x, map_y, max_distance_x, max_distance_y = 32, 32, 24, 16

    def __init__(self, map_name, seed):
        game = MAPS[map_name]
        self.n_agents, self.n_enemies = len(game.allies), len(game.enemies)
        self.n_actions, self.fate = 6 + self.n_enemies, ("win", "lose", "limit", "draw", "broken")[seed % 5]
        self.episode_limit, self.resets = game.limit, 0

    def reset(self):
        self.resets, self.steps = self.resets + 1, 0
        self.last_action = np.zeros((self.n_agents, self.n_actions))
        self.allies = [unit(8.0 + i, 16.0, 45.0) for i in range(self.n_agents)]
        self.enemies = {k: unit(13.0 + 4 * k, 16.0, 45.0) for k in range(self.n_enemies)}
        return self.get_obs(), self.get_state()

    def step(self, actions):
        for i, action in enumerate(actions):
            assert self.get_avail_agent_actions(i)[action], f"Agent {i} cannot perform action {action}"
        self.last_action, self.steps = np.eye(self.n_actions)[actions], self.steps + 1
        self.allies[0].health = 0.0  # the first dies in any case
        over, info = self.steps >= self.episode_limit, {"battle_won": False}
        if self.steps == 3 and self.fate != "limit":
            if self.fate == "broken":
                return 0, True, {}
            over, info["battle_won"] = True, self.fate == "win"
            for side in (
                [] if self.fate == "win" else self.allies,
                [] if self.fate == "lose" else self.enemies.values(),
            ):
                for one in side:
                    one.health = 0.0
        info["dead_allies"] = sum(one.health == 0 for one in self.allies)
        info["dead_enemies"] = sum(one.health == 0 for one in self.enemies.values())
        return 1.5 + 8 * info["battle_won"], over, info

    def get_obs(self):
        size = sizes(MAPS[f"{self.n_agents}m" if self.n_agents == 3 else "5m_vs_6m"], "plain")
        return [np.full(size[0], self.steps, np.float32) * (one.health > 0) for one in self.allies]

    def get_state(self):
        size = sizes(MAPS[f"{self.n_agents}m" if self.n_agents == 3 else "5m_vs_6m"], "plain")
        return np.full(size[1], self.steps, np.float32)

    def get_avail_agent_actions(self, i):
        alive = self.allies[i].health > 0
        near = [int(alive and abs(e.pos.x - self.allies[i].pos.x) < 6) for e in self.enemies.values()]
        return [int(not alive), *[int(alive)] * 5, *near]

    def get_avail_actions(self):
        return [self.get_avail_agent_actions(i) for i in range(self.n_agents)]

    def get_unit_by_id(self, i):
        return self.allies[i]

    def unit_sight_range(self, i):
        return 9

    def unit_max_cooldown(self, one):
        return 15

    def close(self):
        pass


class Lenient(Standin):
    """Takes any action, as smac does not: random ones of a spec are not always legal."""

    def step(self, actions):
        return super().step([row.index(1) for row in self.get_avail_actions()])


class Failing(Standin):
    def step(self, actions):
        raise RuntimeError("the game is gone")
