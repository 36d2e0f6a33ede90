"""OMAR's multi-agent particle worlds (Pan et al. 2022, arXiv 2111.11188), vectorized, in float64.

They differ from the worlds of the same names elsewhere: a force is a continuous action times acceleration squared
(multiplied twice, where an agent has one), spread's reward is the bonus of the nearest agents minus 5 per contact, and
all of simple_world's agents see into its forests. Only the first agents learn; the prey of simple_tag and simple_world
follows a policy that comes with the data.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from data.common.errors import ReproduceError, nearest
from data.common.files import sha256
from data.common.foreign import check_regular
from data.common.spec import Box, WorldSpec
from data.worlds.base import positive
from data.worlds.continuous import ContinuousWorld

DT, DAMPING, CONTACT_FORCE, CONTACT_MARGIN = 0.1, 0.25, 100.0, 1e-3
FREE = 5.0  # force per unit of action of an agent without an acceleration
OBSTACLE, FOOD, FOREST = 0.2, 0.03, 0.3  # radii


@dataclass(frozen=True)
class Scenario:
    """Sizes and rules of one world. Agents: learners, then prey; landmarks: obstacles, then what nobody bumps into."""

    sizes: tuple[float, ...]  # radius of each agent
    n_learners: int
    landmark_sizes: tuple[float, ...]
    n_obstacles: int  # the first landmarks, which collide
    start_range: float  # landmarks start uniform in +- this; agents in +-1
    forces: tuple[float, ...]  # per unit of action
    max_speeds: tuple[float, ...]
    contact_reward: float  # of every learner, per learner and prey that touch


INF = float("inf")
HUNT = {"n_learners": 3, "start_range": 0.9, "forces": (9.0,) * 3 + (16.0,), "max_speeds": (1.0,) * 3 + (1.3,)}
SCENARIOS = {
    "simple_spread": Scenario((0.15,) * 3, 3, (0.05,) * 3, 0, 1.0, (FREE,) * 3, (INF,) * 3, 0.0),
    "simple_tag": Scenario(
        (0.075,) * 3 + (0.05,), landmark_sizes=(OBSTACLE,) * 2, n_obstacles=2, contact_reward=10.0, **HUNT
    ),
    "simple_world": Scenario(
        (0.075,) * 3 + (0.045,),
        landmark_sizes=(OBSTACLE, FOOD, FOOD, FOREST, FOREST),
        n_obstacles=1,
        contact_reward=5.0,
        **HUNT,
    ),
}


def rules_of(scenario: str) -> Scenario:
    """Raises ReproduceError for an unknown scenario."""
    if scenario not in SCENARIOS:
        raise ReproduceError(
            f"unknown scenario {scenario!r}; known: {', '.join(SCENARIOS)}.{nearest(scenario, list(SCENARIOS))}"
        )
    return SCENARIOS[scenario]


def touching(a: Tensor, b: Tensor, reach: Tensor) -> Tensor:
    """a [.., I, 2], b [.., J, 2], reach [I, J] -> [.., I, J] bool: closer than the sum of their radii."""
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1).sqrt() < reach


class Physics:
    """What moves, what is seen and what is earned in any batch of worlds.

    pos and vel [.., bodies, 2], landmarks [.., L, 2]; bodies are the learners, then the prey.
    """

    def __init__(self, scenario: str, dtype: torch.dtype = torch.float64, device: Any = "cpu"):
        self.name, self.rules = scenario, rules_of(scenario)

        def tensor(values: Any) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)  # from Python's floats: float32 sizes cost 1e-2

        r = self.rules
        self.n_bodies, self.n_learners, self.n_landmarks = len(r.sizes), r.n_learners, len(r.landmark_sizes)
        self.n_prey = self.n_bodies - self.n_learners
        self.sizes, self.landmark_sizes = tensor(r.sizes), tensor(r.landmark_sizes)
        self.forces, self.max_speeds = tensor(r.forces).unsqueeze(-1), tensor(r.max_speeds).unsqueeze(-1)
        solid = torch.cat([self.sizes, self.landmark_sizes[: r.n_obstacles]])
        self.reach = self.sizes.unsqueeze(-1) + solid  # (bodies, solids)
        itself = torch.zeros_like(self.reach, dtype=torch.bool)
        itself.fill_diagonal_(True)
        self.itself = itself

    def move(self, pos: Tensor, vel: Tensor, landmarks: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """One step of DT: soft contacts, damping, then speed limits."""
        solid = torch.cat([pos, landmarks[..., : self.rules.n_obstacles, :]], -2)
        apart = pos.unsqueeze(-2) - solid.unsqueeze(-3)  # (.., bodies, solids, 2)
        distance = apart.square().sum(-1).sqrt()
        penetration = torch.logaddexp(torch.zeros_like(distance), (self.reach - distance) / CONTACT_MARGIN)
        push = CONTACT_FORCE * CONTACT_MARGIN * penetration / distance.masked_fill(self.itself, 1.0)
        force = self.forces * action + (push.masked_fill(self.itself, 0.0).unsqueeze(-1) * apart).sum(-2)
        vel = vel * (1 - DAMPING) + force * DT
        speed = vel.square().sum(-1, keepdim=True).sqrt()
        vel = torch.where(speed > self.max_speeds, vel / speed.clamp(min=1e-300) * self.max_speeds, vel)
        return pos + vel * DT, vel

    def rewards(self, pos: Tensor, landmarks: Tensor) -> Tensor:
        """Of every learner, [.., learners]."""
        n = self.n_learners
        if self.name == "simple_spread":
            nearest_agent = (landmarks.unsqueeze(-2) - pos.unsqueeze(-3)).square().sum(-1).sqrt().amin(-1)  # (.., L)
            bonus = (1 / nearest_agent).clamp(max=10.0).sum(-1, keepdim=True)
            contacts = touching(pos, pos, self.reach[:, : self.n_bodies]) & ~self.itself[:, : self.n_bodies]
            return bonus - 5.0 * contacts.sum(-1)
        hunters, prey = pos[..., :n, :], pos[..., n:, :]
        distances = (hunters.unsqueeze(-2) - prey.unsqueeze(-3)).square().sum(-1).sqrt()  # (.., learners, prey)
        contacts = distances < self.reach[:n, n : self.n_bodies]
        earned = self.rules.contact_reward * contacts.sum((-2, -1)) - 0.1 * distances.sum((-2, -1))
        return earned.unsqueeze(-1).expand(*earned.shape, n)

    def views(self, pos: Tensor, vel: Tensor, landmarks: Tensor) -> list[Tensor]:
        """What each agent sees, [.., O_i]."""
        seen = []
        for i in range(self.n_bodies):
            own = pos[..., i, :]
            others = [j for j in range(self.n_bodies) if j != i]
            marks = (landmarks - own.unsqueeze(-2)).flatten(-2)
            rest = (pos[..., others, :] - own.unsqueeze(-2)).flatten(-2)
            parts = [vel[..., i, :], own, marks, rest]
            if self.name == "simple_spread":
                parts.append(torch.zeros_like(rest))  # nobody speaks
            elif i < self.n_learners:
                parts.append(vel[..., self.n_learners :, :].flatten(-2))
            if self.name == "simple_world":
                forests = landmarks[..., 3:, :]
                inside = touching(pos[..., i : i + 1, :], forests, self.sizes[i] + self.landmark_sizes[3:].unsqueeze(0))
                parts.append(inside[..., 0, :].to(pos.dtype) * 2 - 1)
            seen.append(torch.cat(parts, -1))
        return seen


class Prey(nn.Module):
    """The deterministic policy of a prey in OMAR's form: standardized view, 64-64, tanh. [n, O] -> [n, 2].

    `state` holds in_fn.{weight, bias, running_mean, running_var} (optional: without them the view enters as it is) and
    fc1..fc3.{weight, bias}.
    """

    LAYERS = ("fc1", "fc2", "fc3")

    def __init__(self, state: dict[str, Tensor], obs_size: int, what: str):
        super().__init__()
        if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
            raise ReproduceError(f"{what}: its policy is a {type(state).__name__}, expected tensors by name.")
        sizes = {"fc1": (64, obs_size), "fc2": (64, 64), "fc3": (2, 64)}
        wanted = {f"{k}.weight": shape for k, shape in sizes.items()} | {f"{k}.bias": (s[0],) for k, s in sizes.items()}
        if any(key.startswith("in_fn.") for key in state):
            wanted |= {f"in_fn.{k}": (obs_size,) for k in ("weight", "bias", "running_mean", "running_var")}
        for key, shape in wanted.items():
            value = state.get(key, "missing")
            found = value if isinstance(value, str) else f"a {type(value).__name__}"
            if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized:
                found = tuple(value.shape)
            if not isinstance(value, Tensor) or found != shape:
                raise ReproduceError(f"{what}: {key} is {found}, a prey of this world has {list(shape)}.")
            if not value.is_floating_point() or not value.isfinite().all():
                raise ReproduceError(f"{what}: {key} holds {value.dtype} numbers that are not all finite floats.")
            if key.endswith("running_var") and (value < 0).any():
                raise ReproduceError(f"{what}: {key} is negative, which no variance is.")
            self.register_buffer(key.replace(".", "_"), state[key].double())
        self.standardize = "in_fn.weight" in wanted

    def forward(self, obs: Tensor) -> Tensor:
        x = obs
        if self.standardize:  # in evaluation mode: by the statistics of its training
            scale = self.in_fn_weight / (self.in_fn_running_var + 1e-5).sqrt()  # type: ignore[operator]
            x = (x - self.in_fn_running_mean) * scale + self.in_fn_bias  # type: ignore[operator]
        for k, layer in enumerate(self.LAYERS):
            x = nn.functional.linear(x, getattr(self, f"{layer}_weight"), getattr(self, f"{layer}_bias"))
            x = x.relu() if k < 2 else x.tanh()
        return x


PREY = Path(__file__).parents[1] / "behavior" / "omar"  # weights trained here
PUBLISHED_PREY = (
    "datasets/{scenario}/pretrained_adv_model.pt, in the archive of OMAR's datasets that the repository "
    "ling-pan/OMAR on GitHub links to"
)


def _prey(scenario: str, path: str | None, physics: Physics) -> Prey:
    """The prey trained here (`path` None), or the official one from OMAR's checkpoint, which is never unpickled."""
    at = {"dtype": torch.float64, "device": physics.sizes.device}
    obs_size = physics.views(*(torch.zeros(1, n, 2, **at) for n in (4, 4, physics.n_landmarks)))[-1].shape[-1]
    where = PUBLISHED_PREY.format(scenario=scenario)
    file = Path(path) if path else PREY / f"{scenario}_prey.safetensors"
    if file.exists() or file.is_symlink():
        check_regular(file)
    else:
        kind = f"the official prey is {where}" if path else "restore it from git"
        raise ReproduceError(f"{scenario} needs its prey {file}, which is missing: {kind}.")
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            agents = torch.load(file, map_location="cpu", weights_only=True)["agent_params"]
            state = agents[physics.n_learners]["policy"]
    except Exception as error:  # unpickling refused, truncated files, other layouts
        raise ReproduceError(f"prey {file} cannot be read ({error}); expected {where}.") from error
    return Prey(state, obs_size, f"prey {file}")


def spec_of(scenario: str, episode_limit: int = 25) -> WorldSpec:
    """Sizes and conventions, of the world and of its datasets. The first learner sees as much as each."""
    physics = Physics(scenario)
    bodies, marks = torch.zeros(physics.n_bodies, 2), torch.zeros(physics.n_landmarks, 2)
    size = len(physics.views(bodies, bodies, marks)[0])
    return WorldSpec(
        physics.n_learners, size, size, Box(2), positive("episode_limit", episode_limit), state_per_agent=True,
        n_features=4 * physics.n_bodies + 2 * physics.n_landmarks, layout="trajectories", individual_rewards=True,
    )  # fmt: skip


class ParticleWorld(ContinuousWorld):
    """n_worlds worlds of one scenario. N are the learners; the prey acts by the policy trained here, or by the
    checkpoint or function `prey`.

    `features` are positions, velocities and landmarks; the team's reward is the mean of `rewards`. Nothing terminates.
    A reset takes positions from `start` (see `draw_starts`); without it, from torch's global stream.
    """

    wave, n_measured = 2000, 400
    references_note = (
        "normalized by random and expert returns against our prey, {:.4g} and {:.4g} (OMAR's constants, of its own "
        "prey: {:g} and {:g})"
    )

    def __init__(
        self,
        n_worlds: int,
        scenario: str,
        prey: str | Callable[[Tensor], Tensor] | None = None,
        episode_limit: int = 25,
        device: str | torch.device = "cpu",
    ):
        super().__init__(spec_of(scenario, episode_limit), n_worlds, device)
        self.physics = Physics(scenario, device=self.device)
        known = None if callable(prey) else prey
        self.official_prey = Path(known) if known else None
        self.prey: Any = prey if callable(prey) else None
        if self.physics.n_prey and self.prey is None:
            self.prey = _prey(scenario, known, self.physics).to(self.device)
        self.start_size = self.n_features - 2 * self.physics.n_bodies
        self._features = torch.zeros(n_worlds, self.n_features, dtype=torch.float64, device=self.device)
        self._steps = torch.zeros(n_worlds, dtype=torch.int64, device=self.device)

    def observe(self, features: Tensor) -> dict[str, Tensor]:
        """features [.., F] -> what the learners see: obs and state [.., N, O] float32."""
        seen = self.physics.views(*self.parts(features.double()))[: self.physics.n_learners]
        obs = torch.stack(seen, -2).float()
        return {"obs": obs, "state": obs}

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features [.., F] -> positions, velocities [.., bodies, 2], landmarks [.., L, 2]."""
        n = 2 * self.physics.n_bodies
        return tuple(part.unflatten(-1, (-1, 2)) for part in features.split([n, n, features.shape[-1] - 2 * n], -1))  # type: ignore[return-value]

    def prey_view(self, features: Tensor) -> Tensor:
        """features [.., F] -> what the prey sees, [.., O] float64."""
        return self.physics.views(*self.parts(features.double()))[-1]

    def references(self) -> dict[str, float] | None:
        """Against the prey trained here, in a scenario that has one; against another the published returns hold.

        `python -m data.behavior.train references` measures them.
        """
        file = PREY / f"{self.physics.name}_references.json"
        if self.official_prey or not file.is_file():
            return None
        measured = json.loads(file.read_text(encoding="utf-8"))
        return {end: measured[end]["mean"] for end in ("random", "expert")}

    def foreign_parts(self) -> dict[str, dict[str, Any]]:
        if self.official_prey is None or not self.physics.n_prey:
            return {}
        return {"prey": {"kind": "official", "sha256": sha256(self.official_prey)}}

    def draw_starts(self, n: int, generator: torch.Generator) -> Tensor:
        """Positions of agents, then of landmarks, [n, 2 (agents + landmarks)] float64."""
        uniform = torch.rand(n, self.start_size, generator=generator, dtype=torch.float64) * 2 - 1
        uniform[:, 2 * self.physics.n_bodies :] *= self.physics.rules.start_range
        return uniform

    def fixed_starts(self, n: int) -> Tensor:
        """Positions spread by fixed sine waves."""
        return 0.8 * torch.sin(1.3 * torch.arange(n * self.start_size, dtype=torch.float64)).view(n, -1)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        given = TensorDict({}, self.batch_size) if tensordict is None else tensordict
        chosen = given.get("_reset", None)
        chosen = torch.ones_like(self._steps, dtype=torch.bool) if chosen is None else chosen.reshape(-1)
        start = given.get("start", None)
        if start is None:
            seed = int(torch.randint(2**31, ()).item())
            start = self.draw_starts(len(chosen), torch.Generator().manual_seed(seed))
        n = 2 * self.physics.n_bodies
        start = start.to(self.device)
        fresh = torch.cat([start[:, :n], torch.zeros_like(start[:, :n]), start[:, n:]], 1)
        self._features = torch.where(chosen.unsqueeze(-1), fresh, self._features)
        self._steps = self._steps.masked_fill(chosen, 0)
        return self._report(rewards=torch.zeros(len(chosen), self.n_agents, device=self.device))

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        pos, vel, landmarks = self.parts(self._features)
        action = tensordict["action"].double().clamp(-1, 1)
        if self.prey is not None:
            action = torch.cat([action, self.prey(self.prey_view(self._features)).unsqueeze(1)], 1)
        moved = self.physics.move(pos, vel, landmarks, action)
        live = self._steps < self.episode_limit
        features = torch.cat([moved[0].flatten(1), moved[1].flatten(1), landmarks.flatten(1)], 1)
        self._features = torch.where(live.unsqueeze(-1), features, self._features)
        self._steps = self._steps + live
        rewards = self.physics.rewards(moved[0], landmarks).masked_fill(~live.unsqueeze(-1), 0.0).float()
        return self._report(rewards=rewards, reward=rewards.mean(-1, keepdim=True))

    def _report(self, **extra: Tensor) -> TensorDict:
        over = (self._steps >= self.episode_limit).unsqueeze(-1)
        ends = {"done": over, "terminated": torch.zeros_like(over), "truncated": over.clone()}
        seen = {**self.observe(self._features), "features": self._features}
        return TensorDict({**seen, **ends, **extra}, self.batch_size, device=self.device)
