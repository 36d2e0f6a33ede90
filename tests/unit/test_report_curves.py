"""Sensitivity curves: what makes one, what the paper's sweep becomes beside it, and where the report shows them."""

import re
from dataclasses import replace

import pytest
from test_records import record

from reproduce import published, records
from reproduce.judge import Bound, judge
from reproduce.report import write_report
from reproduce.report.sensitivity import Point, curves, published_points

ROW = "omsd/mpe/cn_expert"
CHANGED = judge([1.0] * 5, Bound(mean=1.0, delta=0.1), ["a setting differs"]).to_json()


def run(beta: float, scores=(90.0, 100.0, 110.0), hour: int = 0, sha256: str = "0", kind: str = "regenerated", **algo):
    """A record of the row, whose file says beta=0.01 and prefix=fresh."""
    used = {"name": "omsd", "n_updates": 5, "beta": beta, "prefix": "fresh", "team": True} | algo
    file = {"beta": 0.01, "prefix": "fresh"}
    differs = [{"key": f"algo.{k}", "row": v, "used": used[k]} for k, v in file.items() if used[k] != v]
    made = record(f"2026-01-02T{hour:02d}:00:00+00:00", ROW)
    made["config"] = {"row": ROW, "algo": used, "protocol": {"n_seeds": len(scores), "first_seed": 0}}
    made["data"] = {"id": "omar/simple_spread-expert", "kind": kind, "sha256": sha256}
    made |= {"differs": differs, "seeds": list(range(len(scores))), "evaluation": {"greedy": [[x] for x in scores]}}
    made["scores"] = {"metric": "normalized_score", "mode": "greedy", "per_seed": list(scores)}
    made["verdict"] = CHANGED if differs else made["verdict"]
    return made


def test_records_that_differ_in_one_number_make_a_curve():
    (curve,) = curves([run(0.1, (1.0, 3.0)), run(0.01), run(0.001)])
    assert (curve.row, curve.key, curve.metric) == (ROW, "algo.beta", "normalized_score")
    assert curve.label == "the settings of the row (omar/simple_spread-expert, regenerated data)"
    assert [point.value for point in curve.points] == [0.001, 0.01, 0.1]
    assert curve.points[2] == Point(0.1, (1.0, 3.0))  # two seeds: their number is free
    assert curve.points[2].mean == 2.0
    assert str(curve.points[2]) == "2 ± 1.414 (n = 2)"


def test_two_values_make_none():
    assert curves([run(0.01), run(0.1), run(0.1, hour=1)]) == []


def test_the_newest_record_of_a_value_counts():
    (curve,) = curves([run(0.01), run(0.1, (1.0,)), run(0.001), run(0.1, (7.0,), hour=1)])
    assert curve.points[-1].scores == (7.0,)


def test_each_variant_and_each_kind_of_data_is_a_curve_of_its_own():
    betas = (0.001, 0.01, 0.1)
    found = [run(beta, prefix=prefix) for prefix in ("stale", "fresh") for beta in betas]
    found += [run(beta, kind="official", sha256="1") for beta in betas]
    labels = [curve.label for curve in curves(found)]
    assert labels == [
        "the settings of the row (omar/simple_spread-expert, official data)",
        "the settings of the row (omar/simple_spread-expert, regenerated data)",
        "algo.prefix=stale (omar/simple_spread-expert, regenerated data)",
    ]


def test_any_numeric_setting_can_be_swept_but_not_what_says_how_a_run_is_scored():
    found = [run(0.01, layers=layers) for layers in (1, 2, 3)]
    for seed, one in enumerate([run(0.1), run(0.1), run(0.1)]):
        one["config"]["protocol"]["first_seed"] = seed
        found.append(one)
    assert [(curve.key, len(curve.points)) for curve in curves(found)] == [("algo.layers", 3)]


def test_other_data_do_not_mix_and_the_newer_replace_the_older():
    assert curves([run(0.01), run(0.1), run(0.001, sha256="1")]) == []
    old = [run(beta, (1.0,)) for beta in (0.001, 0.01, 0.1)]
    (curve,) = curves([*old, *(run(beta, (2.0,), sha256="1", hour=1) for beta in (0.001, 0.01, 0.1))])
    assert {point.scores for point in curve.points} == {(2.0,)}


def test_another_algorithm_on_the_row_is_no_part_of_its_curve():
    stranger = run(0.1)
    stranger["differs"].append({"key": "algo.name", "row": "omsd", "used": "bc"})
    assert curves([run(0.01), run(0.001), stranger]) == []


def test_the_papers_sweep_comes_in_the_metric_of_the_row():
    points = {point.value: point for point in published_points(published.row(ROW), "algo.beta")}
    assert sorted(points) == [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    assert points[0.02].mean == pytest.approx(100 * (376.05 - 159.8) / (516.8 - 159.8))  # 60.574
    assert points[0.02].half == pytest.approx(100 * 9.95 / (516.8 - 159.8))  # 2.787
    assert points[0.5].mean == pytest.approx(-7.5630, abs=1e-4)
    assert points[0.02].source == "authors development repository (plot inputs), raw return midpoint/half-range"
    assert published_points(published.row(ROW), "algo.lr") == []
    assert published_points(published.row("omsd/mpe/cn_expert/cfcql"), "algo.beta") == []


def test_raw_returns_stay_where_the_row_is_judged_by_them():
    some = next(row for row in published.rows().values() if (row.paper, row.table) == ("omsd", "mujoco"))
    row = replace(some, task="OMAR-2halfcheetah", dataset="expert", algorithm="OMSD", metric="episode_return")
    numbers = [(point.value, point.mean, point.half) for point in published_points(row, "algo.beta")]
    assert numbers[0] == (0.001, 3654.0, 27.0)
    assert numbers[1] == (0.005, 3894.5, 50.5)
    assert len(numbers) == 4


def test_the_report_shows_figure_and_table(tmp_path):
    for hour, beta in enumerate((0.001, 0.01, 0.3)):
        records.write(run(beta, hour=hour))
    html = write_report(tmp_path)[0].read_text()
    title = "cn_expert: normalized score against algo.beta"
    assert f'<svg role="img" aria-label="{title}' in html
    assert "Theirs: authors development" in html
    flat = re.sub(r"(\s*<[^>]+>\s*)+", "|", html)
    assert "|algo.beta|Ours: the settings of the row (omar/simple_spread-expert" in flat
    assert "|0.01|100 ± 10 (n = 3)|80.99 ± 0.07003|" in flat
    assert "|0.3|100 ± 10 (n = 3)|" in flat
    assert "|0.02|60.57 ± 2.787|" in flat


def test_no_sweep_no_section(tmp_path):
    records.write(run(0.01))
    html, markdown = (file.read_text() for file in write_report(tmp_path))
    assert "against algo.beta" not in html + markdown


def test_a_record_of_another_budget_does_not_name_the_curves_anew():
    found = [run(beta, layers=2) for beta in (0.001, 0.01, 0.1)]
    longer = run(0.01, layers=9) | {"overrides": ["budget=long"]}  # judged alike: it differs in nothing
    (curve,) = curves([*found, longer])
    assert curve.label.startswith("the settings of the row")
