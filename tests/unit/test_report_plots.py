"""The report's drawings and its aggregate: safe to inline, equal at every call, and honest about gaps and counts."""

import re

import matplotlib
import pytest
from test_records import record

from data.common.paths import ROOT
from reproduce import published, records
from reproduce.config import compose
from reproduce.judge import Bound, judge
from reproduce.report import plots, write_report
from reproduce.report.aggregate import bootstrap_interval, interquartile_mean
from reproduce.report.content import collect

CURVE = ([0, 10, 20, 30], [[1.0], [2.0], [3.0], [4.0]], [], 3.5, 'a "quoted" <label>')
NAMES = plots.Names("algo.beta", "score", "Theirs: <paper>", "The row's published number")


def drawings() -> dict[str, str]:
    ours = {"Ours: a": {0.1: (1.0, 2.0), 1.0: (2.0, 4.0), 10.0: (3.0,)}}
    costs = {"one": [(1.0, 1.0, False), (5.0, 0.5, False), (5.0, 0.1, True)]}
    return {
        "curves": plots.learning_curves(*CURVE),
        "interval": plots.interval(1.0, -1.0, 3.0, 2.0, one_sided=False),
        "sensitivity": plots.sensitivity(ours, [(0.1, 1.5, 0.2)], (2.0, 1.0, 3.0), NAMES, "label"),
        "costs": plots.cost_curves(costs, "seeds", "cost"),
    }


@pytest.mark.parametrize("name", drawings())
def test_a_drawing_is_the_same_at_every_call_whatever_the_users_style(name):
    first = drawings()[name]
    with matplotlib.rc_context({"axes.grid": True, "font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert drawings()[name] == first


@pytest.mark.parametrize("name", drawings())
def test_a_drawing_can_be_inlined_and_takes_the_pages_colors(name):
    svg = drawings()[name]
    assert svg.startswith('<svg role="img" aria-label="')
    assert svg.endswith("</svg>")
    assert not re.search(r"url\(|<style|<metadata|font-family", svg)
    assert not re.search(r"#[0-9a-f]{6}\b", svg.replace('href="#', ""))
    assert "var(--" in svg


def test_text_stays_text_and_is_escaped():
    svg = plots.learning_curves(*CURVE)
    assert "gradient updates</text>" in svg
    assert 'aria-label="a &quot;quoted&quot; &lt;label&gt;"' in svg
    assert "Theirs: &lt;paper&gt;</text>" in drawings()["sensitivity"]


def lines(svg: str, color: str) -> list[str]:
    return [path for path, style in re.findall(r'<path d="([^"]*)" style="([^"]*)"', svg) if f"--{color})" in style]


def test_a_crashed_seed_leaves_a_gap_and_nothing_finite_no_drawing():
    whole = plots.learning_curves([0, 1, 2, 3, 4], [[1.0], [2.0], [3.0], [2.0], [3.0]], [], None, "")
    gap = plots.learning_curves([0, 1, 2, 3, 4], [[1.0], [2.0], [None], [2.0], [3.0]], [], None, "")
    assert [path.count("M") for path in lines(whole, "greedy")] == [1]
    assert [path.count("M") for path in lines(gap, "greedy")] == [2]
    assert plots.learning_curves([0, 1], [[None], [None]], [], 1.0, "") == ""
    assert plots.learning_curves([], [], [], 1.0, "") == ""


def test_a_seed_with_a_single_point_is_seen():
    assert "<use" in plots.learning_curves([5], [[1.0]], [], None, "").partition("var(--greedy)")[2]


def x_range(path: str) -> tuple[float, float]:
    xs = [float(x) for x in re.findall(r"[ML] ([-\d.]+) ", path)]
    return min(xs), max(xs)


def test_the_interval_lies_to_scale_in_its_band():
    for one_sided in (False, True):
        svg = plots.interval(1.0, -1.0, 3.0, 2.0, one_sided)
        unit = 150 * 0.49 / (1.15 * 3.0)
        assert x_range(lines(svg, "band")[0]) == pytest.approx((75 - 2 * unit, 75 + (0 if one_sided else 2) * unit))
        assert x_range(lines(svg, "ink")[0]) == pytest.approx((75 - unit, 75 + 3 * unit))


def test_ids_are_unique_on_the_page(tmp_path):
    for k, row in enumerate(("inspo/xor/ab", "inspo/xor/all", "inspo/xor/ab_ba")):
        records.write(record(f"2026-01-02T03:04:0{k}+00:00", row=row))
    ids = re.findall(r' id="([^"]*)"', write_report(tmp_path)[0].read_text())
    assert len(ids) == len(set(ids)) > 0


# ---- aggregate


def run(row: str, scores: list[float], kind: str = "regenerated") -> dict:
    made = record(row=f"omsd/mpe/{row}")
    made["verdict"] = judge(scores, Bound(mean=100.0, delta=5.0, decimals=1), data_kind=kind).to_json()
    made["scores"] = {"metric": "normalized_score", "mode": "greedy", "per_seed": scores}
    made |= {"seeds": list(range(len(scores))), "evaluation": {"greedy": [[x] for x in scores]}}
    return made | {"data": made["data"] | {"kind": kind}}


ONE, TWO = [90.0, 91.0, 92.0, 93.0, 94.0], [50.0, 60.0, 70.0, 80.0, 90.0, 99.0]


def test_two_rows_with_normalized_scores_have_an_aggregate_of_their_own_settings(tmp_path):
    records.write(run("pp_expert", TWO))  # before the other, which stands before it in the table
    records.write(run("cn_expert", ONE) | {"created": "2026-01-02T04:00:00+00:00"})
    for k, override in enumerate(("budget=long", "variant=bootstrap", "algo.beta=0.5", "data.id=other")):
        changed = run("cn_expert", TWO) | {"overrides": [override], "created": f"2026-01-03T00:00:0{k}+00:00"}
        config = changed["config"] | {"algo": changed["config"]["algo"] | {"beta": 7.0 + k}}
        records.write(changed | {"config": config})
    scores = {"a": ONE, "b": TWO}
    low, high = bootstrap_interval(scores)
    words = f"interquartile mean of our normalized scores {interquartile_mean(scores):.1f}, 95 % stratified bootstrap "
    words += f"interval [{low:.1f}, {high:.1f}]"
    for file in write_report(tmp_path):
        text = file.read_text()
        assert text.count(words) == 1
        assert "the 2 rows on regenerated data that are compared with a published number (11 seeds)" in text


def test_algorithms_of_a_table_are_not_pooled_and_a_diverged_seed_counts_as_todays_minimum():
    for row, scores in {"spread_expert": ONE, "spread_medium": TWO, "spread_expert/ma_cql": ONE}.items():
        made = run("cn_expert", scores)
        records.write(made | {"row": f"omar/mpe/{row}", "config": compose(f"omar/mpe/{row}").values})
    lost = run("cn_expert", [*ONE[:4], 1.0]) | {"row": "omar/mpe/spread_random", "crashed": [{"seed": 4}]}
    lost["scores"]["per_seed"][4] = None  # recorded when no minimum was known
    records.write(lost | {"config": compose("omar/mpe/spread_random").values})
    (table,) = (each for each in collect().tables if each.paper.id == "omar/mpe")
    minimum = published.row("omar/mpe/spread_random").bound.minimum_score
    middle = interquartile_mean({"a": ONE, "b": TWO, "c": [*ONE[:4], minimum]})
    (sentence,) = table.aggregates
    assert sentence.startswith(
        f"{table.paper.title}, OMAR: with the rows' own settings, over the 3 rows on regenerated"
    )
    assert f"scores {middle:.1f}, 95 %" in sentence


def test_one_row_has_none_nor_have_scores_that_nothing_judges():
    records.write(run("cn_expert", ONE))
    records.write(run("pp_expert", TWO[:3]))  # too few seeds: NOT COMPARABLE
    records.write(run("world_expert", TWO, kind="official"))  # other data are not pooled with it
    records.write(record(row="inspo/xor/ab"))
    records.write(record(row="inspo/xor/all"))  # judged by returns
    tables = collect().tables
    assert sum(len(table.runs) for table in tables) == 4
    assert [sentence for table in tables for sentence in table.aggregates] == []


def test_a_curve_begins_where_the_last_phase_does():
    svg = plots.learning_curves([70_000, 80_000, 90_000], [[1.0, 2.0]] * 3, [], None, "curves")
    ticks = [float(text) for text in re.findall(r">(\d+(?:\.\d+)?)k<", svg)]
    assert len(ticks) > 1
    assert min(ticks) >= 70


def test_curves_are_in_the_unit_of_their_table_and_name_their_data(monkeypatch, tmp_path):
    monkeypatch.setenv("REPRODUCE_RECORDS", str(ROOT / "records"))
    page = write_report(tmp_path, "omsd/mpe/cn_expert")[0].read_text()
    caption = page.partition("learning curves of cn_expert on omar/simple_spread-expert-one-team, regenerated data")[2]
    assert ">normalized score<" in caption.partition("</svg>")[0]
