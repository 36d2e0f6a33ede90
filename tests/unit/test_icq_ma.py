"""ICQ-MA's losses by hand, its switches, and the data's next action in every layout."""

import math

import pytest
import torch
from test_cql_ma import SPEC, batch, constant
from test_layout import FEATURES, STORED_AS_SEEN, flat, numbered, observe

from data.buffer import OfflineDataModule
from data.common.errors import ReproduceError
from data.layout import Trajectories, Transitions
from data.synthetic import CONTINUOUS, transitions
from lit_modules.icq_ma import ICQMA
from reproduce.regression.cases import cases

CONFIG = cases()["icq_ma"].config


def made(**changes) -> ICQMA:
    return ICQMA(CONFIG.replace(**changes), [0], SPEC).double()


@pytest.mark.parametrize(("weights", "times"), [("released", 1), ("batch", 4)])
def test_q_loss_by_hand(weights, times):
    module = made(weights=weights, td_lambda=None)
    constant(module, q1_target=[5.0], q2_target=[4.0], mixer_target=[2.0, -1.0, -1.0])
    later = 2 * 4 + 1 * 4 - 1  # the smaller Q of both; the same in all four rows, so each has a quarter of the softmax
    y = 3.0 + 0.9 * times * 0.25 * later
    loss = module.q_loss(module.unpack(batch()), torch.full((1, 4), 1.0).double())
    assert loss.item() == pytest.approx((1.0 - y) ** 2, rel=1e-12)


def test_rows_count_less_since_the_last_terminal_one():
    mask = torch.tensor([[1.0, 1, 0, 1, 1, 0]], dtype=torch.float64)
    expected = [0.72**k for k in (0, 1, 0, 1, 2, 0)]
    assert made().decay(mask)[0].tolist() == pytest.approx(expected)  # 0.8 * 0.9
    assert made(td_lambda=None).decay(mask)[0].tolist() == [1.0] * 6


def test_policy_loss_by_hand():
    module = made()
    constant(module, policy=[0.0, 0.0])
    w = torch.full((1, 2, 4), 2.0, dtype=torch.float64)
    q = torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=torch.float64).expand(1, 2, 4)
    d = module.unpack(batch())
    d["action"] = torch.tensor([0.5, 0.5, -0.1, 0.5], dtype=torch.float64).view(1, 1, 4, 1).expand(1, 2, 4, 1)

    def log_pi(a: float) -> float:
        return -0.5 * math.atanh(a) ** 2 - 0.5 * math.log(2 * math.pi) - math.log(1 - a * a)

    e = [math.exp(2 * x / 2.0) for x in (1.0, 1.0, 3.0, 1.0)]  # w Q / T
    expected = -sum(x / sum(e) * log_pi(a) for x, a in zip(e, (0.5, 0.5, -0.1, 0.5), strict=True)) / 4
    assert module.policy_loss(d, w, q).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["transitions", "stored as seen", "features"])
def test_next_actions_are_those_of_the_row_after(kind):
    keys = ("obs", "action", ("next", "obs"), ("next", "action"))
    if kind == "transitions":
        data = OfflineDataModule(flat(), Transitions(STORED_AS_SEEN), keys, [0, 1])
        rows = numbered(STORED_AS_SEEN)
    else:
        spec = FEATURES if kind == "features" else STORED_AS_SEEN
        rows = numbered(spec)
        data = OfflineDataModule(rows, Trajectories(spec, observe), keys, [0, 1])
    chunk = data.to_schema(data.sample(3, 40))
    assert set(chunk.keys(include_nested=True, leaves_only=True)) == set(keys)
    number = rows["features" if kind == "features" else "obs"].flatten(1)[:, 0]
    at = (chunk["next", "obs"][..., 0, 0].unsqueeze(-1) == number).int().argmax(-1)  # rows of the states after
    assert torch.equal(chunk["next", "action"], rows["action"][at])
    assert (chunk["next", "action"][rows["final"].squeeze(-1)[at]] == 0).all()
    alone = OfflineDataModule(rows, data.layout, keys[:3], [0, 1]) if kind != "transitions" else None
    if alone:
        assert "action" not in alone.to_schema(alone.sample(3, 40))["next"]


def test_next_actions_need_episodes():
    made = transitions(20, CONTINUOUS)
    assert (made["next", "action"][made["terminated"].squeeze(-1)] == 0).all()
    bare = made.exclude("step", ("next", "action"))
    with pytest.raises(ReproduceError, match="keys episode and step"):
        Transitions(CONTINUOUS).select(bare, [("next", "action")])
    first = made.exclude(("next", "action"))
    Transitions(CONTINUOUS).select(first, [("next", "action")])
    assert "action" not in first["next"]
