"""What a run hands from stage to stage: time limits, the world's fingerprint, diverged seeds, modes of acting."""

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from test_evaluate import StandIn

from data.catalog import store
from data.common.paths import ROOT
from data.worlds import fingerprint
from data.worlds.bridge import Bridge
from reproduce.cli import main
from reproduce.config import compose
from reproduce.experiment.build import build
from reproduce.experiment.comparability import why_not_comparable
from reproduce.experiment.evaluate import Evaluator
from reproduce.experiment.identity import run_folder
from reproduce.experiment.run import run_row
from reproduce.experiment.scoring import notes, score
from reproduce.experiment.train import train
from reproduce.judge import judge

ROW = "inspo/xor/ab_ba"
QUICK = ["algo.n_behavior_updates=2", "algo.n_updates=3", "protocol.eval_episodes=2", "protocol.n_seeds=3"]


@pytest.mark.parametrize(("rule", "cut"), [("terminal", True), ("bootstrap", False)])
def test_time_limits_cut_the_bootstrap_only_where_the_protocol_says_so(rule, cut):
    """Every transition of an episode that timed out, as the updates see it."""
    row = "inspo/bridge/mix"
    stored = store.get(compose(row).data.id).transitions
    timed_out = stored["truncated"] & ~stored["terminated"]
    assert timed_out.any()
    assert stored["terminated"].any()
    experiment = build(compose(row, [f"protocol.time_limits={rule}", *QUICK]))
    seen = experiment.data.buffer[:]["terminated"]
    assert torch.equal(seen, stored["terminated"] | timed_out if cut else stored["terminated"])


def test_a_foreign_world_is_not_comparable(monkeypatch, capsys):
    settings = compose(ROW)
    own = settings.task.fingerprint
    assert why_not_comparable(settings, own, {}) == []
    (reason,) = why_not_comparable(settings, "feedfacef00d", {})
    assert reason == f"the world's fingerprint is feedfacef00d, expected {own}"
    monkeypatch.setattr("reproduce.experiment.build.fingerprint", lambda *_, **__: "feedfacef00d")
    assert main([ROW, *QUICK, "--json"]) == 3
    assert reason in json.loads(capsys.readouterr().out)["verdict"]["reasons"]


def test_fewer_seeds_than_the_rows_are_not_comparable():
    row, reasons = "omsd/bandit/two_mode", {}
    stated = compose(row).protocol.n_seeds
    for n in (stated - 1, stated, stated + 1):
        settings = compose(row, [f"protocol.n_seeds={n}"])
        reasons[n - stated] = why_not_comparable(settings, settings.task.fingerprint, {})
    assert reasons == {-1: [f"fewer seeds than the row's {stated}"], 0: [], 1: []}


def test_a_run_is_judged_as_one_of_its_readings_and_cloning_beside_itself(monkeypatch):
    seen = []
    monkeypatch.setattr("reproduce.experiment.run.judge", lambda *a, **k: seen.append((a, k)) or judge(*a, **k))
    monkeypatch.setattr("reproduce.experiment.run.number_of_readings", lambda row, overrides: 9)
    record = run_row(compose(ROW, [*QUICK, "algo=bc"]), write=False)
    ((scores, _), facts) = seen[-1]
    assert facts["readings"] == 9
    assert facts["behavior_cloning"] == scores == record["scores"]["per_seed"]


def test_a_run_resumes_where_nothing_that_decides_its_bits_has_changed(monkeypatch, tmp_path):
    changes = [
        [], ["algo.lr=0.5"], ["task.params.episode_limit=2"], ["protocol.n_seeds=6"], ["run.threads=2"],
        ["run.chunk_size=7"], ["run.device=cuda"], ["run.matmul_precision=high"], ["run.accelerate=compile"],
    ]  # fmt: skip
    names = [run_folder(compose(ROW, change), "0").name for change in changes]
    names.append(run_folder(compose(ROW), "1").name)  # other data
    for folder in ("lit_modules/common", "data/common", "reproduce/experiment"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("lit_modules/common/mlp.py", "data/common/rng.py", "reproduce/experiment/evaluate.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.setattr("reproduce.experiment.identity.ROOT", tmp_path)
    names.append(run_folder(compose(ROW), "0").name)
    for file in ("lit_modules/common/mlp.py", "data/common/rng.py", "reproduce/experiment/evaluate.py"):
        (tmp_path / file).write_text("# another program\n")
        names.append(run_folder(compose(ROW), "0").name)
    assert len(set(names)) == len(names)
    assert run_folder(compose(ROW, ["run.checkpoint_every_s=7"]), "0").name == names[-1]


def test_the_fingerprint_is_measured_in_the_world_that_was_played():
    changed = compose(ROW, ["task.params.payoff=[[0.0, 1.0], [1.0, -3.0]]", *QUICK])
    task = changed.task
    assert build(changed).world_fingerprint == fingerprint(task.world, **task.params) != task.fingerprint


@pytest.mark.parametrize("broken", [[0], [1, 2]])
def test_a_diverged_seed_counts_as_the_minimum_and_the_others_as_what_they_earned(broken):
    """First seed 5, so that seeds are not their places."""
    experiment = build(compose(ROW, [*QUICK, "protocol.first_seed=5", "algo.policy_lr=0.05"]))
    experiment.module.q.theta.data[broken] = math.nan
    training = train(experiment)
    assert list(training.crashed) == [5 + k for k in broken]
    returns = {"greedy": [[1.0, 0.5], [-1.0, 0.0], [0.25, 0.25]], "sampled": [[9.0], [9.0], [9.0]]}
    played = {mode: {"episode_return": episodes} for mode, episodes in returns.items()}
    found = score(experiment, training, played)
    means = [0.75, -0.5, 0.25]
    assert found.per_seed == [-2.0 if k in broken else mean for k, mean in enumerate(means)]
    assert [crash["seed"] for crash in found.crashed] == [5 + k for k in broken]
    assert {crash["quantity"] for crash in found.crashed} == {"loss/q"}


class Fenced(Bridge):
    """Nobody may move against the reading direction in the rows above the last, so that legal actions vary."""

    def _report(self, **extra):
        td = super()._report(**extra)
        td["legal_actions"][..., 4] = (td["state"][:, 0] + td["state"][:, 4] > 2).unsqueeze(-1)
        return td


class Wanderer(StandIn):
    """Acts by a fixed linear function of what it sees, among the legal actions; drawn where noise is given."""

    def act(self, obs, legal, uniform, carry):
        weights = torch.randn(obs.shape[-1], legal.shape[-1], generator=torch.Generator().manual_seed(3))
        logits = (0.2 * obs @ weights).masked_fill(~legal, -1e8)
        if uniform is None:
            return logits.argmax(-1), carry
        cdf = logits.softmax(-1).cumsum(-1)
        return (cdf < uniform.unsqueeze(-1)).sum(-1).clamp(max=legal.shape[-1] - 1), carry


def test_episodes_of_a_mode_do_not_depend_on_the_modes_beside_it():
    def play(*modes: str) -> dict:
        return Evaluator(lambda n: Fenced(n, start_adjacent=False), [0, 1], 6, modes)(Wanderer())  # type: ignore[arg-type]

    both, greedy, sampled = play("greedy", "sampled"), play("greedy"), play("sampled")
    assert both == greedy | sampled
    assert both["greedy"] != both["sampled"]
    assert len({x for seed in both["sampled"] for x in seed}) > 1


@pytest.mark.parametrize(
    ("checked", "limits", "said"),
    [
        (None, "bootstrap", []),
        ({"n": 400, "agree": 1.0, "ends_marked": 0.0}, "bootstrap", []),
        ({"n": 400, "agree": 0.5}, "bootstrap", ["of 400 recorded transitions the world repeats 50%"]),
        ({"ends_marked": 1.0}, "terminal", []),
        ({"ends_marked": 1.0}, "bootstrap", ["the files mark 100% of time limits as ends"]),
        ({"ends_marked": 0.0}, "terminal", ["the files mark 0% of time limits as ends"]),
    ],
)
def test_a_record_notes_what_the_files_do_otherwise(checked, limits, said):
    settings = compose("inspo/xor/ab", [f"protocol.time_limits={limits}"])
    cache = SimpleNamespace(facts=dict)
    manifest = {} if checked is None else {"transitions_checked": checked}
    experiment = SimpleNamespace(cache=cache, row=None, references=None, manifest=manifest, settings=settings)
    found = notes(experiment, SimpleNamespace(run={"cpu_capabilities": []}))
    assert [note[: len(start)] for note, start in zip(found, said, strict=True)] == said
