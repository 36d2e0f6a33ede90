"""Learners of whole episodes: nothing beyond an episode's end reaches them; TD(lambda); memory in evaluation."""

from typing import Any

import pytest
import torch

from data import synthetic
from data.synthetic import DISCRETE
from lit_modules.common.recurrent import Recurrent, masked_mean, td_lambda
from lit_modules.common.schedule import Chunk
from reproduce.cli import main
from reproduce.regression.cases import make_module, minibatches, variants

RECURRENT = [name for name in variants() if isinstance(make_module(name, [0]), Recurrent)]


def poisoned(batch):
    """Garbage in every step beyond its episode's end: NaN, other actions, everything legal, an end."""
    batch, beyond = batch.clone(), ~batch["mask"].squeeze(-1)
    assert beyond.any()
    for key in batch.keys(include_nested=True, leaves_only=True):
        if key not in ("mask", "is_init"):
            value = batch[key].clone()
            value[beyond] = float("nan") if value.is_floating_point() else 1
            batch[key] = value
    return batch


@pytest.mark.parametrize("name", RECURRENT)
def test_what_lies_beyond_an_end_reaches_nothing(name):
    results = []
    for spoil in (False, True):
        module, losses, start = make_module(name, [0, 1]), [], 0
        module.configure_optimizers()
        for phase in module.phases():
            noise = module.draw(Chunk(phase.name, start, 3, phase.batch_size))
            for k, batch in enumerate(minibatches(module, phase, 3, 2)):
                batch = poisoned(batch) if spoil else batch
                update = getattr(module, f"update_{phase.name}")
                losses += update(batch, {key: value[k] for key, value in noise.items()}).values()
            start += phase.n_updates
        results.append([torch.stack(losses), *module.state_dict().values()])
    assert results[0][0].isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_returns_by_hand():
    d = {
        "mask": torch.tensor([[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]),
        "ended": torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]),
        "reward": torch.tensor([[[1.0, 2.0, 0.0], [1.0, 2.0, 3.0]]]),
    }
    value = torch.tensor([[[9.0, 4.0, 8.0, 7.0], [9.0, 4.0, 8.0, 7.0]]])
    g = td_lambda(value, d, 0.5, 0.5)[0]
    assert g[0].tolist() == pytest.approx([1 + 0.25 * 4 + 0.25 * 2, 2, 0])  # terminated after two steps
    last = 3 + 0.25 * 7 + 0.25 * 7  # a time limit: the value of the row after it
    second = 2 + 0.25 * 8 + 0.25 * last
    assert g[1].tolist() == pytest.approx([1 + 0.25 * 4 + 0.25 * second, second, last])
    assert masked_mean(d["reward"], d["mask"]).tolist() == pytest.approx([9 / 5])


@pytest.mark.parametrize("name", RECURRENT)
def test_acting_step_by_step_is_the_episode_as_training_reads_it(name):
    module = make_module(name, [0, 1])
    episode = synthetic.transitions(200, DISCRETE)
    g = torch.Generator().manual_seed(0)
    obs = torch.rand(2, 5, 4, 3, 4, generator=g, dtype=torch.float64)  # (S, E, T, N, O)
    legal = torch.rand(2, 5, 4, 3, 3, generator=g) < 0.6
    legal[..., 2] = True
    actions, carry = [], module.initial_carry(2, 5)
    for t in range(4):
        action, carry = module.act(obs[:, :, t], legal[:, :, t], None, carry)
        assert legal[:, :, t].gather(-1, action.unsqueeze(-1)).all()
        actions.append(action)
    action = torch.stack(actions, 2)
    nothing = torch.zeros(2, 5, 4, 1, dtype=torch.float64)
    ends = {"terminated": nothing > 0, "mask": nothing == 0, "reward": nothing}
    seen = {"obs": obs, "legal_actions": legal, "state": torch.zeros(2, 5, 4, 4, dtype=torch.float64), "action": action}
    later = {key: value.roll(-1, 2) for key, value in seen.items()}
    d: Any = module.unpack(type(episode)({**seen, **ends, "next": later}, [2, 5, 4]))
    out = module.per_agent(module.agent, d["seen"])[:, :, :-1].masked_fill(~legal, -torch.inf)
    assert torch.equal(out.argmax(-1), action)


def test_chunks_stay_small(monkeypatch):
    row = 8 * (3 * 4 + 4) + 2 * 3 * 3  # bytes of a step: obs and state now and next, legal actions too
    monkeypatch.setattr(Recurrent, "CHUNK_BYTES", 7 * 6 * DISCRETE.episode_limit * row)
    module = make_module("cfcql_discrete", [0], chunk_size=10)
    assert {chunk.n_updates for chunk in module.plan} == {7, 6, 2}  # 20 and 30 updates of 6 episodes


def test_longer_episodes_than_the_worlds_are_refused_not_cut_into_windows(capsys):
    assert main(["inspo/bridge/mix", "algo=bc_recurrent", "algo.n_updates=2", "protocol.n_seeds=1"]) == 4
    assert "holds an episode of 50 steps, and the world ends them after 20: algo=bc_rec" in capsys.readouterr().err
