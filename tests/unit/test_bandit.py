"""The continuous bandit and its data."""

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from data.catalog.registry import dataset
from data.common.errors import ReproduceError
from data.generate import generate
from data.statistics import trajectory_statistics
from data.worlds import make_world


def test_the_reward_is_the_product_or_the_mean_product_of_pairs():
    check_env_specs(make_world("bandit", 2))
    for n, action, reward in (
        (2, [0.5, -0.4], -0.2),
        (3, [0.5, -0.4, 1.0], (-0.2 + 0.5 - 0.4) / 3),
        (3, [0.8, 0.8, -0.8], -0.64 / 3),
        (3, [-0.8, -0.8, -0.8], 0.64),
        (2, [3.0, -3.0], -1),
    ):
        world = make_world("bandit", 1, n_agents=n)
        td = world.reset().set("action", torch.tensor(action).view(1, n, 1))
        after = world.step(td)["next"]
        assert after["reward"].item() == pytest.approx(reward)
        assert after["rewards"][0].tolist() == pytest.approx([reward] * n)
        assert after["terminated"].all()
        again = world.step(after.exclude("reward").set("action", td["action"]))["next"]
        assert again["reward"].item() == 0
        assert not world.reset(TensorDict({}, [1]))["done"].any()


def test_one_agent_has_no_pairs():
    with pytest.raises(ReproduceError, match="n_agents is 1"):
        make_world("bandit", 1, n_agents=1)


@pytest.mark.parametrize(("dataset_id", "n"), [("bandit/two_mode", 2), ("bandit/three_agents", 3)])
def test_the_data_are_two_modes(dataset_id, n):
    entry = dataset(dataset_id)
    recipe = entry.generator
    params = recipe.params | {"rows": 4000}
    world = entry.world.flat
    rows, measures = generate(recipe.name, world, recipe.seed, params)
    again, _ = generate(recipe.name, world, recipe.seed, params)
    make_world(n_worlds=1, **world).layout.check(rows)
    assert torch.equal(rows["action"], again["action"])
    statistics = trajectory_statistics(rows)
    assert (statistics["n_rows"], statistics["n_episodes"], statistics["n_terminated"]) == (4000, 2000, 2000)
    assert measures["agreement"] == 1.0
    assert abs(measures["positive"] - 0.5) < 0.05
    assert statistics["return"]["mean"] == pytest.approx(0.64, abs=0.01)
    action = rows["action"][~rows["final"].squeeze(-1)].squeeze(-1)
    assert action.abs().max() <= 1
    assert action.abs().mean().item() == pytest.approx(0.8, abs=0.01)


def test_random_particle_data_hold_every_agents_reward():
    world = {"name": "mpe", "scenario": "simple_spread", "episode_limit": 25}
    rows, _ = generate("mpe_random", world, 0, {"episodes": 40, "rows": 1040})
    make_world(n_worlds=1, **world).layout.check(rows)
    torch.testing.assert_close(rows["reward"], rows["rewards"].mean(-1, keepdim=True))
    statistics = trajectory_statistics(rows)
    assert (statistics["n_truncated"], statistics["n_terminated"]) == (40, 0)
    assert 100 < statistics["return"]["mean"] < 220  # 159.8 +- 60.7 over 40000 episodes, official
