"""A seed that diverges never takes the others with it: in training, in evaluation, in records and their readers."""

import dataclasses
import json
import math

import pytest
import torch
from smoke.test_rows import shrink

from data import synthetic
from data.catalog import registry
from data.common.errors import ReproduceError
from reproduce import published, records, standing
from reproduce.cli import main
from reproduce.config import compose
from reproduce.experiment.callback import RunCallback
from reproduce.experiment.run import run_row
from reproduce.experiment.scoring import mode_scores
from reproduce.records.schema import check_record
from reproduce.regression.cases import make_module, variants
from reproduce.regression.cases import train as plain_train
from reproduce.report import write_report
from reproduce.standing.rejudge import _own_clones

TINY = ["protocol.eval_episodes=2", "protocol.n_seeds=2", "run.chunk_size=5", "protocol.eval_every=5"]
MUJOCO = "task.params.episode_limit=100"
OMSD = ["algo.n_critic_updates=5", "algo.n_score_updates=5", "algo.score_hidden=8", "algo.batch_size=8"]
ROWS = {
    "inspo": ("inspo/xor/ab_ba", ["algo.n_behavior_updates=5", "algo.n_updates=10"]),
    "bc": ("inspo/xor/ab_ba", ["algo=bc", "algo.n_updates=10"]),
    "omsd": ("omsd/bandit/two_mode", [*OMSD, "algo.n_updates=10"]),
    "omiga": ("omiga/mujoco/hopper_expert", [MUJOCO, "algo.n_updates=10"]),
    "gaussian_bc": ("omiga/mujoco/hopper_expert", [MUJOCO, "algo=gaussian_bc", "algo.n_updates=10"]),
}


@pytest.fixture(autouse=True)
def _tiny_data(monkeypatch):
    entries = shrink(registry.entries())
    monkeypatch.setattr(registry, "_parsed", lambda: entries)


@pytest.fixture
def no_minimum(monkeypatch):
    """No row has a minimum score."""
    original = published.row

    def row(name):
        found = original(name)
        return dataclasses.replace(found, bound=dataclasses.replace(found.bound, minimum_score=None))

    monkeypatch.setattr(published, "row", row)


def diverge_at(update: int, seeds: list[int], monkeypatch) -> None:
    """The parameters of these seeds, by their places, are NaN from the first chunk's end at or after `update`."""
    original = RunCallback.on_train_batch_end

    def poisoned(self, trainer, module, *args):
        if module.n_updates >= update:
            for seed in seeds:
                break_seed(module, seed)
        original(self, trainer, module, *args)

    monkeypatch.setattr(RunCallback, "on_train_batch_end", poisoned)


def break_seed(module, seed: int) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            if len(parameter) == len(module.seeds):
                parameter[seed] = math.nan


@pytest.mark.parametrize("variant", list(variants()))
def test_the_other_seed_computes_what_it_computes_beside_a_healthy_one(variant, monkeypatch):
    def trained(broken: bool):
        module = make_module(variant, [3, 4], chunk_size=5)
        monkeypatch.setattr(type(module), "trainer", property(lambda self: None), raising=False)
        step = type(module).training_step

        def poisoned(self, chunk, index):
            step(self, chunk, index)
            if broken and self.n_updates == 5:
                break_seed(self, 1)

        with monkeypatch.context() as patch:
            patch.setattr(type(module), "training_step", poisoned)
            plain_train(module, synthetic.transitions(200, module.spec, module.dtype))
        return module

    one, other = trained(True), trained(False)
    assert set(one.crashed) <= {4}
    assert set(one.broken_weights()) == {4}
    assert not other.crashed
    mine = dict(one.named_parameters())
    for name, value in other.named_parameters():
        if len(value) == 2:
            assert torch.equal(mine[name][0], value[0]), name


@pytest.mark.parametrize("name", list(ROWS))
def test_a_seed_without_a_minimum_score_is_recorded_and_gets_no_verdict(name, monkeypatch, no_minimum, tmp_path):
    row, settings = ROWS[name]
    healthy = run_row(compose(row, [*settings, *TINY]), write=False)
    diverge_at(5, [1], monkeypatch)
    record = run_row(compose(row, [*settings, *TINY]))
    assert [crash["seed"] for crash in record["crashed"]] == [1]
    assert record["scores"]["per_seed"] == [healthy["scores"]["per_seed"][0], None]
    assert record["evaluation"]["greedy"] == [healthy["evaluation"]["greedy"][0], None]
    curve, whole = record["curve"]["greedy"], healthy["curve"]["greedy"]
    assert [point[0] for point in curve] == [point[0] for point in whole]
    assert curve[-1][1] is None
    assert record["verdict"]["state"] == "NOT COMPARABLE"
    assert any("seed 1 diverged" in reason for reason in record["verdict"]["reasons"])
    assert record["verdict"]["mean"] == record["scores"]["per_seed"][0]
    (read,) = records.read(row)
    assert read["scores"] == record["scores"]
    with pytest.raises(ReproduceError, match="seed 1 diverged"):
        mode_scores(record)
    assert standing.standings([row])[row].others or standing.standings([row])[row].readings
    assert main(["check", row]) == 3
    assert main(["list", row]) == 0
    assert write_report(tmp_path, row)


def test_a_known_minimum_counts_and_the_evaluation_is_left_out(monkeypatch):
    row, settings = ROWS["inspo"]
    diverge_at(5, [1], monkeypatch)
    record = run_row(compose(row, [*settings, *TINY]))
    minimum = published.row(row).bound.minimum_score
    assert record["scores"]["per_seed"][1] == minimum
    assert record["evaluation"]["sampled"][1] is None
    assert record["behavior_cloning"] is None
    assert [scores[1] for scores in mode_scores(record).values()] == [minimum, minimum]


@pytest.mark.parametrize("n_updates", [0, 1])
def test_what_the_policies_score_before_they_move_is_cloning_where_they_were_cloned(n_updates):
    row, settings = ROWS["inspo"]
    record = run_row(compose(row, [*settings, *TINY, f"algo.n_behavior_updates={n_updates}"]), write=False)
    assert (record["behavior_cloning"] is not None) is (n_updates > 0)
    assert _own_clones(record) == record["behavior_cloning"]  # of a record that does not say it apart


def test_all_seeds_diverged(monkeypatch, no_minimum, capsys):
    row, settings = ROWS["inspo"]
    diverge_at(5, [0, 1], monkeypatch)
    assert main([row, *settings, *TINY]) == 4
    assert "diverged in every seed" in capsys.readouterr().err
    (record,) = records.read(row)
    assert record["scores"]["per_seed"] == [None, None]
    assert main(["check", row]) == 3


def test_a_missing_score_belongs_to_a_crashed_seed(monkeypatch, no_minimum):
    row, settings = ROWS["inspo"]
    diverge_at(5, [1], monkeypatch)
    record = run_row(compose(row, [*settings, *TINY]))
    record.pop("file")
    (kept,) = records.read(row)
    kept.pop("file")
    for broken in (
        kept | {"crashed": []},
        kept | {"scores": kept["scores"] | {"per_seed": [None, None]}},
        kept | {"evaluation": kept["evaluation"] | {"greedy": [None, None], "sampled": [None, None]}},
    ):
        with pytest.raises(ReproduceError):
            check_record(broken, "it")
    json.dumps(record, allow_nan=False)


def test_the_last_update_may_break_the_weights_alone(monkeypatch):
    """No diagnostic shows it: the seed still counts as diverged."""
    row, settings = ROWS["inspo"]
    diverge_at(15, [1], monkeypatch)
    record = run_row(compose(row, [*settings, *TINY]))
    assert [(c["seed"], c["n_updates"]) for c in record["crashed"]] == [(1, 15)]
    assert record["crashed"][0]["quantity"].startswith("weights")
    assert record["evaluation"]["greedy"][1] is None


@pytest.mark.parametrize("setting", ["algo.lr=inf", "algo.gamma=nan", "algo.policy_lr=nan", "algo.max_grad_norm=inf"])
def test_settings_that_make_it_inevitable_are_refused(setting):
    with pytest.raises(ReproduceError, match=setting.split("=")[0]):
        compose("inspo/xor/ab_ba", [setting])
