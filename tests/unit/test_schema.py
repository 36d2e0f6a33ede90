"""The schema's check and statistics."""

import pytest
import torch

from data.common.errors import ReproduceError
from data.generate import generate
from data.statistics import return_statistics
from data.worlds import make_world

BRIDGE = {"name": "bridge", "episode_limit": 50}
LAYOUT = make_world(n_worlds=1, **BRIDGE).layout


def broken(key, edit):
    transitions, _ = generate("bridge_optimal", BRIDGE, 0, {"episodes": 3})
    value = edit(transitions[key].clone())
    return transitions.exclude(key) if value is None else transitions.set(key, value)


def at(index, value):
    def edit(tensor):
        tensor[index] = value
        return tensor

    return edit


@pytest.mark.parametrize(
    ("key", "edit", "message"),
    [
        ("reward", lambda _: None, r"key reward is missing"),
        (("next", "state"), lambda _: None, r"key next.state is missing"),
        ("obs", torch.Tensor.double, r"obs is torch.float64 \[24, 2, 8\], expected torch.float32 \[24, 2, 8\]"),
        ("action", lambda a: a[:, :1], r"action is torch.int64 \[24, 1\], expected torch.int64 \[24, 2\]"),
        ("terminated", torch.Tensor.long, r"terminated is torch.int64"),
        ("reward", at((5, 0), float("nan")), r"reward is NaN or infinite first in row 5"),
        (("next", "obs"), at((7, 1, 3), float("inf")), r"next.obs is NaN or infinite first in row 7"),
        ("action", at((9, 1), 5), r"action is illegal first in row 9: \[\d, 5\], expected an index in 0..4"),
        ("action", at((9, 1), -1), r"action is illegal first in row 9"),
        ("legal_actions", at((4, 0), False), r"legal_actions leaves an agent without any action first in row 4"),
        (("next", "legal_actions"), at((4, 0), False), r"next.legal_actions leaves an agent without"),
    ],
)
def test_validate_names_key_row_and_expectation(key, edit, message):
    with pytest.raises(ReproduceError, match=message):
        LAYOUT.check(broken(key, edit))


def test_validate_sees_an_action_that_is_masked_out():
    transitions, _ = generate("bridge_optimal", BRIDGE, 0, {"episodes": 3})
    transitions["legal_actions"][6, 0, transitions["action"][6, 0]] = False
    with pytest.raises(ReproduceError, match="action is illegal first in row 6"):
        LAYOUT.check(transitions)


def test_nothing_need_be_legal_after_the_end():
    transitions, _ = generate("bridge_optimal", BRIDGE, 0, {"episodes": 3})
    transitions["next", "legal_actions"][transitions["terminated"].squeeze(-1)] = False
    LAYOUT.check(transitions)
    with pytest.raises(ReproduceError, match=r"expected \[n\] with n > 0"):
        LAYOUT.check(transitions[:0])


def test_return_statistics_by_hand():
    transitions, _ = generate("bridge_optimal", BRIDGE, 0, {"episodes": 2})
    transitions["episode"] = torch.tensor([7] * 3 + [2] * 13)  # any numbering, any lengths
    transitions["reward"] = torch.arange(16.0).unsqueeze(-1)
    found = return_statistics(transitions)
    assert (found["n_transitions"], found["n_episodes"]) == (16, 2)
    assert found["return"] == pytest.approx(
        {"mean": 60, "std": 57, "min": 3, "max": 117, "p5": 8.7, "p25": 31.5, "p50": 60, "p75": 88.5, "p95": 111.3}
    )
    assert found["length"]["mean"] == 8
    assert found["length"]["std"] == 5
