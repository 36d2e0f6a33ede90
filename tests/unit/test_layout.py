"""The two layouts of experience, and sequences within episodes, on made-up data."""

import dataclasses

import pytest
import torch
from tensordict import TensorDict

from data import synthetic
from data.buffer import ChunkLoader, OfflineDataModule
from data.common.errors import ReproduceError
from data.common.spec import WorldSpec
from data.layout import Trajectories, Transitions, layout_of
from data.samplers import Episodes
from lit_modules.common.schedule import Phase, make_plan

LENGTHS = [3, 1, 5, 2]
STORED_AS_SEEN = dataclasses.replace(synthetic.DISCRETE, layout="trajectories")
FEATURES = dataclasses.replace(synthetic.CONTINUOUS, layout="trajectories", n_features=6, individual_rewards=True)
KEYS = ("obs", "action", "reward", "terminated", ("next", "obs"))


def observe(features):
    """Made-up observations that tell the row: its number in every entry."""
    obs = features[..., None, :4].expand(*features.shape[:-1], 3, 4)
    return {"obs": obs, "state": obs}


def numbered(spec: WorldSpec) -> TensorDict:
    """Trajectories of LENGTHS whose every observation holds 100 x episode + step."""
    made = synthetic.trajectories(sum(LENGTHS) + len(LENGTHS), spec)
    number = torch.tensor([100.0 * e + t for e, length in enumerate(LENGTHS) for t in range(length + 1)])
    last = torch.tensor([t == length for length in LENGTHS for t in range(length + 1)]).unsqueeze(-1)
    made["final"], made["truncated"] = last, torch.zeros_like(last)
    made["terminated"] = last.roll(-1, 0) & ~last
    key = "features" if spec.n_features else "obs"
    made[key] = number.view(-1, *(1,) * (made[key].ndim - 1)).expand_as(made[key]).clone()
    made["action"][last.squeeze(-1)], made["reward"][last.squeeze(-1)] = 0, 0.0
    return made


def flat() -> TensorDict:
    """The same episodes as flat transitions."""
    made = numbered(STORED_AS_SEEN)
    starts = (~made["final"].squeeze(-1)).nonzero().squeeze(-1)
    td = made[starts].exclude("final")
    td["next"] = made[starts + 1].select("obs", "state", "legal_actions")
    td["episode"] = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    td["step"] = torch.cat([torch.arange(length) for length in LENGTHS])
    return td


def buffer(kind: str, seeds: list[int]) -> OfflineDataModule:
    if kind == "transitions":
        return OfflineDataModule(flat(), Transitions(synthetic.DISCRETE), KEYS, seeds)
    spec = FEATURES if kind == "features" else STORED_AS_SEEN
    return OfflineDataModule(numbered(spec), Trajectories(spec, observe), KEYS, seeds)


KINDS = ["transitions", "stored as seen", "features"]


@pytest.mark.parametrize("spec", [synthetic.DISCRETE, synthetic.CONTINUOUS, STORED_AS_SEEN, FEATURES])
def test_made_up_experience_is_in_its_layout(spec):
    layout = layout_of(spec, observe)
    made = layout.synthetic(50)
    layout.check(made)
    assert layout.sizes(made) == layout.expected_sizes()
    columns = {key: value for key, value in made.flatten_keys(".").items() if key in layout.columns()}
    assert sum(value[0].numel() * value.element_size() for value in columns.values()) == layout.row_bytes
    statistics = layout.statistics(made)
    assert statistics["n_episodes"] >= 2
    again = layout.read({key: value for key, value in made.flatten_keys(".").items()})
    assert (again == made).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_gives_the_same_transitions(kind):
    data = buffer(kind, [0, 1])
    chunk = data.to_schema(data.sample(4, 50))
    assert chunk.batch_size == torch.Size([4, 2, 50])
    assert set(chunk.keys(include_nested=True, leaves_only=True)) == {*KEYS}
    now, later = chunk["obs"][..., 0, 0], chunk["next", "obs"][..., 0, 0]
    assert torch.equal(later, now + 1)  # within the episode
    length = torch.tensor(LENGTHS)[(now / 100).long()]
    assert torch.equal(chunk["terminated"].squeeze(-1), now % 100 == length - 1)
    assert len(now.unique()) == sum(LENGTHS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 3, 9])
def test_a_sequence_stays_within_its_episode(kind, size):
    data = buffer(kind, [0, 1])
    chunk = data.to_schema(data.sample(3, 64, sequence_length=size))
    assert chunk.batch_size == torch.Size([3, 2, 64, size])
    now, later = chunk["obs"][..., 0, 0], chunk["next", "obs"][..., 0, 0]
    mask, is_init = chunk["mask"].squeeze(-1), chunk["is_init"].squeeze(-1)
    assert chunk["mask"].shape == (3, 2, 64, size, 1)
    assert (now // 100 == now[..., :1] // 100).all()
    assert torch.equal(later, now + 1)
    length = torch.tensor(LENGTHS)[(now[..., 0] / 100).long()]
    steps = torch.arange(size)
    assert torch.equal(mask, steps < length.clamp(max=size).unsqueeze(-1))  # short episodes are whole and padded
    first = now[..., :1] % 100
    assert torch.equal((now % 100)[mask], (first + steps)[mask])
    assert torch.equal(now[~mask], (now.gather(-1, mask.sum(-1, keepdim=True) - 1).expand_as(now))[~mask])
    assert torch.equal(is_init, (now % 100 == 0) & (steps == 0))
    # Every window is drawn, none more often than chance allows.
    windows = [100 * e + t for e, n in enumerate(LENGTHS) for t in range(max(1, n - size + 1))]
    assert sorted(now[..., 0].unique().tolist()) == windows
    assert now[..., 0].flatten().long().bincount().max() < 3 * now[..., 0].numel() / len(windows)


def test_windows_that_no_episode_exceeds_are_the_episodes():
    first, length, offset = Episodes(torch.tensor([0, 4, 6, 12]), torch.tensor(LENGTHS)).windows(5)
    assert (first.tolist(), length.tolist(), offset.tolist()) == ([0, 4, 6, 12], LENGTHS, [0, 0, 0, 0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3])
def test_a_seed_draws_alone_what_it_draws_beside_others_and_resumes_to_the_bit(kind, size):
    both, alone = buffer(kind, [3, 4]), buffer(kind, [4])
    pair, one = (data.sample(2, 20, sequence_length=size) for data in (both, alone))
    assert (pair[:, 1] == one[:, 0]).all()
    assert not torch.equal(pair[:, 0]["reward"], pair[:, 1]["reward"])
    state = both.sampler.state_dict()
    expected = both.sample(2, 20, sequence_length=size)
    other = buffer(kind, [3, 4])
    other.sampler.load_state_dict(state)
    assert (other.sample(2, 20, sequence_length=size) == expected).all()


def test_phases_of_transitions_and_of_sequences_follow_one_another():
    phases = [Phase("clone", 3, 8), Phase("recur", 4, 5, sequence_length=3), Phase("again", 2, 8)]
    module = type("Module", (), {"plan": make_plan(phases, 2), "n_updates": 0})()
    shapes = [chunk.batch_size for chunk in ChunkLoader(buffer("features", [0, 1]), module)]
    assert shapes == [(2, 2, 8), (1, 2, 8), (2, 2, 5, 3), (2, 2, 5, 3), (2, 2, 8)]


def test_sequences_need_episodes():
    data = OfflineDataModule(flat().exclude("episode"), Transitions(synthetic.DISCRETE), KEYS, [0])
    assert data.sample(1, 4).batch_size == (1, 1, 4)
    with pytest.raises(ReproduceError, match="keys episode and step"):
        data.sample(1, 4, sequence_length=2)


def test_an_id_that_comes_back_is_another_episode():
    episode, step = torch.tensor([0, 0, 1, 1, 0]), torch.tensor([0, 1, 0, 1, 0])
    assert Episodes.of_steps(episode, step).length.tolist() == [2, 2, 1]
    assert Episodes.of_steps(torch.zeros(4, dtype=torch.int64), torch.tensor([3, 4, 0, 1])).length.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda t: t["legal_actions"].__setitem__((1, 2), False), "without any action first in row 1"),
        (lambda t: t["action"].__setitem__((6, 0), 3), "action is illegal first in row 6"),
        (lambda t: t["legal_actions"].__setitem__(3, False), None),  # final: nobody acts
        (lambda t: t["state"].__setitem__((2, 0), torch.nan), "state is NaN or infinite first in row 2"),
    ],
)
def test_trajectories_stored_as_seen_are_checked(edit, said):
    made = numbered(STORED_AS_SEEN)
    edit(made)
    if said is None:
        return Trajectories(STORED_AS_SEEN).check(made)
    with pytest.raises(ReproduceError, match=said):
        Trajectories(STORED_AS_SEEN).check(made)
