"""Multi-agent MuJoCo against gymnasium itself, and its views against a plain numpy standardization."""

import builtins

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from data.common.errors import ReproduceError
from data.common.extras import needed
from data.observe import agent_views, features_of
from data.worlds import fingerprint, make_world

TASKS = {
    "Hopper-v2": ("3x1", "Hopper-v5", {}, (3, 14)),
    "HalfCheetah-v2": ("6x1", "HalfCheetah-v5", {}, (6, 23)),
    "Ant-v2": ("2x4", "Ant-v5", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}, (2, 113)),
}


def started(scenario: str, conf: str, n: int, seed: int = 0, **params):
    world = make_world("mamujoco", n, scenario=scenario, agent_conf=conf, **params)
    starts = world.draw_starts(n, torch.Generator().manual_seed(seed))
    return world, world.reset(TensorDict({"start": starts}, [n])), starts


@pytest.mark.parametrize("scenario", list(TASKS))
def test_every_step_is_gymnasiums_to_the_last_bit(scenario):
    gymnasium = pytest.importorskip("gymnasium")
    conf, name, options, _ = TASKS[scenario]
    world, td, starts = started(scenario, conf, 3)
    env = gymnasium.make(name, **options).unwrapped
    env.reset(seed=0)
    noise = starts[1].numpy()
    env.set_state(env.init_qpos + noise[: world.model.nq], env.init_qvel + noise[world.model.nq :])
    random = np.random.default_rng(1)
    ended = False
    for _ in range(200):
        action = random.uniform(-1.2, 1.2, (3, world.n_agents, world.action_size)).astype(np.float32)
        td["action"] = torch.from_numpy(action)
        td = world.step(td)["next"]
        seen, reward, ended, _, _ = env.step(action[1].astype(np.float64).ravel())
        assert np.array_equal(seen, td["features"][1].numpy())
        survive = world.rules.survive if ended else 0.0  # v5 withholds it on the terminating step, v2 pays it
        assert td["reward"][1].item() == pytest.approx(reward + survive, abs=1e-5)
        assert ended == td["terminated"][1].item()
        if ended:
            break
    assert ended == (scenario != "HalfCheetah-v2")


@pytest.mark.parametrize("scenario", list(TASKS))
def test_views_are_self_standardized_vectors(scenario):
    conf, _, _, shape = TASKS[scenario]
    world, td, _ = started(scenario, conf, 2)
    assert td["obs"].shape[1:] == shape
    assert torch.equal(td["obs"], td["state"])
    for w in range(2):
        for i in range(world.n_agents):
            onehot = np.eye(world.n_agents)[i]
            x = np.concatenate([td["features"][w].numpy(), np.zeros(world.n_zeros), onehot])
            np.testing.assert_allclose(td["obs"][w, i].numpy(), (x - x.mean()) / x.std(), rtol=0, atol=1e-6)
    back = features_of(td["obs"], world.n_features, world.n_agents, world.n_zeros)
    torch.testing.assert_close(back.double(), td["features"], rtol=0, atol=2e-6)


def test_views_of_float32_features_are_those_of_float64_ones():
    features = 10 * torch.randn(100, 17, dtype=torch.float64)
    gap = agent_views(features.float(), 6) - agent_views(features, 6)
    assert gap.abs().max() <= 1e-6


@pytest.mark.parametrize("scenario", list(TASKS))
def test_specs(scenario):
    check_env_specs(make_world("mamujoco", 2, scenario=scenario, agent_conf=TASKS[scenario][0], episode_limit=5))


def test_worlds_do_not_depend_on_threads_or_neighbors():
    def play(n: int, first: int, threads: int = 3) -> torch.Tensor:
        torch.set_num_threads(threads)
        world, _, starts = started("HalfCheetah-v2", "2x3", 4)
        world = make_world("mamujoco", n, scenario="HalfCheetah-v2", agent_conf="2x3")
        td = world.reset(TensorDict({"start": starts[first : first + n]}, [n]))
        for t in range(50):
            td["action"] = torch.full((n, 2, 3), 0.9 if t % 7 < 3 else -0.7)
            td = world.step(td)["next"]
        return td["features"]

    before = torch.get_num_threads()
    try:
        whole = play(4, 0)
        assert torch.equal(whole[2:3], play(1, 2))
        assert torch.equal(whole, play(4, 0, threads=1))
    finally:
        torch.set_num_threads(before)


def test_a_finished_world_keeps_its_state_and_earns_nothing():
    world, td, _ = started("Hopper-v2", "3x1", 2)
    for _ in range(200):
        td["action"] = torch.ones(2, 3, 1)
        td = world.step(td)["next"]
        if td["done"].all():
            break
    assert td["terminated"].all()
    assert not td["truncated"].any()
    td["action"] = torch.ones(2, 3, 1)
    after = world.step(td)["next"]
    assert torch.equal(after["features"], td["features"])
    assert after["reward"].abs().max() == 0
    assert after["terminated"].all()
    again = world.reset(after.set("_reset", torch.tensor([[True], [False]])))
    assert again["done"].squeeze(-1).tolist() == [False, True]


def test_a_time_limit_truncates():
    world, td, _ = started("HalfCheetah-v2", "6x1", 1, episode_limit=3)
    for _ in range(3):
        td["action"] = torch.zeros(1, 6, 1)
        td = world.step(td)["next"]
    assert td["truncated"].all()
    assert not td["terminated"].any()


def test_fingerprint_is_repeatable_and_tells_scenarios_apart():
    marks = {s: fingerprint("mamujoco", scenario=s, agent_conf=conf) for s, (conf, *_) in TASKS.items()}
    assert len(set(marks.values())) == 3
    assert marks["Hopper-v2"] == fingerprint("mamujoco", scenario="Hopper-v2", agent_conf="3x1")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"scenario": "Hoper-v2", "agent_conf": "3x1"}, "Hopper-v2"),
        ({"scenario": "Hopper-v2", "agent_conf": "2x2"}, "3 actuators"),
        ({"scenario": "Hopper-v2", "agent_conf": "3"}, "AGENTSxACTIONS"),
        ({"scenario": "Hopper-v2"}, "agent_conf"),
    ],
)
def test_bad_parameters(params, said):
    with pytest.raises(ReproduceError, match=said):
        make_world("mamujoco", 1, **params)


def test_a_missing_package_names_the_extra(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.split(".")[0] == "mujoco":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr("importlib.import_module", lambda name: absent(name))
    with pytest.raises(ReproduceError, match=r"\.\[mujoco\]"):
        needed("mujoco", "worlds")
