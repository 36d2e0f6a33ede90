"""Evaluation, claims' arithmetic and the gate's two batches."""

import dataclasses
import json
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from tensordict import TensorDict
from test_records import record

from data.common.errors import ReproduceError
from data.common.paths import records_dir
from data.worlds import make_world
from data.worlds.matrix import MatrixGame
from lit_modules.common.seed_module import SeedModule
from reproduce import records
from reproduce.claims import decide, load_claim
from reproduce.claims.run import run_claim
from reproduce.claims.schema import Check, Claim
from reproduce.cli import main
from reproduce.config import claim_ids, compose
from reproduce.experiment.evaluate import Evaluator, further_metrics
from reproduce.regression import gate
from reproduce.standing import changed_since

XOR = {"payoff": [[0.0, 1.0], [1.0, -2.0]], "episode_limit": 1}


class StandIn:
    """What an evaluation asks of a module whose seeds are all well."""

    n_updates, dtype, crashed = 0, torch.float32, MappingProxyType({})
    initial_carry, broken_weights = SeedModule.initial_carry, staticmethod(dict)


class Fixed(StandIn):
    """Agent 0 plays A; agent 1 plays B with probability `p` where actions are drawn."""

    def __init__(self, p: float):
        self.p = p

    def act(self, obs, legal, uniform, carry):
        action = torch.zeros(obs.shape[:3], dtype=torch.int64)
        action[..., 1] = 1 if uniform is None else (uniform[..., 1] < self.p).long()
        return action, carry


def evaluator(seeds: list[int], n: int = 400) -> Evaluator:
    return Evaluator(lambda worlds: make_world("matrix", worlds, **XOR), seeds, n)


def test_every_episode_of_every_seed_and_mode_is_kept():
    returns = evaluator([0, 1])(Fixed(0.25))
    assert [len(row) for rows in returns.values() for row in rows] == [400] * 4
    assert set(returns["greedy"][0]) == {1.0}
    assert set(returns["sampled"][0]) == {0.0, 1.0}
    assert sum(returns["sampled"][1]) / 400 == pytest.approx(0.25, abs=0.08)


def test_draws_belong_to_the_seed_and_the_clock():
    both, alone = evaluator([3, 4])(Fixed(0.5)), evaluator([4])(Fixed(0.5))
    assert both["sampled"][1] == alone["sampled"][0]
    assert both["sampled"][0] != both["sampled"][1]
    later = Fixed(0.5)
    later.n_updates = 100
    assert evaluator([4])(later)["sampled"] != alone["sampled"]
    again = evaluator([4])
    assert again(Fixed(0.5)) == again(Fixed(0.5)) == alone


def test_rewards_after_an_end_do_not_count():
    class Walk(StandIn):
        def act(self, obs, legal, uniform, carry):
            return torch.zeros(obs.shape[:3], dtype=torch.int64), carry

    made = Evaluator(lambda n: make_world("bridge", n, episode_limit=3, zero_last_reward=False), [0], 1)
    assert made(Walk())["greedy"][0][0] == pytest.approx(-3 * 0.1 * 10**0.5, abs=1e-6)  # both stand still


class Counting(MatrixGame):
    """An episode is won in a step in which the agents agree; every world ends at a step of its own."""

    @property
    def spec(self):
        return dataclasses.replace(super().spec, metrics=("episode_return", "win_rate"))

    def _terminated(self):
        return self._steps > torch.arange(len(self._steps)) % 3

    def _step(self, td):
        agree = (td["action"][:, 0] == td["action"][:, 1]).float()
        return super()._step(td).set("metrics", TensorDict({"win_rate": agree}, self.batch_size))


class Remembering(StandIn):
    """Recurrent: agent 0 plays A once and B from then on; agent 1 always B. Its memory is the number of steps."""

    def initial_carry(self, n_seeds, n_episodes):
        return torch.zeros(n_seeds, n_episodes, 1, dtype=torch.int64)

    def act(self, obs, legal, uniform, carry):
        assert carry.shape == (*obs.shape[:2], 1)
        return torch.cat([carry.clamp(max=1), torch.ones_like(carry)], -1), carry + 1


def test_carries_and_metrics_are_kept_per_mode_and_episode():
    made = Evaluator(lambda n: Counting(n, XOR["payoff"], episode_limit=5), [0, 1], 3)
    played = made.play(Remembering())
    assert list(played) == ["greedy", "sampled"]
    for metrics in played.values():
        # Lengths 1, 2, 3: AB earns 1, BB costs 2; the win counts at the end alone.
        assert metrics == {"episode_return": [[1.0, -1.0, -3.0]] * 2, "win_rate": [[0.0, 1.0, 1.0]] * 2}
    assert made(Remembering()) == {mode: [[1.0, -1.0, -3.0]] * 2 for mode in played}
    assert further_metrics(played) == {"win_rate": {mode: [[0.0, 1.0, 1.0]] * 2 for mode in played}}
    assert further_metrics(evaluator([0], 2).play(Fixed(0.5))) == {}


def test_checks_of_a_claim():
    arms = {"a": {"scores": {"greedy": [1.0, 1.1, 0.9]}}, "b": {"scores": {"greedy": [0.0, 0.1, -0.1]}}}
    check = {"text": "", "mode": "greedy", "left": "a", "right": "b"}
    assert decide(Check(**{**check, "at_least": 0.5}), arms)["passed"] is True
    assert decide(Check(**{**check, "at_least": 0.95}), arms)["passed"] is False
    assert decide(Check(**{**check, "right": 1.0, "within": 0.5}), arms)["passed"] is True
    seeds = {"left": {"scores": {"greedy": [1.0, 0.5, -1.0, -0.5]}}}
    count = {"text": "", "mode": "greedy", "left": "left"}
    assert decide(Check(**{**count, "every_above": -1.1}), seeds)["passed"] is True
    assert decide(Check(**{**count, "every_above": -1.0}), seeds)["passed"] is False
    assert decide(Check(**{**count, "share_above": 0.0, "between": [0.4, 0.6]}), seeds)["share"] == 0.5
    assert decide(Check(**{**count, "share_above": 0.0, "between": [0.4, 0.6]}), seeds)["passed"] is True
    assert decide(Check(**{**count, "share_above": 0.9, "between": [0.4, 0.6]}), seeds)["passed"] is False
    assert decide(Check(**{**check, "right": 1.0, "within": 0.05}), arms)["passed"] is False


def test_a_claim_is_recorded(monkeypatch):
    monkeypatch.setattr("reproduce.claims.run._exact", lambda spec, name: ({}, [{"text": "t", "passed": False}]))
    assert main(["claims/inspo/monotonic_qre"]) == 1
    assert records.read("claims/inspo/monotonic_qre", "claim")[-1]["passed"] is False


def test_a_claim_whose_rows_have_changed_since_is_listed_so(monkeypatch, capsys):
    arm = {"row": "inspo/xor/ab", "overrides": ["algo.alpha=1.0"]}
    found = {"row": "claims/inspo/mine", "claim": {"text": "t"}, "passed": True, "arms": {"a": arm}}
    monkeypatch.setattr("reproduce.standing.claims.read_yaml", lambda *_: {"text": "t"})
    arm["config_fingerprint"] = compose("inspo/xor/ab", arm["overrides"]).fingerprint
    assert changed_since(found) == ""
    arm["config_fingerprint"] = "0" * 12
    assert changed_since(found) == "runs"


def test_a_claim_recorded_by_another_rule_is_listed_so(monkeypatch, capsys):
    name = "claims/inspo/monotonic_qre"
    monkeypatch.setattr("reproduce.claims.run._exact", lambda spec, name: ({}, [{"text": "t", "passed": True}]))
    assert main([name]) == 0
    _, stated = load_claim(name)
    for changed, said in (({"text": "worded anew"}, False), ({"exact": stated["exact"] | {"limits": {"x": 1}}}, True)):
        monkeypatch.setattr("reproduce.standing.claims.read_yaml", lambda *_, c=changed: stated | c)
        capsys.readouterr()
        assert main(["list", name]) == 0
        assert ("HOLDS, but its rule changed since" in capsys.readouterr().out) is said
        assert main(["list", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["full_budget"] is not said
        assert main(["check", name]) == (3 if said else 0)
        assert ("its rule changed since: run it again" in capsys.readouterr().out) is said


@pytest.mark.parametrize(
    ("checks", "needs", "state"),
    [
        ([(0.1, 0.9)], None, "HOLDS"),
        ([(-0.2, 0.1)], None, "INCONCLUSIVE"),  # nothing was shown
        ([(-0.2, -0.1)], None, "FAILS"),
        ([(0.1, 0.9), (-0.2, -0.1)], None, "FAILS"),
        ([(0.1, 0.9), (-0.2, -0.1)], 1, "HOLDS"),
        ([(-0.2, 0.1), (-0.2, -0.1)], 1, "INCONCLUSIVE"),
        ([(-0.2, 0.1), (-0.2, -0.1)], 2, "FAILS"),
    ],
)
def test_what_a_claim_did_not_show_is_not_shown_to_be_false(checks, needs, state):
    made = [
        {"text": "t", "at_least": 0.0, "difference_low": low, "difference_high": high, "passed": low >= 0.0}
        for low, high in checks
    ]
    passed = sum(check["passed"] for check in made) >= (needs or len(made))
    document = records.claim_document(
        {"row": "claims/a/b", "checks": made, "claim": {"needs": needs}, "passed": passed}
    )
    assert (document["state"], document["exit_code"]) == (state, {"HOLDS": 0, "FAILS": 1, "INCONCLUSIVE": 2}[state])


def test_a_difference_beyond_the_limit_on_either_side_contradicts_within():
    for low, high, state in ((0.6, 0.9, 1), (-0.9, -0.6, 1), (-0.9, 0.2, 2), (-0.4, 0.4, 0)):
        check = {"text": "t", "within": 0.5, "difference_low": low, "difference_high": high}
        check["passed"] = low >= -0.5 and high <= 0.5
        document = records.claim_document({"row": "claims/a/b", "checks": [check], "passed": check["passed"]})
        assert document["exit_code"] == state


def test_check_shows_claims_as_recorded_and_names_the_nearest(monkeypatch, capsys):
    name = "claims/inspo/monotonic_qre"
    assert main(["check", name]) == 4
    assert f"nothing is recorded for {name}" in capsys.readouterr().err
    monkeypatch.setattr("reproduce.claims.run._exact", lambda spec, name: ({}, [{"text": "t", "passed": False}]))
    assert main([name]) == 1
    capsys.readouterr()
    assert main(["check", "claims/inspo", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["row"], document["passed"], document["changed"]) == (name, False, "")
    for command in ("check", "list"):
        assert main([command, "claims/inspo/monotonic_qer"]) == 4
        assert f"Nearest: {name}" in capsys.readouterr().err


@pytest.mark.parametrize(("needs", "passed"), [(None, False), (2, True), (3, False)])
def test_a_claim_says_how_many_checks_it_needs(needs, passed, monkeypatch):
    check = {"text": "", "mode": "greedy", "left": "a", "right": 0.0, "at_least": 0.5}
    stated = {"text": "t", "arms": {"a": {"row": "inspo/xor/ab"}}, "checks": [check, check, {**check, "right": 0.9}]}
    stated |= {} if needs is None else {"needs": needs}
    arm = {"scores": {"greedy": [1.0, 1.0, 1.0]}, "time": {"wall_s": 0.0}, "run": {}}
    monkeypatch.setattr("reproduce.claims.run.load_claim", lambda name: (Claim(**stated), stated))
    monkeypatch.setattr("reproduce.claims.run._run_arm", lambda *spec: arm)
    assert run_claim("claims/inspo/coordination", write=False)["passed"] is passed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["claims/inspo/coordination", "algo.lr=1"], "algo.lr=1 would be another claim"),
        (["claims/inspo/coordination", "run.matmul_precision=high"], "run.device, run.threads may be set"),
        (["inspo/xor/ab", "--recorded"], "for claims alone"),
        (["claims/inspo/coordination", "--recorded", "launcher=joblib"], "takes no launcher"),
    ],
)
def test_what_would_be_another_claim_is_refused(words, said, capsys):
    assert main(words) == 4
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_exact_claim_has_no_arms_for_a_machines_settings(monkeypatch, capsys):
    def reached(*_):
        raise ReproduceError("it is worked out")

    monkeypatch.setattr("reproduce.claims.run._exact", reached)
    assert main(["claims/inspo/monotonic_qre", "device=cuda", "--recorded"]) == 4
    err = " ".join(capsys.readouterr().err.split())
    assert "worked out exactly, on the CPU" in err
    assert "it is worked out" in err


def test_what_is_wrong_with_an_exact_claim_is_told_before_it_is_worked_out(monkeypatch, tmp_path):
    stated = {
        "text": "t",
        "exact": {
            "program": "inspo_tabular:monotonic_and_qre",
            "params": {"n_games": 1, "n_rounds": 1, "seed": 0, "typo": 1},
            "limits": {"x": 1.0},
        },
    }
    monkeypatch.setattr("reproduce.claims.run.load_claim", lambda name: (Claim(**stated), stated))
    with pytest.raises(ReproduceError, match=r"configs/claims/inspo/monotonic_qre.yaml: exact.params: .*typo"):
        run_claim("claims/inspo/monotonic_qre", write=False)
    monkeypatch.setattr("reproduce.claims.run._exact", lambda *_: pytest.fail("it was worked out"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRODUCE_RECORDS", str(tmp_path / "file"))
    with pytest.raises(ReproduceError, match="records cannot be written"):
        run_claim("claims/inspo/monotonic_qre")


@pytest.mark.parametrize(
    ("arm", "check", "said"),
    [
        ({"overrides": ["algo.alhpa=1"]}, {}, "Nearest: algo.alpha"),
        ({"overrides": ["protocol.n_seeds=1"]}, {}, "arm b has one seed"),
        ({"row": "omsd/bandit/two_mode"}, {"mode": "sampled"}, "arm b acts greedy, not sampled"),
    ],
)
def test_what_is_wrong_with_a_later_arm_is_told_before_the_first_runs(arm, check, said, monkeypatch):
    compared = {"text": "", "mode": "greedy", "left": "a", "right": "b", "at_least": -9.0} | check
    stated = {"text": "t", "arms": {"a": {"row": "inspo/xor/ab"}, "b": {"row": "inspo/xor/ab"} | arm}}
    stated |= {"checks": [compared]}
    monkeypatch.setattr("reproduce.claims.run.load_claim", lambda name: (Claim(**stated), stated))
    monkeypatch.setattr("reproduce.experiment.run.run_row", lambda *a, **k: pytest.fail("an arm ran"))
    with pytest.raises(ReproduceError, match=said):
        run_claim("claims/inspo/coordination", write=False)


def test_recorded_arms_count_and_are_not_run_again(monkeypatch, capsys):
    tiny = ["algo.n_behavior_updates=2", "algo.n_updates=4", "protocol.n_seeds=2", "protocol.eval_episodes=2"]
    check = {"text": "", "mode": "greedy", "left": "a", "right": "b", "at_least": -9.0}
    arms = {
        arm: {"row": "inspo/xor/ab", "overrides": [*tiny, f"algo.alpha={x}"]} for arm, x in (("a", 1.0), ("b", 2.0))
    }
    stated = {"text": "t", "arms": arms, "checks": [check]}
    monkeypatch.setattr("reproduce.claims.run.load_claim", lambda name: (Claim(**stated), stated))
    first = run_claim("claims/inspo/coordination", recorded=True)
    rows = records.read("inspo/xor/ab")
    assert [arm["record"] for arm in first["arms"].values()] == [Path(row["file"]).name for row in rows]
    with monkeypatch.context() as patch:
        patch.setattr("reproduce.experiment.run.run_row", lambda *a, **k: pytest.fail("an arm was run again"))
        found = run_claim("claims/inspo/coordination", recorded=True)
    assert [arm["run"] for arm in found["arms"].values()] == [row["run"] for row in rows]
    assert [arm["record"] for arm in found["arms"].values()] == [Path(row["file"]).name for row in rows]
    assert found["passed"]
    assert found["file"] == first["file"]  # these runs are recorded already
    stricter = stated | {"checks": [check | {"at_least": 9.0}]}
    with monkeypatch.context() as patch:  # the rule has changed since: these runs are judged by today's
        patch.setattr("reproduce.claims.run.load_claim", lambda name: (Claim(**stricter), stricter))
        assert not run_claim("claims/inspo/coordination", recorded=True, write=False)["passed"]
        assert not run_claim("claims/inspo/coordination", recorded=True)["passed"]
    for path in [Path(row["file"]) for row in rows]:  # as older records are, which do not name their run
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "run"}))
    again = run_claim("claims/inspo/coordination", recorded=True)
    assert [arm["run"] for arm in again["arms"].values()] == [None, None]
    assert again["file"] != run_claim("claims/inspo/coordination", recorded=True)["file"]
    for row in rows:
        Path(row["file"]).write_text(json.dumps({k: v for k, v in row.items() if k != "file"}))
    ran = run_claim("claims/inspo/coordination", write=False, overrides=["accelerate=none", "run.threads=1"])
    assert ran["arms"]["a"]["run"] != rows[0]["run"]
    assert ran["arms"]["a"]["overrides"][-2:] == ["run.accelerate=none", "run.threads=1"]
    assert ran["arms"]["a"]["scores"] == found["arms"]["a"]["scores"]
    monkeypatch.setattr("reproduce.records.same_data", lambda one, other: False)
    with pytest.raises(ReproduceError, match="a and b are of other data"):
        run_claim("claims/inspo/coordination", recorded=True, write=False)


def batches(monkeypatch, *scores):
    """The gate on made-up runs: the reference, then one batch after another."""
    queue = list(scores)

    def run(row, first_seed, n_seeds, overrides):
        assert overrides == ["algo.n_updates=7"]  # the reference's, without its seeds
        values = queue.pop(0)
        record = {"evaluation": {m: [[v] for v in values] for m in ("greedy", "sampled")}}
        record |= {"row": "inspo/xor/ab", "seeds": [], "scores": {"mode": "greedy", "per_seed": values}}
        return record, None

    monkeypatch.setattr(gate, "_run", run)
    settings = compose("inspo/xor/ab", ["algo.n_updates=7"])
    reference, _ = run("", 0, 32, ["algo.n_updates=7"])
    overrides = ["algo.n_updates=7", "protocol.first_seed=0", "protocol.n_seeds=32"]
    reference |= {"row_fingerprint": settings.row_fingerprint, "created": "", "overrides": overrides}
    reference |= {"config": settings.values}
    return gate._judge("inspo/xor/ab", reference), queue


def test_the_gate_needs_two_failing_batches(monkeypatch):
    generator = torch.Generator().manual_seed(0)

    def draw(n, mean):
        return (mean + torch.randn(n, generator=generator)).tolist()

    good, left = batches(monkeypatch, draw(32, 0.0), draw(16, 0.0), draw(16, 0.0))
    assert good["passed"]
    assert len(left) == 1  # a first batch that is fine ends it
    assert batches(monkeypatch, draw(32, 0.0), draw(16, -3.0), draw(16, 0.0))[0]["passed"]
    assert not batches(monkeypatch, draw(32, 0.0), draw(16, -3.0), draw(16, -3.0))[0]["passed"]


def test_the_gate_refuses_other_settings_than_the_references_before_it_runs(monkeypatch):
    """The row's own hash may be the same while the file behind `budget=short` has changed."""
    settings = compose("inspo/xor/ab", ["algo.n_updates=7"])
    used = json.loads(json.dumps(settings.values))
    used["algo"]["lr"] = 0.5
    reference = {"config": used, "row_fingerprint": settings.row_fingerprint, "created": "2026", "seeds": []}
    reference |= {"overrides": ["algo.n_updates=7"], "row": "inspo/xor/ab", "evaluation": {"greedy": [[1.0]]}}
    reference |= {"scores": {"mode": "greedy", "per_seed": [1.0]}}
    monkeypatch.setattr(gate, "_run", lambda *a: pytest.fail("seeds were run"))
    with pytest.raises(
        ReproduceError, match=r"other settings than its reference of 2026 \(algo.lr was 0.5, today it is"
    ):
        gate._judge("inspo/xor/ab", reference)


def test_every_algorithm_with_a_reference_is_gated(monkeypatch, capsys):
    def filed(*overrides: str) -> None:
        settings = compose("inspo/xor/ab", overrides)
        made = record() | {"kind": "reference", "config": settings.values, "overrides": list(overrides)}
        records.write({key: value for key, value in made.items() if key != "verdict"} | {"differs": settings.differs})

    filed("algo=bc")
    filed()
    filed()  # moved
    fine = {"passed": True, "batches": ["greedy 1"], "time": {"wall_s": 0.0}}
    monkeypatch.setattr(gate, "_judge", lambda row, reference: {"row": row} | fine)
    assert main(["gate", "inspo/xor/ab"]) == 0
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "inspo/xor/ab",
        "inspo/xor/ab algo=bc",
    ]


def test_a_broken_record_does_not_stop_the_gate(monkeypatch, capsys):
    made = record() | {"kind": "reference", "differs": []}
    records.write({key: value for key, value in made.items() if key != "verdict"})
    (records_dir() / "inspo/xor/ab").mkdir(parents=True)
    (records_dir() / "inspo/xor/ab/20260101T000000Z-broken.json").write_text("{")
    fine = {"passed": True, "batches": ["greedy 1"], "time": {"wall_s": 0.0}}
    monkeypatch.setattr(gate, "_judge", lambda row, reference: {"row": row} | fine)
    assert main(["gate", "inspo/xor/ab"]) == 0
    assert "broken.json" in capsys.readouterr().err


def test_a_row_that_the_gate_cannot_compare_leaves_the_others_compared(monkeypatch, capsys, tmp_path):
    def judged(row, reference):
        if row == "inspo/xor/ab":
            raise ReproduceError("it has other settings")
        return {"row": row, "passed": True, "batches": ["greedy 1"], "time": {"wall_s": 0.0}}

    monkeypatch.setattr(gate, "_judge", judged)
    monkeypatch.setattr(gate, "_newest", lambda row: [{"row": row, "overrides": []}])
    assert main(["gate", "inspo/xor/a*", "--junit", str(tmp_path / "j.xml")]) == 4
    out, err = capsys.readouterr()
    assert sorted(line.split("  ")[0].removeprefix("inspo/xor/") for line in out.splitlines()) == [
        "aa_ab_ba",
        "ab_ba",
        "all",
    ]
    assert "inspo/xor/ab: it has other settings" in err
    assert 'errors="1"' in (tmp_path / "j.xml").read_text()


def test_the_gate_without_a_reference_says_what_to_do(capsys):
    assert main(["gate", "inspo/xor/ab"]) == 4
    assert "reproduce record inspo/xor/ab" in capsys.readouterr().err
    assert main(["record", "inspo/xor/ab", "protocol.n_seeds=3"]) == 4
    assert "a reference has seeds of its own, 0 to 31" in capsys.readouterr().err


CHECK = {"text": "", "mode": "greedy", "left": "a", "right": 0.0}
BAD_CLAIMS = [
    ({"text": "t", "arms": {"a": {"row": "x/y/z"}}, "checks": [{**CHECK, "at_leest": 0.5}]}, "Nearest: at_least"),
    ({"text": "t", "arms": {"a": {"row": "x/y/z"}}, "checks": [CHECK]}, "has 0 rules"),
    (
        {"text": "t", "arms": {"b": {"row": "x/y/z"}}, "checks": [{**CHECK, "at_least": 0.5}]},
        "names 'a'; the arms are b",
    ),
    (
        {"text": "t", "arms": {"a": {"row": "x/y/z"}}, "checks": [{**CHECK, "at_least": 0.5}], "needs": 2},
        "needs is 2, of 1 checks",
    ),
    ({"text": "t"}, "either arms and checks, or exact"),
    ({"text": "t", "exact": {"program": "nowhere:nothing", "params": {}, "limits": {}}}, "at least 1 long"),
]


@pytest.mark.parametrize(("stated", "words"), BAD_CLAIMS)
def test_a_misspelt_claim_names_file_key_and_cure(stated, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "mine.yaml").write_text(json.dumps(stated))
    monkeypatch.setattr("reproduce.claims.schema.CONFIGS", tmp_path)
    with pytest.raises(ReproduceError, match=r"configs/claims/mine\.yaml") as error:
        load_claim("claims/mine")
    assert words in str(error.value)


def test_every_claim_is_well_formed():
    assert [load_claim(name)[0].text for name in claim_ids()].count("") == 0
