"""A command of several runs that was stopped trains none of those again that had ended, and records each once."""

import json

import pytest
from test_checkpoints import N_UPDATES, ROW, TINY, Killed, forged, killed  # noqa: F401

from data.common.paths import outputs_dir
from reproduce import records
from reproduce.claims import run as claims
from reproduce.claims.schema import Claim
from reproduce.cli import main
from reproduce.config import compose
from reproduce.core import ending
from reproduce.experiment.callback import RunCallback
from reproduce.experiment.run import run_row
from reproduce.regression import gate

CHECK = {"text": "t", "mode": "greedy", "left": "ab", "right": "all", "at_least": -9.0}
SMALL = ["algo.n_behavior_updates=5", "algo.n_updates=10", "algo.n_candidates=8", "algo.batch_size=4"]
SMALL += ["protocol.eval_episodes=2", "run.chunk_size=5", "protocol.eval_every=10", "run.checkpoint_every_s=0"]
TWO = [*SMALL, "protocol.n_seeds=2"]
CLAIM = "claims/inspo/entropy_escapes"


@pytest.fixture
def trained(monkeypatch):
    """Updates at which a chunk ended, by row; `trained["stop"] = (row, update)` stops the command there."""
    seen: dict = {"chunks": [], "stop": None}
    original = RunCallback.on_train_batch_end

    def end(self, trainer, module, *args):
        original(self, trainer, module, *args)
        seen["chunks"].append(name := (self.row, module.seeds[0]))
        if seen["stop"] == (*name, module.n_updates):
            raise Killed

    monkeypatch.setattr(RunCallback, "on_train_batch_end", end)
    return seen


def stopped(trained, at, command) -> None:
    trained["stop"] = at
    with pytest.raises(Killed):
        command()
    trained["stop"] = None
    trained["chunks"].clear()


def checkpoints() -> list:
    return list(outputs_dir().rglob("last.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [[], ["--sweep", "algo.alpha=0.05,0.1"]])
def test_rows_of_a_glob_and_points_of_a_grid(sweep, trained, capsys):
    command = ["inspo/xor/ab*", *TWO, *sweep]
    stopped(trained, ("inspo/xor/ab_ba", 0, 10), lambda: main(command))
    first = records.read("inspo/xor/ab")
    assert len(first) == max(len(sweep), 1)
    assert main(command) == 3
    assert {row for row, _ in trained["chunks"]} == {"inspo/xor/ab_ba"}
    assert records.read("inspo/xor/ab") == first
    assert "this run is recorded already" in capsys.readouterr().err
    assert not checkpoints()


@pytest.fixture
def claim(monkeypatch):
    """A claim of two small arms."""
    arms = {name: {"row": f"inspo/xor/{name}", "overrides": TWO} for name in ("ab", "all")}
    made = {"text": "it holds", "arms": arms, "checks": [CHECK]}
    monkeypatch.setattr(claims, "load_claim", lambda _: (Claim.model_validate(made), made))


@pytest.mark.slow
def test_arms_of_a_claim(claim, trained, monkeypatch):
    whole = claims.run_claim(CLAIM, write=False)
    stopped(trained, ("inspo/xor/all", 0, 10), lambda: main([CLAIM]))
    with monkeypatch.context() as patch:  # and once more, between the record and the end
        patch.setattr(ending, "_finished", [])
        again = claims.run_claim(CLAIM)
    assert {row for row, _ in trained["chunks"]} == {"inspo/xor/all"}
    for arm in ("ab", "all"):
        assert again["arms"][arm]["scores"] == whole["arms"][arm]["scores"]
    trained["chunks"].clear()
    assert main([CLAIM]) == 0
    assert not trained["chunks"]
    assert [record["file"] for record in records.read(CLAIM)] == [again["file"]]
    assert not checkpoints()
    assert main([CLAIM]) == 0
    assert len(records.read(CLAIM)) == 2


@pytest.mark.slow
def test_batches_of_the_gate_and_references(trained, monkeypatch):
    monkeypatch.setattr(gate, "REFERENCE_SEEDS", 3)
    monkeypatch.setattr(gate, "BATCHES", ((10, 2), (20, 2)))
    command = ["record", "inspo/xor/ab*", *SMALL]
    stopped(trained, ("inspo/xor/ab_ba", 0, 10), lambda: main(command))
    assert main(command) == 0
    assert {row for row, _ in trained["chunks"]} == {"inspo/xor/ab_ba"}
    assert len(records.read("inspo/xor/ab", "reference")) == 1
    assert not checkpoints()
    monkeypatch.setattr("reproduce.judge.gate", lambda *_: (False, 0.0))  # both batches of both rows run
    stopped(trained, ("inspo/xor/ab_ba", 20, 10), lambda: main(["gate", "inspo/xor/ab*"]))
    assert main(["gate", "inspo/xor/ab*"]) == 1
    assert set(trained["chunks"]) == {("inspo/xor/ab_ba", 20)}
    assert not checkpoints()


def test_a_claim_whose_arm_diverged_whole_says_so_each_time(claim, monkeypatch, capsys):
    arm = {"row": "inspo/xor/ab", "overrides": [*TWO, "algo.lr=1e38"]}
    made = {"text": "it holds", "arms": {"a": arm}, "checks": [{**CHECK, "left": "a", "right": 0.0}]}
    monkeypatch.setattr(claims, "load_claim", lambda _: (Claim.model_validate(made), made))
    for _ in range(2):
        assert main([CLAIM]) == 4
        assert "diverged in every seed" in capsys.readouterr().err
    assert not records.read(CLAIM)


@pytest.mark.slow
def test_a_resumed_run_states_the_seconds_of_all_its_processes(killed):  # noqa: F811
    for update in (10, N_UPDATES):
        path = killed(update)
        forged(lambda found: found["run"].update(wall_s=1000.0))(path)
        record = run_row(compose(ROW, TINY))
        assert 1000 < record["time"]["wall_s"] < 1100
    path = killed(10)
    forged(lambda found: found["run"].pop("wall_s"))(path)  # of an earlier version
    assert run_row(compose(ROW, TINY))["time"]["wall_s"] < 100
    assert json.loads(json.dumps(record["time"])) == record["time"]
