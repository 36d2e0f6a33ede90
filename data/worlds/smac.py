"""The StarCraft Multi-Agent Challenge: StarCraft II itself, through the package smac (oxwhirl/smac at d6aab33).

`view` plain: as smac shows it. modified: as the environment of OMIGA's released code does (data.worlds.smac_game).

Every world is a game in a process of its own. A game takes its seed when it starts; later fights of the same world go
on with the game's own chance, so a fight is not repeated to the bit. Sizes, data and layouts need no game.
"""

import hashlib
import os
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from data.common.environment import clean_processes, cores, main_left_out
from data.common.errors import ReproduceError
from data.common.spec import WorldSpec
from data.layout import Layout, layout_of
from data.worlds import battle
from data.worlds.battle import VIEWS, Battle, Map, View
from data.worlds.smac_game import CLOSE, NO_ATTACK, RESET, STEP, serve

PROTOSS = ("stalker", "zealot", "colossus")  # who have shields
PLACE = "https://github.com/oxwhirl/smac says where the game (SC2.4.10) and the maps are"
INSTEAD = "task=smax plays such fights without the game."


def sizes(game: Map, view: View) -> tuple[int, int, int]:
    """(observation, state, actions)"""
    n, m, n_actions = len(game.allies), len(game.enemies), NO_ATTACK + len(game.enemies)
    kinds = len({*game.allies})
    bits = kinds if kinds > 1 else 0
    ally, enemy = (bits + int(side[0] in PROTOSS) for side in (game.allies, game.enemies))  # shields and kinds
    if view == "plain":
        obs = 4 + (n - 1) * (5 + ally) + m * (5 + enemy) + 1 + ally
        return obs, n * (4 + ally + n_actions) + m * (3 + enemy), n_actions
    obs = 4 + n * (5 + ally + n_actions) + m * (5 + enemy) + n
    return obs, obs + 3 * (n - 1) + 3 * m + 2, n_actions


def spec_of(map_name: str, view: View = "plain", episode_limit: int | None = None) -> WorldSpec:
    """Sizes and conventions, of the world and of its datasets; needs neither package nor game."""
    game = battle.map_of(map_name)
    return battle.battle_spec(map_name, game, sizes(game, battle.check_view(view)), view, episode_limit)


def check_installed(map_name: str) -> None:
    """Raises ReproduceError that names what is missing: the package, the game, the map."""
    if find_spec("smac") is None or find_spec("smac.env") is None:
        other = (
            "" if find_spec("smac") is None else " The smac that is installed is PyPI's, a hyperparameter optimizer."
        )
        raise ReproduceError(f"StarCraft II needs the package smac: `pip install -e '.[smac]'`.{other} {INSTEAD}")
    root = Path(os.environ.get("SC2PATH", Path.home() / "StarCraftII"))
    if not (root / "Versions").is_dir():
        raise ReproduceError(f"the game StarCraft II is not in {root}: set SC2PATH to its folder. {PLACE}. {INSTEAD}")
    file = root / "Maps" / "SMAC_Maps" / f"{map_name}.SC2Map"
    if not file.is_file():
        raise ReproduceError(f"the map {file} is missing: put SMAC's maps into {file.parent}. {PLACE}.")


def real_game(map_name: str, seed: int) -> Any:
    """One game, not yet started: difficulty 7 and SMAC's other defaults."""
    return import_module("smac.env").StarCraft2Env(map_name=map_name, seed=seed)


class Smac(Battle):
    """n_worlds games of one map; each starts at its first reset, with the seed that `start` [n, 1] holds."""

    start_size = 1
    at_once = 2 * cores()
    make_game = staticmethod(real_game)
    check_installed = staticmethod(check_installed)

    def __init__(
        self,
        n_worlds: int,
        map_name: str,
        view: View = "plain",
        episode_limit: int | None = None,
        device: str | torch.device = "cpu",
    ):
        super().__init__(spec_of(map_name, view, episode_limit), n_worlds, device)
        self.check_installed(map_name)
        self._made_of = (map_name, view)
        self._games: list[tuple[Any, Any]] = []  # (process, pipe)
        self._last: list[dict[str, Any]] = [{}] * n_worlds

    @classmethod
    def layout_for(cls, map_name: str, view: View = "plain", episode_limit: int | None = None) -> Layout:
        return layout_of(spec_of(map_name, view, episode_limit))

    @classmethod
    def absent(cls, map_name: str, **_: Any) -> str:
        try:
            cls.check_installed(map_name)
        except ReproduceError as error:
            return str(error)
        return ""

    @classmethod
    def fingerprint(cls, **params: Any) -> str:
        """Of all maps' sizes, limits and scales of reward: the game itself cannot be asked everywhere."""
        spec_of(**params)
        return _fingerprint()

    def draw_starts(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(1, 2**31 - 1, (n, 1), generator=generator)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        n = self.batch_size[0]
        given = TensorDict({}, self.batch_size) if tensordict is None else tensordict
        chosen, start = given.get("_reset", None), given.get("start", None)
        picked = [True] * n if chosen is None else chosen.reshape(n, -1).any(1).tolist()
        if start is None:
            start = self.draw_starts(n, torch.Generator().manual_seed(int(torch.randint(2**31, ()).item())))
        if not self._games:
            self._launch(start.flatten().tolist())
        return self._asked([(RESET,) if yes else None for yes in picked])

    def _launch(self, seeds: list[int]) -> None:
        context = clean_processes(serve.__module__)
        map_name, view = self._made_of
        for seed in seeds:
            ours, theirs = context.Pipe()
            job = (theirs, type(self).make_game, map_name, seed, view, self.episode_limit)
            process = context.Process(target=serve, args=job, daemon=True)
            with main_left_out():
                process.start()
            theirs.close()
            self._games.append((process, ours))

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        found = self._asked([(STEP, action) for action in tensordict["action"].tolist()])
        reward = torch.tensor([[float(last["reward"])] for last in self._last], device=self.device)
        return found.set("reward", reward)

    def _asked(self, questions: list[tuple | None]) -> TensorDict:
        """All games work at the same time; those that are not asked stay as they are."""
        for (_, pipe), question in zip(self._games, questions, strict=True):
            if question:
                self._sent(pipe, question)
        for k, ((_, pipe), question) in enumerate(zip(self._games, questions, strict=True)):
            if question:
                self._last[k] = self._answer(k, pipe)
        stacked = {key: np.stack([last[key] for last in self._last]) for key in ("obs", "state", "legal_actions")}
        found = {key: torch.from_numpy(value).to(self.device) for key, value in stacked.items()}
        for key in ("terminated", "truncated"):
            found[key] = torch.tensor([[last[key]] for last in self._last], device=self.device)
        found["done"] = found["terminated"] | found["truncated"]
        won = torch.tensor([last["win_rate"] for last in self._last], device=self.device)
        metrics = TensorDict({"win_rate": won}, self.batch_size, device=self.device)
        return TensorDict({**found, "metrics": metrics}, self.batch_size, device=self.device)

    @staticmethod
    def _sent(pipe: Any, question: tuple) -> None:
        with suppress(OSError):  # it has ended: its answer says why
            pipe.send(question)

    def _answer(self, k: int, pipe: Any) -> dict[str, Any]:
        try:
            answer = pipe.recv()
        except (EOFError, OSError):
            answer = "Its process ended."
        if isinstance(answer, dict):
            return answer
        self.close()
        raise ReproduceError(f"StarCraft II, map {self._made_of[0]}: the game of world {k} stopped. {answer}")

    def close(self, **_: Any) -> None:  # type: ignore[override]
        for _process, pipe in self._games:
            self._sent(pipe, (CLOSE,))
        for process, _pipe in self._games:
            process.join(10)
            if process.is_alive():
                process.terminate()
        self._games = []
        super().close()


@cache
def _fingerprint() -> str:
    told = [
        (name, game.limit, round(game.most_reward), [sizes(game, view) for view in VIEWS])
        for name, game in battle.MAPS.items()
    ]
    return "smac d6aab33 " + hashlib.sha256(repr(told).encode()).hexdigest()[:12]
