"""OMAR's particle worlds as TorchRL environments: specs, resets, ends, and prey, ours and strangers'."""

import os

import pytest
import torch
from safetensors.torch import save_file
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from data.behavior.matd3 import prey_reward
from data.common.errors import ReproduceError
from data.common.rng import Stream, generator
from data.worlds import fingerprint, make_world
from data.worlds.mpe import Prey

SPREAD = {"scenario": "simple_spread"}


def prey_state(obs_size: int = 14, normalized: bool = True) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    shapes = {"fc1": (64, obs_size), "fc2": (64, 64), "fc3": (2, 64)}
    state = {f"{k}.weight": torch.randn(shape, generator=g) * 0.3 for k, shape in shapes.items()}
    state |= {f"{k}.bias": torch.randn(shape[0], generator=g) for k, shape in shapes.items()}
    if normalized:
        state |= {f"in_fn.{k}": torch.rand(obs_size, generator=g) + 0.5 for k in ("weight", "bias", "running_var")}
        state["in_fn.running_mean"] = torch.randn(obs_size, generator=g)
        state["in_fn.num_batches_tracked"] = torch.tensor(5)
    return state


@pytest.fixture
def official(tmp_path):
    """A checkpoint in OMAR's layout: four agents, the prey last."""
    path = tmp_path / "pretrained_adv_model.pt"
    torch.save({"agent_params": [{}, {}, {}, {"policy": prey_state(), "critic": {}}]}, path)
    return path


def play(world, n_steps: int, seed: int = 0) -> tuple[TensorDict, torch.Tensor]:
    g = generator(seed, Stream.TESTS)
    td = world.reset(TensorDict({"start": world.draw_starts(world.batch_size[0], g)}, world.batch_size))
    total = torch.zeros(world.batch_size)
    for _ in range(n_steps):
        td["action"] = torch.rand(*world.batch_size, 3, 2, generator=g) * 3 - 1.5
        td = world.step(td)["next"]
        total += td["reward"].squeeze(-1)
    return td, total


def test_specs_hold():
    check_env_specs(make_world("mpe", 3, **SPREAD))


def test_episodes_last_25_steps_and_a_finished_world_rests():
    world = make_world("mpe", 2, **SPREAD)
    td, total = play(world, 25)
    assert td["truncated"].all()
    assert not td["terminated"].any()
    later, more = play(world, 25)
    td["action"] = torch.ones(2, 3, 2)
    stepped = world.step(td.exclude("reward"))["next"]
    assert (stepped["reward"] == 0).all()
    assert (stepped["rewards"] == 0).all()
    assert torch.equal(stepped["features"], later["features"])
    assert torch.equal(total, more)


def test_worlds_do_not_depend_on_their_neighbors_and_reset_alone():
    many, one = make_world("mpe", 5, **SPREAD), make_world("mpe", 1, **SPREAD)
    starts = many.draw_starts(5, generator(1, Stream.TESTS))
    action = torch.rand(5, 3, 2)
    td = many.reset(TensorDict({"start": starts}, [5])).set("action", action)
    alone = one.reset(TensorDict({"start": starts[2:3]}, [1])).set("action", action[2:3])
    after, single = many.step(td)["next"], one.step(alone)["next"]
    for key in ("obs", "features", "rewards"):
        torch.testing.assert_close(after[key][2], single[key][0], rtol=0, atol=1e-6)
    chosen = torch.tensor([True, False, False, False, False]).unsqueeze(-1)
    again = many.reset(after.exclude("reward").set("_reset", chosen).set("start", starts))
    assert torch.equal(again["obs"][0], td["obs"][0])
    assert torch.equal(again["obs"][1:], after["obs"][1:])


def test_actions_are_clamped_and_the_team_is_paid_the_mean():
    world = make_world("mpe", 2, **SPREAD)
    start = {"start": world.draw_starts(2, generator(0, Stream.TESTS))}
    results = []
    for size in (1.0, 7.0):
        td = world.reset(TensorDict(start, [2])).set("action", size * torch.ones(2, 3, 2))
        results.append(world.step(td)["next"])
    assert torch.equal(results[0]["features"], results[1]["features"])
    torch.testing.assert_close(results[0]["reward"], results[0]["rewards"].mean(-1, keepdim=True))


def test_views_follow_from_features_kept_in_float32():
    world = make_world("mpe", 4, **SPREAD)
    td, _ = play(world, 10)
    seen = world.observe(td["features"].float())
    torch.testing.assert_close(seen["obs"], td["obs"], rtol=0, atol=1e-6)
    assert seen["obs"].shape == (4, 3, 18)


def test_the_official_prey_acts_as_batch_norm_in_evaluation_mode(official):
    world = make_world("mpe", 3, scenario="simple_tag", prey=str(official))
    assert world.obs_size == 16
    state = prey_state()
    norm = torch.nn.BatchNorm1d(14).double().eval()
    norm.load_state_dict({k.removeprefix("in_fn."): v for k, v in state.items() if k.startswith("in_fn.")})
    obs = torch.randn(6, 14, dtype=torch.float64)
    h = norm(obs)
    for layer in ("fc1", "fc2", "fc3"):
        h = h @ state[f"{layer}.weight"].double().T + state[f"{layer}.bias"].double()
        h = h.relu() if layer != "fc3" else h.tanh()
    torch.testing.assert_close(world.prey(obs), h, rtol=0, atol=1e-12)
    td, _ = play(world, 5)
    assert (td["rewards"] == td["rewards"][:, :1]).all()  # predators share everything


def test_a_prey_without_standardization(tmp_path):
    save_file(prey_state(22, normalized=False), tmp_path / "prey.safetensors")
    world = make_world("mpe", 2, scenario="simple_world", prey=str(tmp_path / "prey.safetensors"))
    assert world.obs_size == 24
    assert not world.prey.standardize


def test_bad_prey(official, tmp_path):
    with pytest.raises(
        ReproduceError, match=r"needs its prey .*nowhere.pt, which is missing: the official prey is data"
    ):
        make_world("mpe", 1, scenario="simple_tag", prey=str(tmp_path / "nowhere.pt"))
    with pytest.raises(ReproduceError, match=r"fc1.weight is \(64, 14\), a prey of this world has \[64, 22\]"):
        make_world("mpe", 1, scenario="simple_world", prey=str(official))
    with pytest.raises(ReproduceError, match=r"in_fn\.bias is missing"):
        Prey({k: v for k, v in prey_state().items() if k != "in_fn.bias"}, 14, "this prey")

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"agent_params": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ReproduceError, match="cannot be read"):
        make_world("mpe", 1, scenario="simple_tag", prey=str(tmp_path / "evil.pt"))
    assert not (tmp_path / "executed").exists()


def test_an_unknown_scenario_and_the_fingerprint():
    with pytest.raises(ReproduceError, match=r"unknown scenario 'simple_spred'; known: .*Nearest: simple_spread"):
        make_world("mpe", 1, scenario="simple_spred")
    assert fingerprint("mpe", **SPREAD) == fingerprint("mpe", **SPREAD)
    assert fingerprint("mpe", **SPREAD) != fingerprint("mpe", scenario="simple_spread", episode_limit=24)


@pytest.mark.parametrize(("scenario", "contact", "food"), [("simple_tag", 10.0, 0.0), ("simple_world", 5.0, 2.0)])
def test_a_learning_prey_pays_for_contacts_and_for_leaving_and_is_paid_for_food(scenario, contact, food):
    world = make_world("mpe", 1, scenario=scenario, prey=lambda obs: obs[:, :2])
    pos = torch.tensor([[0.95, 0.05], [3.0, 3.0], [4.0, 3.0], [0.95, 0.0]], dtype=torch.float64)  # the prey last
    landmarks = torch.full((world.physics.n_landmarks, 2), -3.0, dtype=torch.float64)
    landmarks[1] = pos[-1]  # an obstacle in tag, food in the other
    features = torch.cat([pos.flatten(), torch.zeros(8, dtype=torch.float64), landmarks.flatten()]).unsqueeze(0)
    assert prey_reward(world, features).item() == pytest.approx(-contact - 10 * 0.05 + food, abs=1e-6)
    features[0, 6] = 2.0  # far out: alone, min(exp(2 x - 2), 10)
    assert prey_reward(world, features).item() == pytest.approx(-7.3890561, abs=1e-5)
