"""A checkpoint is used as it was written, by the run that wrote it, or not at all; what a repeated command finds."""

import csv
import json
import math
import os
import signal
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.common.errors import ReproduceError
from data.common.paths import outputs_dir, records_dir
from reproduce import published, records
from reproduce.cli import main
from reproduce.config import compose
from reproduce.experiment.before import before_training
from reproduce.experiment.build import build
from reproduce.experiment.callback import RunCallback
from reproduce.experiment.checkpoint import AtomicCheckpointIO, checksum
from reproduce.experiment.run import run_row

ROW = "inspo/xor/ab_ba"
TINY = ["algo.n_behavior_updates=5", "algo.n_updates=20", "protocol.eval_episodes=2", "protocol.n_seeds=2"]
TINY += ["run.chunk_size=5", "protocol.eval_every=5", "run.checkpoint_every_s=0"]
N_UPDATES = 25


class Killed(BaseException):
    """As if the process were killed here."""


@pytest.fixture
def killed(monkeypatch):
    """killed(update, *overrides): a run that ends after the checkpoint of this update; its checkpoint."""

    def run(update: int, *overrides: str, row: str = ROW):
        original = RunCallback.on_train_batch_end

        def until(self, trainer, module, *args):
            original(self, trainer, module, *args)
            if module.n_updates >= update:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(RunCallback, "on_train_batch_end", until)
            with pytest.raises(Killed):
                run_row(compose(row, [*TINY, *overrides]))
        (path,) = (outputs_dir() / "runs" / row).rglob("last.ckpt")
        return path

    return run


def changed(change):
    """A damage: the content of the file is loaded, changed and written again by somebody who knows torch."""

    def damage(path):
        found = torch.load(path, weights_only=True)
        change(found)
        torch.save(found, path)

    return damage


def forged(change):
    """The same by somebody who knows the checksum too."""

    def damage(path):
        found = AtomicCheckpointIO().load_checkpoint(path)
        change(found)
        AtomicCheckpointIO().save_checkpoint(found, path)

    return damage


def _flip(path):
    """One byte of a weight."""
    found, whole = torch.load(path, weights_only=True), bytearray(path.read_bytes())
    weights = next(iter(found["state_dict"].values())).numpy().tobytes()
    whole[whole.index(weights[:64])] ^= 1
    path.write_bytes(bytes(whole))


def _zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other/data.pkl", b"of another program")


def _weights(found, change):
    for name, value in found["state_dict"].items():
        found["state_dict"][name] = change(value)


def _streams(found, change):
    found["seed_module"]["noise_streams"] = change(found["seed_module"]["noise_streams"])


CHANGES = {
    "other keys": lambda f: f["state_dict"].update(more=torch.zeros(1)),
    "keys gone": lambda f: f["state_dict"].pop(next(iter(f["state_dict"]))),
    "other shapes": lambda f: _weights(f, lambda v: v.flatten()[:1]),
    "other dtypes": lambda f: _weights(f, lambda v: v.double()),
    "another row's": lambda f: f["run"].update(identity="inspo/xor/ab/0123456789ab"),
    "counter beyond": lambda f: f["seed_module"].update(n_updates=10**9),
    "counter within a chunk": lambda f: f["seed_module"].update(n_updates=12),
    "counter negative": lambda f: f["seed_module"].update(n_updates=-5),
    "counter a word": lambda f: f["seed_module"].update(n_updates="ten"),
    "generators gone": lambda f: _streams(f, lambda s: s[:1]),
    "generators cut": lambda f: _streams(f, lambda s: [x[:7] for x in s]),
    "generators of another kind": lambda f: _streams(f, lambda s: [x.float() for x in s]),
    "generators zero": lambda f: _streams(f, lambda s: [x * 0 for x in s]),
    "NaN weights": lambda f: _weights(f, lambda v: v * float("nan")),
    "no optimizer": lambda f: f.pop("optimizer_states"),
    "no module": lambda f: f.pop("seed_module"),
    "no run": lambda f: f.pop("run"),
}
DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a byte": lambda path: _flip(path),
    "zip of another program": _zip,
    "text": lambda path: path.write_text("nothing"),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "a list": lambda path: torch.save([1], path),
}
DAMAGES |= {name: changed(change) for name, change in CHANGES.items()}
# These would be trained on or evaluated without a word, were there no checks beside the checksum.
DAMAGES |= {f"forged: {name}": forged(change) for name, change in CHANGES.items()}
LEFT_FINISHED = ("no optimizer",)  # a finished run needs none


@pytest.mark.slow
@pytest.mark.parametrize("update", [10, N_UPDATES])
def test_a_damaged_or_foreign_checkpoint_is_an_error_that_names_it(update, killed, capsys):
    path = killed(update)
    whole = path.read_bytes()
    for name, damage in DAMAGES.items():
        if update == N_UPDATES and name.removeprefix("forged: ") in LEFT_FINISHED and name.startswith("forged"):
            continue
        path.write_bytes(whole)
        damage(path)
        capsys.readouterr()
        assert main([ROW, *TINY]) == 4, name
        err = capsys.readouterr().err
        assert str(path) in err.splitlines()[-1], (name, err)
        assert "delete it to train anew" in err, name
        assert "Traceback" not in err
        assert not records.read(ROW)
    path.write_bytes(whole)
    assert main([ROW, *TINY]) == 3


def test_a_checksum_survives_saving(tmp_path):
    content = {"a": torch.arange(3), 1: [1.5, (None, "x", True)], "b": {"c": torch.ones(2, 2).bfloat16()}}
    content["d"] = torch.zeros(0)
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "it")
    assert checksum(AtomicCheckpointIO().load_checkpoint(tmp_path / "it")) == checksum(content)


def test_another_rows_checkpoint_is_refused(killed, capsys):
    path = killed(10, row="inspo/xor/ab")
    experiment = build(compose(ROW, TINY))
    experiment.folder.mkdir(parents=True)
    experiment.checkpoint.write_bytes(path.read_bytes())
    assert main([ROW, *TINY]) == 4
    assert "it is of inspo/xor/ab/" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_killed_after_its_record_is_not_recorded_again(monkeypatch, capsys):
    def discard(_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("reproduce.experiment.build.Experiment.discard_checkpoint", discard)
        with pytest.raises(Killed):
            run_row(compose(ROW, TINY))
    (first,) = records.read(ROW)
    assert main([ROW, *TINY, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["file"] == first["file"]
    assert len(records.read(ROW)) == 1
    assert not list(outputs_dir().rglob("last.ckpt"))
    assert main([ROW, *TINY]) == 3  # asked again, it is another run
    assert len({record["run"]["id"] for record in records.read(ROW)}) == 2


def diverged_in_all(*overrides: str) -> dict:
    """The record of a run whose seeds all diverge."""
    with pytest.raises(ReproduceError, match="diverged in every seed"):
        run_row(compose(ROW, [*TINY, "algo.lr=1e38", *overrides]))
    (path,) = records_dir().rglob("*.json")
    record = json.loads(path.read_text())
    path.unlink()
    return record


def test_a_run_whose_seeds_all_diverged_goes_on_where_it_ended(monkeypatch):
    """Killed between its last checkpoint and its record, it trains no further and says the same of its seeds."""
    whole = diverged_in_all()
    assert len(whole["crashed"]) == 2
    assert whole["n_updates"] < N_UPDATES

    def stop(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("reproduce.experiment.run.score", stop)
        with pytest.raises(Killed):
            run_row(compose(ROW, [*TINY, "algo.lr=1e38"]))
    again = diverged_in_all()
    for key in ("n_updates", "crashed", "curve", "diagnostics"):
        assert again[key] == whole[key], key


def test_a_seed_that_diverged_before_a_kill_is_told_as_without_it(killed, monkeypatch):
    original = RunCallback.on_train_batch_end

    def poisoned(self, trainer, module, *args):
        if module.n_updates == 5:
            module.policy.theta.data[1] = math.nan
        original(self, trainer, module, *args)

    monkeypatch.setattr(RunCallback, "on_train_batch_end", poisoned)
    whole = run_row(compose(ROW, TINY), write=False)
    assert [crash["seed"] for crash in whole["crashed"]] == [1]
    killed(15)
    assert run_row(compose(ROW, TINY), write=False)["crashed"] == whole["crashed"]


@pytest.mark.slow
def test_a_run_resumed_on_another_cpu_capability_says_so(killed, monkeypatch):
    killed(10)
    monkeypatch.setattr("reproduce.experiment.callback.cpu_capability", lambda: "ABACUS")
    record = run_row(compose(ROW, TINY))
    (first, here), (update, there) = record["run"]["cpu_capabilities"]
    assert (first, update, there) == (0, 10, "ABACUS")
    assert record["provenance"]["machine"]["cpu_capability"] == here == torch.backends.cpu.get_cpu_capability()
    assert any("another CPU capability" in note and "ABACUS from update 10" in note for note in record["notes"])


def test_metrics_of_a_resumed_run_do_not_overlap(killed, monkeypatch):
    path = killed(15)
    metrics = path.parent / "metrics_from_0" / "metrics.csv"
    lines = metrics.read_text().splitlines()
    last, column = lines[-1].split(","), lines[0].split(",").index("n_updates")
    of = {update: ",".join([*last[:column], update, *last[column + 1 :]]) for update in ("15.0", "20.0", "25.0")}
    metrics.write_text("\n".join([*lines, *of.values(), "0.1,"]))
    stale = path.parent / "metrics_from_20"
    stale.mkdir()
    (stale / "metrics.csv").write_text(f"{lines[0]}\n{of['25.0']}\n")
    run_row(compose(ROW, TINY))
    seen = []
    for file in sorted(path.parent.glob("metrics_from_*/metrics.csv")):
        with open(file, newline="") as opened:
            seen.append((file.parent.name, [float(line["n_updates"]) for line in csv.DictReader(opened)]))
    assert seen == [("metrics_from_0", [5.0, 10.0, 15.0]), ("metrics_from_15", [20.0, 25.0])]


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [2, 15])
def test_a_signal_in_training_leaves_a_checkpoint_and_the_same_bits(signal_number, monkeypatch, capsys):
    whole = run_row(compose(ROW, TINY), write=False)
    original = RunCallback.on_train_batch_end

    def interrupted(self, trainer, module, *args):
        original(self, trainer, module, *args)
        if module.n_updates == 15:
            os.kill(os.getpid(), signal_number)

    with monkeypatch.context() as patch:
        patch.setattr(RunCallback, "on_train_batch_end", interrupted)
        assert main([ROW, *TINY]) == 128 + signal_number
    err = capsys.readouterr().err
    assert f"stopped; the same command continues: {ROW} from update 15" in err
    assert not records.read(ROW)
    assert main([ROW, *TINY]) == 3
    (record,) = records.read(ROW)
    for key in ("weights_sha256", "curve", "diagnostics", "evaluation", "scores"):
        assert record[key] == whole[key]


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "run", "SLURM_PROCID": "1", "SLURM_NODEID": "1"},
        {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "1"},
        {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "none", "JSM_NAMESPACE_LOCAL_RANK": "1", "JSM_NAMESPACE_SIZE": "2"},
        {"PL_TRAINER_MAX_STEPS": "1", "PL_TRAINER_FAST_DEV_RUN": "1", "PL_TRAINER_PRECISION": "16"},
    ],
    ids=["slurm", "torchrun", "lsf", "defaults"],
)
def test_no_cluster_changes_what_is_trained_or_where(environment, monkeypatch, tmp_path):
    whole = run_row(compose(ROW, TINY), write=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"of another run")
    before, seen = signal.getsignal(signal.SIGUSR1), []
    original = RunCallback.on_train_start

    def start(self, trainer, module):
        seen.append(signal.getsignal(signal.SIGUSR1))
        original(self, trainer, module)

    monkeypatch.setattr(RunCallback, "on_train_start", start)
    record = run_row(compose(ROW, TINY))
    assert record["weights_sha256"] == whole["weights_sha256"]
    assert seen == [before]
    assert [path.name for path in tmp_path.iterdir()] == ["hpc_ckpt_1.ckpt"]
    assert list(outputs_dir().rglob("metrics.csv"))


OMSD = ["algo.n_critic_updates=6", "algo.n_score_updates=6", "algo.score_hidden=8", "algo.batch_size=8"]
OMSD += ["algo.n_updates=12", "protocol.eval_episodes=2", "protocol.n_seeds=2", "run.chunk_size=4"]
OMSD += ["protocol.eval_every=5"]


def test_a_kept_stage_gives_the_curve_of_one_that_was_trained():
    settings = compose("omsd/bandit/two_mode", OMSD)
    first, second = run_row(settings, write=False), run_row(settings, write=False)
    assert not any(stage["reused"] for stage in first["stage1"].values())
    assert all(stage["reused"] for stage in second["stage1"].values())
    assert first["curve"]["n_updates"][0] == 12
    assert second["curve"] == first["curve"]


def test_what_dead_processes_left_is_swept_when_a_run_starts(tmp_path):
    experiment = build(compose(ROW, TINY))
    experiment.folder.mkdir(parents=True)
    left = [
        experiment.folder / ".last.ckpt.12.partial",
        outputs_dir() / "stage1" / f".x.safetensors.{2**22 + 5}.partial",
        records_dir() / ROW / f".x.{2**22 + 5}.new",
    ]
    other = outputs_dir() / "runs" / ".kept.partial"
    for path in (*left, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (1e9, 1e9))
    run_row(compose(ROW, TINY))
    assert not any(path.exists() for path in left)
    assert other.exists()


@pytest.mark.parametrize(
    ("bound", "seeds", "words"),
    [
        ({"delta": None}, 5, "can never be REPRODUCED: the margin (delta) is unknown"),
        ({"minimum_score": None}, 5, "if a seed diverges there is no verdict"),
        ({"mean": None, "optimum": None}, 5, "can never be REPRODUCED: the paper's number is unknown"),
        ({"mean": 1.0, "std": 0.0, "n": 5, "decimals": 0, "delta": 0.1}, 5, "can never be REPRODUCED: "),
        ({}, 2, "a verdict needs 5 seeds, this run has 2"),
    ],
)
def test_what_is_known_before_the_first_update_is_said_before_it(bound, seeds, words, monkeypatch, capsys):
    row = published.row(ROW)
    monkeypatch.setattr(published, "row", lambda _: replace(row, bound=replace(row.bound, **bound)))
    experiment = build(compose(ROW, [f"protocol.n_seeds={seeds}"]))
    said = before_training(experiment, write=False)
    assert any(words in line for line in said), said
    monkeypatch.setattr("reproduce.experiment.run.train", lambda _: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        run_row(compose(ROW, [f"protocol.n_seeds={seeds}"]))
    assert words in capsys.readouterr().err


def test_a_row_that_can_be_judged_is_told_nothing():
    assert before_training(build(compose(ROW))) == []


def test_a_records_folder_that_cannot_be_written_is_told_before_training(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRODUCE_RECORDS", str(tmp_path / "file"))
    monkeypatch.setattr("reproduce.experiment.run.train", lambda _: pytest.fail("it was trained"))
    with pytest.raises(ReproduceError, match="records cannot be written to"):
        run_row(compose(ROW, TINY))


def test_a_broken_record_of_the_row_is_named_before_training(monkeypatch, capsys):
    run_row(compose(ROW, TINY))
    file = Path(records.read(ROW)[0]["file"])
    file.write_text("{")
    monkeypatch.setattr("reproduce.experiment.run.train", lambda _: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        run_row(compose(ROW, TINY))
    assert str(file) in capsys.readouterr().err
