"""Official data whose numbers are sound one by one and wrong together: a sample is played again in its world."""

import numpy as np
import pytest
import torch
import written
from safetensors.torch import save_file
from tensordict import TensorDict

from data.catalog import store
from data.common.errors import ReproduceError
from data.common.paths import ROOT
from data.generate import generate, mpe
from data.official import alberdice, omar_npy, replay
from data.worlds.mamujoco import MultiAgentMujoco

RELEASE = ROOT.parent / "shared" / "data" / "alberdice"
released = pytest.mark.skipif(not RELEASE.is_dir(), reason="AlberDICE's released buffers are not at hand")
BRIDGE = {"name": "bridge", "start_adjacent": True, "episode_limit": 50, "zero_last_reward": True}
XOR = {"name": "matrix", "payoff": [[0, 1], [1, -2]], "episode_limit": 50}
SCENARIOS = ("simple_spread", "simple_tag", "simple_world")


def world_of(scenario: str, tmp_path) -> dict:
    world = {"name": "mpe", "scenario": scenario, "episode_limit": 25}
    if scenario == "simple_spread":
        return world
    g, views = torch.Generator().manual_seed(0), {"simple_tag": 14, "simple_world": 22}
    shapes = {"fc1": (64, views[scenario]), "fc2": (64, 64), "fc3": (2, 64)}
    weights = {f"{k}.weight": torch.randn(shape, generator=g) * 0.3 for k, shape in shapes.items()}
    weights |= {f"{k}.bias": torch.randn(shape[0], generator=g) for k, shape in shapes.items()}
    save_file(weights, tmp_path / "prey.safetensors")
    return world | {"prey": str(tmp_path / "prey.safetensors")}


@pytest.fixture(params=SCENARIOS)
def omar(request, tmp_path):
    """(folder, world): twenty episodes as the world plays them; contacts are rewarded in some rows."""
    world = world_of(request.param, tmp_path)
    omar_npy.write(mpe.random(world, 0, 20, 520), tmp_path / "data", world)
    return tmp_path / "data", world


def swap(folder, one: str, other: str) -> None:
    a, b = np.load(folder / one), np.load(folder / other)
    np.save(folder / one, b)
    np.save(folder / other, a)


def every(folder, kind: str, edit) -> None:
    for path in folder.glob(f"{kind}_*.npy"):
        np.save(path, edit(np.load(path)))


def test_what_the_world_plays_agrees(omar):
    folder, world = omar
    omar_npy.load(folder, world)
    assert omar_npy.replayed(folder, world) == {"n": 400, "agree": 1.0, "ends_marked": 0.0}


def test_marked_ends_are_a_fact_of_the_manifest(omar):
    folder, world = omar
    marks = np.load(folder / "dones_0.npy")
    marks[24:250:25] = 1
    np.save(folder / "dones_0.npy", marks)
    assert omar_npy.replayed(folder, world)["ends_marked"] == 0.5


def test_swapped_actions_are_refused(omar):
    folder, world = omar
    swap(folder, "acs_0.npy", "acs_2.npy")
    with pytest.raises(ReproduceError, match=r"moves of .* Likely agents are swapped: acs_2\.npy is agent 0's"):
        omar_npy.load(folder, world)


@pytest.mark.parametrize(
    ("kind", "edit", "said"),
    [
        ("rews", lambda r: r[::-1], "rewards are in reverse order"),
        ("rews", lambda r: r.reshape(-1, 25)[:, ::-1].reshape(-1), "rewards are reversed within episodes"),
        ("rews", lambda r: -r, "rewards are negated"),
        ("rews", lambda r: np.roll(r, 1), "another world's data|rewards stand one row too late"),
        ("rews", lambda r: r * 0, "rewards reordered, or it is another"),
        ("rews", lambda r: r + 0.01, "rewards reordered, or it is another"),
        ("acs", lambda a: -a, "actions are negated"),
    ],
)
def test_wrong_rewards_and_actions_are_refused(omar, kind, edit, said):
    folder, world = omar
    every(folder, kind, edit)
    with pytest.raises(ReproduceError, match=said):
        omar_npy.load(folder, world)


def test_actions_that_no_known_mistake_explains_are_a_fact(omar):
    """The released files were not at hand: perhaps they hold actions without the noise that was added."""
    folder, world = omar
    every(folder, "acs", lambda a: (a * 0.5).astype(np.float32))
    omar_npy.load(folder, world)
    assert omar_npy.replayed(folder, world)["agree"] < 0.2


# ---- AlberDICE


@released
@pytest.mark.parametrize("dataset_id", ["bridge/optimal", "xor/ab_ba", "xor/aa_ab_ba"])
def test_released_data_agree(dataset_id):
    found = store.get(dataset_id, "official", RELEASE)
    assert found.manifest["transitions_checked"]["n"] == 400
    assert found.manifest["transitions_checked"]["agree"] == 1.0


@pytest.fixture(scope="module")
def mix():
    return generate("bridge_mix", BRIDGE, 0, {"episodes": 12})[0]


def test_bridge_as_the_world_plays_it(mix, tmp_path):
    assert replay.tables(tmp_path, mix, BRIDGE) == {"n": 400, "agree": 1.0}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda t: t.set("action", t["action"].flip(-1)), "Likely agents are swapped"),
        (lambda t: t.set("reward", t["reward"].flip(0)), "Likely rewards are in reverse order"),
        (lambda t: t.set("reward", -t["reward"]), "Likely rewards are negated"),
        (lambda t: t.set("action", t["action"] * 0), "another world's data"),
        (lambda t: t.set("state", t["state"] + 1), "another world's data"),
    ],
)
def test_bridge_with_a_mistake(mix, edit, said, tmp_path):
    with pytest.raises(ReproduceError, match=said):
        replay.tables(tmp_path, edit(mix.clone()), BRIDGE)


def test_matrix_games(tmp_path):
    made = generate(
        "matrix_joint_actions", XOR | {"episode_limit": 1}, 0, {"episodes": 50, "actions": [[0, 0], [0, 1]]}
    )
    assert replay.tables(tmp_path, made[0], XOR)["agree"] == 1.0
    with pytest.raises(ReproduceError, match="of matrix, expected 99%"):
        replay.tables(tmp_path, made[0], XOR | {"payoff": [[1, 1], [1, 1]]})


def test_an_end_that_is_neither_0_nor_1(mix, tmp_path):
    written.alberdice(mix, tmp_path / "buffer", "bridge")
    flags = np.load(tmp_path / "buffer" / "terminated.npy")
    np.save(tmp_path / "buffer" / "terminated.npy", flags * 3)
    with pytest.raises(ReproduceError, match=r"terminated\.npy: .* it is 3, expected 0 or 1"):
        alberdice.load(tmp_path / "buffer", "bridge")


# ---- OMIGA


@pytest.fixture(params=[("Hopper-v2", "3x1"), ("HalfCheetah-v2", "6x1"), ("Ant-v2", "2x4")], ids=lambda p: p[0])
def mujoco(request):
    """(world, trajectories): thirty episodes of ten steps and less, as the simulator plays them."""
    pytest.importorskip("mujoco")
    scenario, conf = request.param
    world = {"name": "mamujoco", "scenario": scenario, "agent_conf": conf, "episode_limit": 10}
    game, g = MultiAgentMujoco(30, scenario, conf, 10), torch.Generator().manual_seed(0)
    td, made = game.reset(TensorDict({"start": game.draw_starts(30, g)}, [30])), []
    for _ in range(10):
        td["action"] = torch.rand(30, game.n_agents, game.action_size, generator=g) * 2 - 1
        td = game.step(td)
        made.append(TensorDict({k: td[k] for k in ("features", "action")} | {"reward": td["next", "reward"]}, [30]))
        td = td["next"]
    last = made[-1].clone().zero_().set("features", td["features"])
    rows = torch.stack([*made, last], 1).flatten(0, 1).float()
    final = torch.arange(len(rows)).remainder(11).eq(10).unsqueeze(-1)
    return world, rows.set("final", final)


def test_what_the_simulator_plays_agrees(mujoco):
    world, rows = mujoco
    assert replay.mujoco("file", rows, world)["agree"] > 0.97


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda r: r.set("action", r["action"].flip(1)), r"agents are swapped: their order is \[\d, "),
        (lambda r: r.set("action", -r["action"]), "actions are negated"),
        (lambda r: r.set("action", r["action"].roll(1, 0)), "actions stand one row too late"),
        (lambda r: r.set("reward", -r["reward"]), "rewards are negated"),
        (lambda r: r.set("reward", r["reward"].roll(-1, 0)), "rewards stand one row too early"),
    ],
    ids=["swapped", "negated", "late", "negated rewards", "early rewards"],
)
def test_actions_and_rewards_that_are_not_the_simulators_are_refused(mujoco, edit, said):
    world, rows = mujoco
    with pytest.raises(ReproduceError, match=said):
        replay.mujoco("file", edit(rows.clone()), world)


def test_rows_of_no_known_mistake_are_a_fact_alone(mujoco):
    world, rows = mujoco
    rows["action"] = torch.rand_like(rows["action"])
    assert replay.mujoco("file", rows, world)["agree"] < 0.5
