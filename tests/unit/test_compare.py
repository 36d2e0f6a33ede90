"""Comparisons: what is an arm, which arms may stand beside each other, and what a difference says."""

import json

import pytest
from gen import facts, pages
from test_records import record as row_record

from data.common.errors import ReproduceError
from data.common.paths import records_dir
from reproduce import published, records
from reproduce.cli import main
from reproduce.cli.compare import text
from reproduce.compare import OWN, compared, composed, read_arms
from reproduce.compare.differences import method
from reproduce.config import compose, in_words
from reproduce.judge import welch_bounds
from reproduce.report import write_report
from reproduce.report.comparison_matrix import settings_of

ROW = "inspo/xor/ab_ba"


@pytest.mark.parametrize(
    ("words", "quoted", "common", "arms"),
    [
        (["algo=bc"], [], [], [(OWN, []), ("bc", ["algo=bc"])]),
        (["algo=bc", "own"], [], [], [("bc", ["algo=bc"]), (OWN, [])]),
        (
            ["protocol.n_seeds=3", "algo=inspo", "algo.alpha=5", "algo=bc"],
            [],
            ["protocol.n_seeds=3"],
            [("inspo algo.alpha=5", ["algo=inspo", "algo.alpha=5"]), ("bc", ["algo=bc"])],
        ),
        ([], ["a.x=5 a.y=0.1"], [], [(OWN, []), ("a.x=5 a.y=0.1", ["a.x=5", "a.y=0.1"])]),
        (["a=1"], ["own", "algo.alpha=5"], ["a=1"], [(OWN, []), ("algo.alpha=5", ["algo.alpha=5"])]),
        (["own", "algo=bc", "a.x=1", "algo=b"], [], [],
         [(OWN, []), ("bc a.x=1", ["algo=bc", "a.x=1"]), ("b", ["algo=b"])]),
    ],
)  # fmt: skip
def test_arms_as_they_are_typed(words, quoted, common, arms):
    found_common, found = read_arms(words, quoted)
    assert found_common == common
    assert [(arm.label, list(arm.overrides)) for arm in found] == arms


@pytest.mark.parametrize(
    ("words", "quoted", "said"),
    [
        ([], [], "needs an arm beside the row's own settings"),
        (["algo.alpha=5"], [], "--arm 'KEY=VALUE ..'"),
        (["own"], [], "needs an arm"),
        (["algo=bc", "algo=bc"], [], "stands twice"),
        ([], ["'"], "--arm"),
        ([], [" "], "sets nothing"),
    ],
)
def test_arms_that_are_none(words, quoted, said):
    with pytest.raises(ReproduceError) as caught:
        read_arms(words, quoted)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["algo=bd"], "arm 'bd': algo=bd: choose one of bc"),
        (["algo=bc", "algo.alhpa=1"], "arm 'bc algo.alhpa=1': unknown setting"),
        (["algo=bc", "protocol.n_seeds=7"], "protocol.n_seeds or protocol.first_seed differs"),
        (["algo=bc", "protocol.first_seed=7"], "protocol.n_seeds or protocol.first_seed differs"),
        (["algo=bc", "data.id=xor/ab"], "data.id differs"),
        (["algo=bc", "data.kind=official", "data.root=/x"], "data.kind differs"),
        (["algo=bc", "task.params.episode_limit=7"], "task.params.episode_limit differs"),
        (["protocol.n_seeds=1", "algo=bc"], "needs 2 seeds an arm"),
        (["algo=inspo"], "are the same experiment"),
        (["algo=bc", "algo=bc", "run.threads=1"], "are the same experiment"),
    ],
)
def test_arms_that_may_not_stand_beside_each_other(words, said):
    with pytest.raises(ReproduceError) as caught:
        composed(ROW, *read_arms(words))
    assert said in str(caught.value)


def test_common_settings_are_every_arms():
    common, arms = read_arms(["protocol.n_seeds=3", "data.id=xor/ab", "algo=bc", "algo.lr=0.5"])
    own, cloning = composed(ROW, common, arms)
    assert own.protocol.seeds == cloning.protocol.seeds == [0, 1, 2]
    assert own.data.id == cloning.data.id == "xor/ab"
    assert (own.algo.name, cloning.algo.name, cloning.algo.lr) == ("inspo", "bc", 0.5)
    with pytest.raises(ReproduceError, match="is of one row"):
        composed("inspo/xor", common, arms)


# ---- statistics


def test_two_arms_have_welchs_interval():
    left, right = [3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 2.5]
    (pair,) = compared({"a": right, "b": left})
    assert (pair["arm"], pair["against"]) == ("b", "a")
    assert pair["difference"] == pytest.approx(4.5 - 5.5 / 3)
    assert (pair["low"], pair["high"]) == (pair["widened_low"], pair["widened_high"]) == welch_bounds(left, right)
    scipy = pytest.importorskip("scipy.stats")
    interval = scipy.ttest_ind(left, right, equal_var=False).confidence_interval(0.9)
    assert (pair["low"], pair["high"]) == pytest.approx(tuple(interval))
    assert pair["found"] == "better"


def test_several_arms_are_widened_by_their_number_and_only_the_first_is_judged_against():
    scores = {"a": [0.0, 1.0, 2.0], "b": [1.0, 2.0, 3.5], "c": [9.0, 9.5, 9.0]}
    pairs = compared(scores)
    assert [(p["arm"], p["against"]) for p in pairs] == [("b", "a"), ("c", "a"), ("c", "b")]
    assert pairs[0]["widened_low"] == welch_bounds(scores["b"], scores["a"], 1 - 0.05 / 2)[0]
    assert pairs[0]["widened_low"] < pairs[0]["low"] < pairs[0]["high"] < pairs[0]["widened_high"]
    assert [p["found"] for p in pairs] == ["undecided", "better", None]
    assert "Bonferroni for the 2 differences" in method(2)
    assert "Bonferroni" not in method(1)


def test_a_difference_that_one_interval_shows_and_the_widened_one_does_not():
    first, other = [0.0, 1.0, 2.0, 3.0, 4.0], [2.3, 3.3, 4.3, 5.3, 6.3]
    assert compared({"a": first, "b": other})[0]["found"] == "better"
    three = {"a": first, "b": other, "c": first[::-1], "d": first}
    assert compared(three)[0]["low"] > 0 > compared(three)[0]["widened_low"]
    assert compared(three)[0]["found"] == "undecided"


@pytest.mark.parametrize(
    ("scores", "found"),
    [([1.0, 1.0], "undecided"), ([1.0 + 1e-15, 1.0], "undecided"), ([2.0, 2.0], "better"), ([0.5, 0.5], "worse")],
)
def test_scores_without_spread(scores, found):
    assert compared({"a": [1.0, 1.0], "b": scores})[0]["found"] == found


def test_one_seed_has_no_interval():
    with pytest.raises(ReproduceError, match="arm 'b' has 1 scores"):
        compared({"a": [1.0, 2.0], "b": [1.0]})


# ---- another algorithm is one reason


def test_another_algorithm_is_one_reason():
    apart = compose(ROW, ["algo=bc", "algo.n_updates=3", "protocol.eval_episodes=2"]).differs
    assert len(apart) > 5
    assert in_words(apart) == ["algo is bc, the row says inspo", "protocol.eval_episodes is 2, the row says 100"]
    assert in_words(compose(ROW, ["algo.lr=0.5"]).differs) == ["algo.lr is 0.5, the row says 0.01"]


def test_a_baseline_with_numbers_is_a_column_of_its_own():
    assert settings_of({"overrides": ["algo=bc", "algo.lr=0.5", "run.threads=1"]}) == "algo.lr=0.5, algo=bc"
    assert settings_of({"overrides": ["algo.lr=0.5"]}) is None  # a sensitivity plot shows it


# ---- the record


def comparison(**changed) -> dict:
    scores = {OWN: [1.0, 2.0, 3.0], "bc algo.lr=0.5": [7.0, 8.0, 9.0]}
    made = row_record("2026-01-02T00:00:00+00:00", ROW)
    arm = {"record": "x.json", "reused": True, "config_fingerprint": "0", "algo": "bc", "mode": "greedy", "crashed": []}
    document = {
        "kind": "comparison",
        "row": f"comparisons/{ROW}",
        "of": ROW,
        "provenance": made["provenance"],
        "overrides": ["protocol.n_seeds=3"],
        "metric": "episode_return",
        "data": {"id": "xor/ab_ba", "kind": "regenerated", "sha256": "f" * 64},
        "seeds": [0, 1, 2],
        "arms": {k: arm | {"overrides": [], "n_updates": 3, "per_seed": v} for k, v in scores.items()},
        "reference": OWN,
        "judged": 1,
        "method": method(1),
        "differences": compared(scores),
        "time": {"wall_s": 1.0},
    }
    return document | changed


def test_a_comparison_is_recorded_under_its_own_name():
    path = records.write(comparison())
    assert path.parent == records_dir() / "comparisons" / ROW
    assert records.read(f"comparisons/{ROW}", "comparison")[0]["differences"][0]["found"] == "better"
    assert records.read("*", "row") == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"row": ROW}, "cannot be filed under"),
        ({"row": "comparisons/inspo/xor/ab"}, "`of` must be the row"),
        ({"reference": "nobody"}, "`reference` one of its arms"),
        ({"seeds": [0, 1]}, "one score for each"),
        ({"judged": 0}, "judged"),
        ({"winner": "bc"}, "unknown key winner"),
    ],
)
def test_comparisons_that_do_not_hold_together(changed, said):
    with pytest.raises(ReproduceError) as caught:
        records.write(comparison(**changed))
    assert said in str(caught.value)
    with pytest.raises(ReproduceError, match="cannot be filed under"):
        records.write(row_record("2026-01-02T00:00:00+00:00", f"comparisons/{ROW}"))


@pytest.mark.parametrize("is_recorded", [True, False])
def test_an_arm_whose_seeds_all_diverged_counts_by_its_record_with_a_launcher_too(is_recorded, monkeypatch):
    """Its run is an error among the results, though it left a record of minimum scores."""

    def swept(names, overrides, launcher, report, points):
        return [{"row": ROW, "point": list(points[0]), "error": "it diverged in every seed"}]

    def compared_by(arms, stated, common, run):
        run(stated[1:])
        return comparison(file="records/x.json")

    monkeypatch.setattr("reproduce.jobs.run_sweep", swept)
    monkeypatch.setattr("reproduce.compare.run.compare", compared_by)
    monkeypatch.setattr("reproduce.records.recorded", lambda *_: {} if is_recorded else None)
    assert main(["compare", ROW, "launcher=joblib", "own", "algo=bc"]) == (0 if is_recorded else 4)


def test_it_fits_a_narrow_terminal():
    lines = text(comparison(file="records/x.json")).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("B - A    6 ") and line.endswith("better") for line in lines)


def test_both_reports_and_the_site_show_it(tmp_path):
    records.write(comparison())
    page, summary = (file.read_text() for file in write_report(tmp_path, "inspo/xor"))
    assert "Compared: ab_ba: the row&#39;s settings / bc algo.lr=0.5" in page
    assert "protocol.n_seeds=3" in page
    assert "bc algo.lr=0.5 better than the row's settings, 6 in [" in summary
    assert len(summary.splitlines()) < 60
    facts._all_records.cache_clear()
    site = pages.results(published.tables()["inspo/xor"])
    assert "## Compared" in site
    assert "| bc algo.lr=0.5 - the row's settings | 6 |" in site
    assert json.loads(json.dumps(comparison()))  # plain
