"""A record is judged as a run of its row only while the row is what it was."""

import json

import pytest
from scipy.special import stdtrit
from test_records import record
from turns import rows_by_turn

from reproduce import records
from reproduce.cli import main
from reproduce.config import also_judged, compose, number_of_readings, stated, today
from reproduce.judge import Bound, judge
from reproduce.standing import UNTRIED, category, standings


@pytest.fixture
def recorded(capsys):
    """A comparable record of inspo/xor/ab, with today's settings."""
    settings = compose("inspo/xor/ab")
    made = record(row="inspo/xor/ab") | {
        "config": settings.values,
        "config_fingerprint": settings.fingerprint,
        "row_fingerprint": settings.row_fingerprint,
        "overrides": [],
        "differs": [],
    }
    return made


def checked(capsys, made) -> dict:
    records.write(made)
    main(["check", made["row"], "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_record_of_todays_row_keeps_its_verdict(recorded, capsys):
    assert checked(capsys, recorded)["verdict"]["state"] == recorded["verdict"]["state"] != "NOT COMPARABLE"


def test_a_record_whose_row_has_changed_is_not_comparable_and_says_why(recorded, capsys):
    recorded["config"] = json.loads(json.dumps(recorded["config"]))
    recorded["config"]["algo"]["alpha"] = 0.9
    recorded["row_fingerprint"] = "0" * 12
    document = checked(capsys, recorded)
    assert document["verdict"]["state"] == "NOT COMPARABLE"
    assert document["verdict"]["reasons"] == ["nothing is recorded with the row's own settings"]
    verdict = document["others"][0]["verdict"]
    assert verdict["state"] == "NOT COMPARABLE"
    assert verdict["reasons"][0].startswith("the row has changed since: algo.alpha is 0.9 in the record, the row says")


def test_a_run_with_too_few_seeds_says_why_it_does_not_count(recorded, capsys):
    fewer = recorded | {"seeds": [0, 1], "scores": recorded["scores"] | {"per_seed": [1.0, 1.0]}}
    fewer["evaluation"] = recorded["evaluation"] | {"greedy": [[1.0]] * 2, "sampled": [[1.0]] * 2}
    fewer["curve"] = {"n_updates": [5], "greedy": [[1.0] * 2], "sampled": [[1.0] * 2]}
    reasons = checked(capsys, fewer)["verdict"]["reasons"]
    assert reasons[0] == "no run of its own settings counts: fewer seeds than the row's 5"
    assert main(["check", recorded["row"]]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "other run with the row's settings ours 1 +- 0 (n=2)" in said
    assert "reading" not in said


def test_a_record_with_todays_settings_is_comparable_whatever_the_row_said_in_between(recorded, capsys):
    recorded["row_fingerprint"] = "0" * 12
    assert checked(capsys, recorded)["verdict"]["state"] != "NOT COMPARABLE"


def test_a_record_of_a_changed_row_does_not_hide_one_of_the_row_as_it_is(recorded, capsys):
    longer = recorded | {"n_updates": 10 * recorded["n_updates"], "row_fingerprint": "0" * 12}
    longer["config"] = json.loads(json.dumps(longer["config"]))
    longer["config"]["algo"]["n_updates"] *= 10
    longer["created"] = "2026-02-01T00:00:00+00:00"
    records.write(longer)
    document = checked(capsys, recorded)
    assert document["verdict"]["state"] == recorded["verdict"]["state"] != "NOT COMPARABLE"
    assert [
        other["verdict"]["state"] for other in document["others"]
    ] == []  # a later own record: it is of other settings


def test_a_record_judged_by_an_old_margin_is_judged_by_todays_and_says_so(recorded, capsys, tmp_path):
    scores = [0.9, 0.9, 0.9, 0.9, 0.9]
    recorded["scores"] = recorded["scores"] | {"per_seed": scores}
    old = judge(scores, Bound(optimum=1.0, delta=0.5))
    recorded["verdict"] = old.to_json()
    document = checked(capsys, recorded)
    assert old.state == "OPTIMUM MET"
    assert document["verdict"]["state"] == "BELOW"
    (said,) = document["notes"]
    assert said.startswith("recorded as OPTIMUM MET; since then the margin was 0.5, today it is 0.0")
    assert main(["check", recorded["row"]]) == 1
    assert "since then the margin was 0.5" in " ".join(capsys.readouterr().out.split())
    assert main(["list", "inspo/xor/ab", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"].startswith("BELOW")
    assert main(["report", recorded["row"], "--out", str(tmp_path)]) == 0
    assert all("since then the margin was 0.5" in path.read_text() for path in tmp_path.glob("report.html"))


def test_readings_are_judged_by_a_wider_interval_and_never_stand_for_the_row():
    """`also_judged` of omsd/mpe/cn_expert makes variants readings, of which any combination counts."""
    name, overrides = "omsd/mpe/cn_expert", ["variant=low_noise"]
    own, variant = compose(name), compose(name, overrides)
    assert own.row_fingerprint != variant.row_fingerprint
    assert variant.differs == []
    assert number_of_readings(name, []) == 1
    assert number_of_readings(name, overrides) == (1 + 4) * (1 + 1) - 1  # four budgets, one variant
    assert number_of_readings(name, [*overrides, "algo.beta=0.2"]) == 1  # no reading
    scores = {"metric": "normalized_score", "mode": "greedy", "per_seed": [99.0, 103.0, 101.0, 100.0, 105.0]}
    made = record(row=name) | {"config": variant.values, "overrides": overrides, "scores": scores}
    made |= {"row_fingerprint": variant.row_fingerprint, "data": made["data"] | {"return": {"mean": 1.0}}}
    each = standings([name], [made])[name]
    assert each.own is None
    (reading,) = each.readings
    assert reading.name == "variant=low_noise"
    narrow, wide = judge(scores["per_seed"], each.row.bound), reading.verdict
    assert wide.readings == 9
    ratio = stdtrit(4, 1 - 0.05 / 9) / stdtrit(4, 0.95)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(ratio, rel=1e-12)
    assert category(each) == UNTRIED
    unlisted = standings([name], [made | {"overrides": ["variant=gone"]}])[name]  # as if it were judged no longer
    assert not unlisted.readings
    (other,) = unlisted.others
    assert all(reason.startswith("the row has changed since: ") for reason in other.verdict.reasons)


def test_most_seeds_then_the_newest_own_run_count_and_official_data_come_before_regenerated_ones(recorded):
    def at(day: int, score: float, **changes) -> dict:
        scores = {"metric": "episode_return", "mode": "greedy", "per_seed": [score] * 5}
        return recorded | {"created": f"2026-01-{day:02d}T00:00:00+00:00", "scores": scores} | changes

    found = [at(1, 1.0), at(2, 0.0)]
    assert standings(["inspo/xor/ab"], found)["inspo/xor/ab"].own.record is found[1]  # the newest, not the best
    more = at(1, 0.0) | {"seeds": list(range(8)), "scores": found[0]["scores"] | {"per_seed": [0.0] * 8}}
    each = standings(["inspo/xor/ab"], [more, *found])["inspo/xor/ab"]
    assert each.own.record is more  # most seeds: a later run of fewer is no way back
    assert each.own.notes[-1].startswith(
        "looked at with 5 and 8 seeds: with every look the 5 % on a side grow, here to"
    )
    two = at(3, 0.0) | {"seeds": [0, 1], "scores": found[0]["scores"] | {"per_seed": [0.0] * 2}}  # no verdict from that
    assert standings(["inspo/xor/ab"], [two, *found])["inspo/xor/ab"].own.remarks == []
    official = at(1, 1.0, data=recorded["data"] | {"kind": "official"})
    each = standings(["inspo/xor/ab"], [official, *found])["inspo/xor/ab"]
    assert each.own.record is official
    assert [reading.record for reading in each.readings] == [found[1]]
    assert each.document["readings"][0]["verdict"]["state"] == "BELOW"


def test_a_later_try_does_not_hide_a_reading():
    """A run of two seeds is NOT COMPARABLE, and one of five says less than one of twelve."""
    name, overrides = "omsd/mpe/cn_expert", ["variant=low_noise"]
    settings = compose(name, overrides)

    def run(n: int) -> dict:
        scores = {"metric": "normalized_score", "mode": "greedy", "per_seed": [99.0 + k for k in range(n)]}
        made = record(row=name) | {"config": settings.values, "overrides": overrides, "scores": scores}
        return made | {"seeds": list(range(n)), "data": made["data"] | {"return": {"mean": 1.0}}}

    found = [run(12), run(5), run(2)]
    each = standings([name], found)[name]
    assert [reading.record for reading in each.readings] == [found[0]]
    assert each.others == []
    assert [result.record for result in each.history] == found
    assert [other.record for other in standings([name], found[2:])[name].others] == found[2:]


def test_the_number_of_seeds_is_that_of_todays_row(recorded, monkeypatch):
    """What a row asks for may change after its run."""
    row, fewer = "inspo/xor/ab", "fewer seeds than the row's 7"
    few = recorded | {"verdict": recorded["verdict"] | {"state": "NOT COMPARABLE", "reasons": [fewer]}}
    assert standings([row], [few])[row].own.record is few  # today's row asks for five
    asked = json.loads(json.dumps(recorded["config"]))
    asked["protocol"]["n_seeds"] = 7
    monkeypatch.setattr("reproduce.standing.standing.stated_today", lambda rows: [asked for _ in rows])
    each = standings([row], [recorded])[row]
    assert each.own is None
    assert each.others[0].verdict.reasons == [fewer]


def test_a_run_that_was_not_comparable_is_where_the_row_became_what_it_was(recorded):
    """Reasons about settings are those of today; others, such as another world, stay."""
    apart = {"key": "algo.alpha", "row": 0.5, "used": recorded["config"]["algo"]["alpha"]}
    text = f"algo.alpha is {apart['used']}, the row says 0.5"
    old = recorded | {
        "differs": [apart],
        "verdict": recorded["verdict"] | {"state": "NOT COMPARABLE", "reasons": [text]},
    }
    assert standings(["inspo/xor/ab"], [old])["inspo/xor/ab"].own.record is old
    world = "the world's fingerprint is 1, expected 2"
    other = old | {"verdict": old["verdict"] | {"reasons": [text, world]}}
    each = standings(["inspo/xor/ab"], [other])["inspo/xor/ab"]
    assert each.own is None
    assert each.others[0].verdict.reasons == [world]


@pytest.mark.parametrize("row", rows_by_turn())
def test_what_rows_state_today_is_what_hydra_composes(row):
    """In every reading; nothing but the time differs."""
    readings = [[], *([choice] for choice in also_judged(row)), also_judged(row)[-2:]]
    for reading, found in zip(readings, today.stated_today([(row, r) for r in readings]), strict=True):
        assert found == stated(row, reading).values(), reading


def test_a_row_that_cannot_be_composed_says_why():
    (found,) = today.stated_today([("omsd/mpe/gone", [])])
    assert "no row or claim named 'omsd/mpe/gone'" in found["error"]


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_of_several_rows_the_highest_code_is_the_commands(more, capsys):
    records.write(record(row="inspo/xor/ab", score=1.0))
    records.write(record(row="inspo/xor/all", score=0.0))
    assert main(["check", "inspo/xor/ab"]) == 0
    assert main(["check", "inspo/xor/all"]) == 1
    assert main(["check", "inspo/xor", *more]) == 1
