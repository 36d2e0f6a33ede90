import pytest
from test_records import own_settings, record

from reproduce import published
from reproduce.cli.format import result_line
from reproduce.experiment.scoring import mode_scores
from reproduce.records import cloning_returns, recorded_cloning, same_data, store
from reproduce.standing import standings
from reproduce.standing.rejudge import judged_today

RETURNS = {"mean": 205.1406, "std": 55.478, "min": -4.364, "max": 429.047, "p50": 207.515}
FACTS = {
    "id": "omar/simple_tag-expert",
    "kind": "regenerated",
    "sha256": "080d",
    "n_transitions": 1_000_000,
    "n_episodes": 40_000,
    "return": RETURNS,
}


def test_a_dataset_built_on_another_cpu_is_the_same_and_one_of_another_seed_is_not():
    rounded = FACTS | {"sha256": "f61d", "return": RETURNS | {"mean": 205.1471, "std": 55.485}}
    reseeded = FACTS | {"sha256": "aaaa", "return": RETURNS | {"mean": 205.42}}
    assert same_data(FACTS, FACTS)
    assert same_data(FACTS, rounded)
    assert not same_data(FACTS, reseeded)
    assert same_data(FACTS, rounded | {"return": rounded["return"] | {"max": 400.0}})  # a single episode's
    assert not same_data(FACTS, rounded | {"return": rounded["return"] | {"min": -9.0, "max": 400.0}})
    tails = {"p5": 50.0, "p95": 200.0}
    of_tails = FACTS | {"return": RETURNS | tails}
    assert same_data(
        of_tails, rounded | {"return": rounded["return"] | tails | {"p95": 200.13}}
    )  # simple_world's moved so
    assert not same_data(of_tails, rounded | {"return": rounded["return"] | tails | {"p95": 200.3}})
    assert not same_data(FACTS, rounded | {"n_episodes": 39_999})
    assert not same_data(FACTS, rounded | {"id": "omar/simple_tag-medium"})


def test_the_authors_files_are_told_by_their_checksum_alone():
    official = FACTS | {"kind": "official"}
    assert not same_data(official, official | {"sha256": "f61d"})


def test_cloning_recorded_elsewhere_counts_on_data_that_differ_in_rounding(monkeypatch):
    row, run, algo = "omsd/mpe/pp_expert", {"name": "omsd", "n_updates": 9}, {"name": "gaussian_bc", "n_updates": 9}
    found = {"data": FACTS, "config": {"algo": algo}, "seeds": [0, 1], "scores": {"per_seed": [1.0, 2.0]}}
    found |= {"kind": "row", "row": row, "crashed": [], "overrides": ["algo=gaussian_bc"]}
    monkeypatch.setattr(store, "read", lambda *_: [found])
    rounded = FACTS | {"sha256": "f61d", "return": RETURNS | {"mean": 205.1471}}
    assert recorded_cloning(row, run, rounded, [0, 1]) == [1.0, 2.0]
    assert recorded_cloning(row, run, rounded, [0, 1, 2]) is None
    assert recorded_cloning(row, run, rounded | {"n_episodes": 2500}, [0, 1]) is None
    assert recorded_cloning(row, algo, rounded, [0, 1]) is None


def test_what_cloning_earns_on_a_dataset_is_that_of_the_longest_run(monkeypatch):
    def run(name: str, n_updates: int, returns: list[list[float]], sha256: str = "080d") -> dict:
        evaluation, data = (
            {"greedy": returns},
            FACTS | {"sha256": sha256, "n_episodes": 40_000 if sha256 == "080d" else 9},
        )
        common = {"row": "a/b", "created": "today", "scores": {"mode": "greedy"}}
        return common | {
            "config": {"algo": {"name": name}},
            "n_updates": n_updates,
            "evaluation": evaluation,
            "data": data,
        }

    short, long = run("gaussian_bc", 10, [[1.0, 3.0], [4.0, 4.0]]), run("gaussian_bc", 20, [[5.0, 7.0], [8.0, 8.0]])
    others = run("omiga", 30, [[9.0]]), run("gaussian_bc", 30, [[9.0]], "another")
    monkeypatch.setattr(store, "read", lambda *_: [long, short, *others])
    assert cloning_returns(FACTS) == {
        "mean": 7.0, "std": 2**0.5, "n_seeds": 2, "n_updates": 20, "row": "a/b", "recorded": "today",
    }  # fmt: skip
    assert cloning_returns(FACTS | {"id": "omar/other", "sha256": "x"}) is None


def run_of(row: str, *overrides: str, scores: list[float], sha256: str = "080d", **returns: float) -> dict:
    """A run of a row on its data, on a copy with other statistics where `returns` are given."""
    own = own_settings(row, *overrides)
    data = FACTS | {"id": own.data.id, "sha256": sha256, "return": RETURNS | returns}
    made = record(row=row) | {"config": own.values, "overrides": list(overrides), "differs": own.differs, "data": data}
    made |= {"scores": {"metric": "normalized_score", "mode": "greedy", "per_seed": scores}, "n_updates": 2001}
    return made | {"environment": {"world": "mpe", "fingerprint": "1", "expected": "1"}}


EXPERT = [114.0, 115.0, 113.0, 116.0, 114.5]  # beside 114.9 of OMAR's table


@pytest.mark.parametrize("row", ["omar/mpe/spread_expert", "cfcql/mpe/spread_expert", "omar/mpe/spread_expert/ma_cql"])
def test_cloning_of_the_same_data_stands_beside_a_row_of_the_particle_worlds(row):
    """It is recorded once, under OMAR's row, and counts for each algorithm with as many updates, seeds and episodes."""
    clones = run_of("omar/mpe/spread_expert", "algo=gaussian_bc", scores=EXPERT)
    run = run_of(row, scores=EXPERT, sha256="f61d", mean=205.1471)  # built on another machine
    own = standings([row], [clones, run])[row].own
    assert own.behavior_cloning == EXPERT
    assert own.verdict.vacuous is (row != "omar/mpe/spread_expert/ma_cql")  # whose printed number is another
    shorter = clones | {"config": clones["config"] | {"algo": clones["config"]["algo"] | {"n_updates": 1001}}}
    elsewhere = clones | {
        "environment": {"world": "mpe", "fingerprint": "2", "expected": "2"},
        "row": "omsd/mpe/cn_expert",
    }
    for other in (shorter, elsewhere):
        own = standings([row], [other, run])[row].own
        assert own.behavior_cloning is None
        assert own.remarks == []


@pytest.mark.parametrize("cloning", ["bc_shared", "bc_recurrent"])
def test_every_cloning_of_starcraft_stands_beside_a_row(cloning):
    row = "omiga/smac/5m_vs_6m_good"
    bound = published.row(row).bound
    scores = [bound.mean + x / 100 for x in (-2, -1, 0, 1, 2)]
    clones, run = (run_of(row, *chosen, scores=scores) for chosen in ([f"algo={cloning}"], []))
    clones["config"]["algo"] = clones["config"]["algo"] | {"n_updates": run["config"]["algo"]["n_updates"]}
    for one in (clones, run):
        one["scores"] |= {"metric": "episode_return"}
    assert standings([row], [clones, run])[row].own.behavior_cloning == scores


@pytest.mark.parametrize(
    "spoilt",
    [
        {"overrides": ["algo=gaussian_bc", "algo.lr=1.0e-9"]},
        {"crashed": [{"seed": 4, "quantity": "loss/policy", "n_updates": 7}]},
        {"environment": {"world": "mpe", "fingerprint": "2", "expected": "1"}},
        {"scores": {"metric": "normalized_score", "mode": "sampled", "per_seed": [0.0] * 5}},
    ],
)
def test_cloning_that_is_spoilt_does_not_make_a_row_look_better(spoilt):
    """A clone that learned nothing, lost a seed or was played elsewhere would turn `vacuous` into `reproduced`."""
    row = "omar/mpe/spread_expert"
    clones = run_of(row, "algo=gaussian_bc", scores=EXPERT)
    later = clones | {"scores": clones["scores"] | {"per_seed": [0.0] * 5}} | spoilt
    assert standings([row], [clones, later, run_of(row, scores=EXPERT)])[row].own.behavior_cloning == EXPERT
    longer = run_of(row, "algo=gaussian_bc", scores=EXPERT) | {"overrides": ["algo=gaussian_bc", "algo.n_updates=2001"]}
    assert standings([row], [longer, run_of(row, scores=EXPERT)])[row].own.behavior_cloning == EXPERT


def test_a_record_is_judged_by_todays_metric_and_minimum_score():
    row = "omar/mpe/spread_expert"
    run = run_of(row, scores=EXPERT)
    raw = run | {"scores": run["scores"] | {"metric": "episode_return"}}
    verdict, *_ = judged_today(raw, [], [])
    assert verdict.state == "NOT COMPARABLE"
    assert verdict.reasons == ["its scores are episode_return, the row is judged by normalized_score"]
    minimum = published.row(row).bound.minimum_score
    lost = run | {"crashed": [{"seed": 2, "quantity": "loss/policy", "n_updates": 7}]}
    for old in (0.0, None):  # as it was, or was not known, when the run was recorded
        scores = {"per_seed": [old if seed == 2 else score for seed, score in enumerate(EXPERT)]}
        verdict, *_ = judged_today(lost | {"scores": run["scores"] | scores}, [], [])
        assert verdict.mean == pytest.approx((sum(EXPERT) - EXPERT[2] + minimum) / 5)


def test_cloning_of_another_copy_of_the_data_is_not_used_and_the_row_says_so():
    row = "omar/mpe/spread_expert"
    clones = run_of(row, "algo=gaussian_bc", scores=EXPERT, sha256="aaaa", mean=205.42)
    own = standings([row], [clones, run_of(row, scores=EXPERT)])[row].own
    assert own.behavior_cloning is None
    assert own.verdict.vacuous is None
    assert own.notes[-1] == own.remarks[0]
    assert (
        own.remarks[0]
        == "cloning is recorded on another copy of the data (sha256 aaaa, this run's is 080d) and is not used"
    )


def test_a_number_of_clonings_own_that_is_reproduced_is_vacuous():
    row = "comadice/mujoco/ant_expert/bc"
    bound = published.row(row).bound
    run = run_of(row, scores=[bound.mean + x for x in (-2.0, -1.0, 0.0, 1.0, 2.0)])
    run |= {"environment": {"world": "mamujoco", "fingerprint": "1", "expected": "1"}}
    run["scores"] |= {"metric": "episode_return"}
    verdict, clones, _ = judged_today(run, [], [])
    assert (verdict.state, verdict.vacuous, clones) == ("REPRODUCED", True, None)
    run["config"] = run["config"] | {"algo": run["config"]["algo"] | {"name": "omiga"}}
    assert judged_today(run, [], [])[0].vacuous is None


@pytest.mark.parametrize("row", ["inspo/smac/2s3z_mixed", "omar/mpe/tag_expert", "inspo/xor/ab"])
def test_every_mode_of_acting_is_scored_in_the_rows_metric(row):
    """What is not judged was shown as a return beside win rates and normalized scores."""
    metric, references = published.row(row).metric, {"random": 10.0, "expert": 20.0}
    evaluation = {"greedy": [[12.0, 14.0], None], "sampled": [[11.0, 15.0], None]}
    evaluation["metrics"] = {"win_rate": {"greedy": [[1.0, 0.0], None], "sampled": [[1.0, 1.0], None]}}
    judged = {"win_rate": 0.5, "normalized_score": 30.0, "episode_return": 13.0}[metric]
    other = {"win_rate": 1.0, "normalized_score": 30.0, "episode_return": 13.0}[metric]
    scores = {"metric": metric, "mode": "greedy", "per_seed": [judged, -1.0], "references": references}
    run = {"row": row, "seeds": [0, 1], "evaluation": evaluation, "scores": scores}
    assert mode_scores(run) == {"greedy": [judged, -1.0], "sampled": [pytest.approx(other), -1.0]}


def test_a_run_that_is_not_comparable_does_not_call_the_published_number_unknown():
    run = run_of("omar/mpe/spread_expert", "algo=gaussian_bc", scores=EXPERT)
    verdict, *_ = judged_today(run, ["algo is gaussian_bc"], [])
    said = result_line(run | {"verdict": verdict.to_json(), "behavior_cloning": None, "notes": []})
    assert "ours 114.5" in said
    assert "theirs" not in said
