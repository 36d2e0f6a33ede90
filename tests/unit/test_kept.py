"""Stage 1 is trained once for all runs that agree in what decides it, and no result depends on whether it was."""

import shutil
from contextlib import suppress

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from data.catalog import registry
from data.common.errors import ReproduceError
from data.common.paths import ROOT, outputs_dir
from lit_modules.common.schedule import Phase, make_plan
from lit_modules.omsd import OMSD
from reproduce.cli import main
from reproduce.config import compose
from reproduce.experiment import phase_cache
from reproduce.experiment.identity import run_folder
from reproduce.experiment.run import run_row

TINY = ["algo.n_critic_updates=6", "algo.n_score_updates=5", "algo.n_updates=4", "algo.batch_size=8", "algo.hidden=[8]"]
TINY += ["algo.score_hidden=8", "protocol.n_seeds=3", "run.chunk_size=3", "run.threads=1", "algo.dropout=0.1"]


@pytest.fixture(autouse=True)
def _small_data(monkeypatch):
    entries = registry.entries()
    for name in ("bandit/two_mode", "bandit/three_agents"):
        entries[name]["acceptance"] = {}
        entries[name]["generator"]["params"]["rows"] = 400
    monkeypatch.setattr(registry, "_parsed", lambda: entries)


def run(*overrides: str) -> dict:
    return run_row(compose("omsd/bandit/two_mode", [*TINY, *overrides]), write=False)


def reused(record: dict) -> dict[str, bool]:
    return {name: fact["reused"] for name, fact in record["stage1"].items()}


@pytest.fixture
def updated(monkeypatch):
    """Names of the updates made, in their order."""
    seen = []
    for name in ("critic", "score", "actor"):
        own = getattr(OMSD, f"update_{name}")
        monkeypatch.setattr(
            OMSD, f"update_{name}", lambda self, b, n, own=own, name=name: seen.append(name) or own(self, b, n)
        )
    return seen


@pytest.mark.parametrize("shared", [False, True])
def test_another_beta_trains_stage_2_alone_and_scores_as_if_all_had_been_trained(shared, updated):
    run("algo.beta=0.5", f"algo.share_stage1={shared}")
    assert updated == ["critic"] * 6 + ["score"] * 5 + ["actor"] * 4
    updated.clear()
    quick = run("algo.beta=0.7", f"algo.share_stage1={shared}")
    assert updated == ["actor"] * 4
    assert reused(quick) == {"critic": True, "score": True}
    assert {fact["shared_by_seeds"] for fact in quick["stage1"].values()} == {shared}
    for path in (outputs_dir() / "stage1").iterdir():
        path.unlink()
    whole = run("algo.beta=0.7", f"algo.share_stage1={shared}")
    assert reused(whole) == {"critic": False, "score": False}
    assert whole["n_updates"] == quick["n_updates"] == 15
    assert whole["evaluation"] == quick["evaluation"]
    assert whole["weights_sha256"] == quick["weights_sha256"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("algo.lr_end=0.5", []),
        ("algo.expectile=0.8", ["critic"]),
        ("algo.order=[1,0]", ["score"]),
        ("algo.method=ctde", ["score"]),
        ("algo.method=jal", ["score"]),
        ("algo.method=ind", ["critic", "score"]),
        ("protocol.time_limits=bootstrap", ["critic"]),
        ("protocol.first_seed=1", ["critic", "score"]),
        ("data.id=bandit/three_agents task.params.n_agents=3", ["critic", "score"]),
    ],
)
def test_what_a_setting_decides_is_trained_again(change, again):
    run()
    record = run(*change.split())
    assert [name for name, was in reused(record).items() if not was] == again


def test_marginal_scores_serve_both_ablations():
    run("algo.method=ctde")
    assert reused(run("algo.method=ind")) == {"critic": False, "score": True}


def test_sharing_trains_the_first_seed_alone_and_says_so():
    own, shared = run(), run("algo.share_stage1=true")
    files = {p.name: load_file(p) for p in (outputs_dir() / "stage1").iterdir()}
    for record, n in ((own, 3), (shared, 1)):
        assert len(files[record["stage1"]["critic"]["kept_as"]]["q1.theta"]) == n
    first, alone = (files[r["stage1"]["score"]["kept_as"]]["score.theta"] for r in (own, shared))
    torch.testing.assert_close(first[:1], alone)
    assert own["notes"] == []
    assert shared["notes"] == ["all seeds share the critic and the score that seed 0 trained: the spread is stage 2's"]


def test_a_folder_that_is_named_must_hold_stage_1_of_that_order(tmp_path, capsys):
    run("algo.order=[0,1]")
    folder = (outputs_dir() / "stage1").rename(tmp_path / "mine")
    assert reused(run(f"run.stage1={folder}")) == {"critic": True, "score": True}
    assert main(["omsd/bandit/two_mode", *TINY, f"run.stage1={folder}", "algo.order=[1,0]"]) == 4
    said = capsys.readouterr().err
    assert "settings.order=[0, 1], this run asks for [1, 0]" in said
    assert main(["omsd/bandit/two_mode", *TINY, f"run.stage1={tmp_path}"]) == 4
    assert "no critic there" in capsys.readouterr().err


def test_a_folder_that_the_run_takes_nothing_of_is_refused(capsys):
    assert main(["inspo/xor/ab", f"run.stage1={outputs_dir()}"]) == 4
    assert "this run has no stage that is kept; leave run.stage1 out" in capsys.readouterr().err


def test_damaged_files_are_said_to_be(tmp_path):
    kept = run()["stage1"]["score"]["kept_as"]
    path = outputs_dir() / "stage1" / kept
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ReproduceError, match=r"score-.* cannot be used .*delete it"):
        run("algo.beta=0.9")
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(ReproduceError, match="cannot be used"):
        run("algo.beta=0.9")


@pytest.mark.parametrize("value", [float("nan"), 0.5])
def test_networks_that_were_changed_are_not_used(value):
    path = outputs_dir() / "stage1" / run()["stage1"]["score"]["kept_as"]
    with safe_open(path, "pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = value
    save_file(tensors, path, metadata=about)
    with pytest.raises(ReproduceError, match=r"cannot be used .*not as it was written"):
        run("algo.beta=0.9")
    save_file(tensors, path, metadata={key: text for key, text in about.items() if key != "sha256"})
    if value != value:  # an older file has no checksum
        with pytest.raises(ReproduceError, match="holds NaN or infinity"):
            run("algo.beta=0.9")


def test_networks_that_became_nan_in_their_last_update_are_not_kept(monkeypatch):
    """No loss shows it: the update that made them was the phase's last."""
    monkeypatch.setattr(OMSD, "broken_weights", lambda self: {0: "critic.theta"})
    with suppress(ReproduceError):
        run()
    assert not list(outputs_dir().rglob("stage1/**/*.safetensors"))


def test_a_run_with_a_stage_1_from_elsewhere_is_no_run_without_one(tmp_path):
    run()
    folder = (outputs_dir() / "stage1").rename(tmp_path / "mine")
    names = [
        run_folder(compose("omsd/bandit/two_mode", [*TINY, *more]), "0").name for more in ([], [f"run.stage1={folder}"])
    ]
    assert names[0] != names[1]
    (critic,) = folder.glob("critic-*")
    other = critic.rename(folder / "critic-0123456789ab.safetensors")  # of another version, say
    assert run(f"run.stage1={folder}")["stage1"]["critic"]["kept_as"] == other.name
    assert not (outputs_dir() / "stage1").exists()


def test_what_reads_the_data_decides_whether_a_stage_is_the_same(monkeypatch, tmp_path):
    for name in ("lit_modules", "data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.setattr(phase_cache, "ROOT", tmp_path)
    codes = set()
    for file in ("data/layout.py", "data/worlds/mpe.py", "data/common/minibatches.py", "lit_modules/omsd.py"):
        (tmp_path / file).write_text((tmp_path / file).read_text() + "# changed")
        codes.add(phase_cache._code("lit_modules/omsd.py"))
    assert len(codes) == 4


def test_a_run_killed_in_stage_2_resumes_though_its_stage_1_was_taken_or_trained(monkeypatch):
    whole = run("algo.beta=0.7")
    for own in (False, True):
        if own:
            for path in (outputs_dir() / "stage1").iterdir():
                path.unlink()
        actor, calls = OMSD.update_actor, []

        def killed(self, batch, noise, actor=actor, calls=calls):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return actor(self, batch, noise)

        monkeypatch.setattr(OMSD, "update_actor", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run("algo.beta=0.7", "run.checkpoint_every_s=0")
        monkeypatch.setattr(OMSD, "update_actor", actor)
        again = run("algo.beta=0.7", "run.checkpoint_every_s=0")
        assert again["evaluation"] == whole["evaluation"]
        assert again["weights_sha256"] == whole["weights_sha256"]


def test_the_plan_passes_over_restored_phases_and_starts_streams_only_where_results_are_kept():
    phases = [Phase("a", 4, 1, result=("net",)), Phase("b", 4, 1)]
    plan = make_plan(phases, 3)
    assert [(c.phase, c.start, c.n_updates, c.streams) for c in plan] == [
        ("a", 0, 3, 0), ("a", 3, 1, None), ("b", 4, 3, 1), ("b", 7, 1, None)
    ]  # fmt: skip
    assert make_plan(phases, 3, ["a"]) == plan[2:]
    assert {c.streams for c in make_plan([Phase("a", 4, 1), Phase("b", 4, 1)], 3)} == {None}
