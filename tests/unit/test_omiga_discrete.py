"""What OMIGA for discrete actions does otherwise: ends found in states, returns to go, illegal actions, its keys."""

import pytest
import torch
from cases.omiga_discrete import OMIGA_DISCRETE_SMALL

from data import synthetic
from data.buffer import OfflineDataModule
from data.catalog.registry import dataset
from data.common.errors import ReproduceError
from data.layout import Trajectories, Transitions
from data.schema import return_to_go
from data.synthetic import DISCRETE, LOCAL
from lit_modules.omiga_discrete import OMIGADiscrete
from reproduce.config import compose, expand, row_ids


def made(spec=LOCAL, **switches) -> OMIGADiscrete:
    module = OMIGADiscrete(OMIGA_DISCRETE_SMALL.replace(**switches), [0], spec).double()
    module.configure_optimizers()
    return module


def batch(n: int = 8, spec=LOCAL):
    data = synthetic.transitions(n, spec).unsqueeze(0)
    data["terminated"] = torch.zeros_like(data["terminated"])
    return data


def test_an_end_is_a_state_of_all_agents_that_stays():
    data = batch()
    data["next", "state"][0, 0] = data["state"][0, 0]  # everybody's
    data["next", "state"][0, 1, :2] = data["state"][0, 1, :2]  # two of three agents'
    data["terminated"][0, 2] = True
    data["truncated"][0, 3] = True
    assert made().unpack(data)["mask"][0].tolist() == [0, 1, 0, 0, 1, 1, 1, 1]
    assert made(done="terminated").unpack(data)["mask"][0].tolist() == [1, 1, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("reward", ["return_to_go", "step"])
def test_the_reward_is_the_one_asked_for(reward):
    module, data = made(reward=reward), batch()
    key = "reward" if reward == "step" else "return_to_go"
    assert torch.equal(module.unpack(data)["reward"], data[key].squeeze(-1))
    assert {"reward", "return_to_go"} & set(module.keys) == {key}


def test_returns_to_go_end_with_their_episode():
    data = synthetic.transitions(60, LOCAL)
    found, reward = return_to_go(data).squeeze(-1), data["reward"].squeeze(-1)
    for episode in data["episode"].unique():
        own = reward[data["episode"] == episode]
        expected = torch.stack([own[t:].sum() for t in range(len(own))])
        torch.testing.assert_close(found[data["episode"] == episode], expected, rtol=0, atol=1e-12)
    with pytest.raises(ReproduceError, match="episode and step"):
        return_to_go(data.exclude("step"))


@pytest.mark.parametrize("layout", [Transitions, Trajectories])
def test_both_layouts_derive_returns_to_go(layout):
    stored = layout(LOCAL).synthetic(40).exclude("return_to_go")
    module = OMIGADiscrete(OMIGA_DISCRETE_SMALL, [0], LOCAL)
    source = OfflineDataModule(stored, layout(LOCAL), module.keys, [0])
    chunk = source.to_schema(source.sample(1, 200))
    expected = {round(x, 5) for x in return_to_go(stored).flatten().tolist()}
    assert {round(x, 5) for x in chunk["return_to_go"].flatten().tolist()} <= expected
    assert set(module.keys) <= set(chunk.keys(include_nested=True))


def test_evaluation_takes_the_likeliest_legal_action():
    module = made()
    obs = torch.randn(1, 50, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    legal = torch.rand(1, 50, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.5
    legal[..., 1] = True
    action = module.act(obs, legal, None)[0]
    logits = module.per_agent(module.policy, module.identified(obs)).transpose(1, 2)
    assert torch.equal(action, logits.masked_fill(~legal, -torch.inf).argmax(-1))
    assert legal.gather(-1, action.unsqueeze(-1)).all()


def test_a_team_state_is_read_once():
    module = made(DISCRETE)
    assert module.mixer.layers[0][0] == DISCRETE.state_size
    assert all(value.isfinite().all() for value in module.update_train(batch(spec=DISCRETE), {}).values())


@pytest.mark.parametrize("change", [{"reward": "sum"}, {"done": "any"}, {"alpha": 0.0}])
def test_bad_settings(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        made(**change)


@pytest.mark.parametrize("row", expand("omiga/smac/*_*", row_ids()))
def test_rows_make_the_released_codes_number_of_updates(row):
    """55 times twenty chunks of at most 50 episodes, each without the last, smaller minibatch."""
    settings = compose(row)
    known = dataset(settings.data.id).published
    episodes = min(known.n_episodes, 1000) // 20 * 20
    steps = known.n_rows * episodes / known.n_episodes
    assert settings.algo.n_updates == 55 * 20 * int(steps / 20 / 128)
