"""A record is judged as a run of its row only while the row is what it was."""

import json

import pytest
from test_records import record

from reproduce import records
from reproduce.cli import main
from reproduce.config import compose, today


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
    verdict = checked(capsys, recorded)["verdict"]
    assert verdict["state"] == "NOT COMPARABLE"
    assert verdict["reasons"][0].startswith("the row has changed since: algo.alpha is 0.9 in the record, the row says")


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
    assert records.select_reported(records.read())[0]["n_updates"] == longer["n_updates"]


def test_readings_that_are_judged_like_the_row_stay_comparable():
    """`also_judged` of omsd/mpe/cn_expert makes variants rows of their own, with fingerprints of their own."""
    name, overrides = "omsd/mpe/cn_expert", ["variant=low_noise"]
    own, variant = compose(name), compose(name, overrides)
    assert own.row_fingerprint != variant.row_fingerprint
    assert variant.differs == []
    made = record(row=name) | {
        "config": variant.values,
        "config_fingerprint": variant.fingerprint,
        "row_fingerprint": variant.row_fingerprint,
        "overrides": overrides,
    }
    assert records.changed_since([made]) == [[]]
    (unlisted,) = records.changed_since([made | {"overrides": ["variant=gone"]}])  # as if it were judged no longer
    assert unlisted
    assert all(reason.startswith("the row has changed since: ") for reason in unlisted)
    ((gone,),) = records.changed_since([made | {"row": "omsd/mpe/gone"}])
    assert gone.startswith("the row cannot be composed today: ")


def test_answers_are_kept_until_a_file_changes(monkeypatch):
    (first,) = today.stated_today([("inspo/xor/ab", [])])
    monkeypatch.setattr(today, "stated", lambda *_: pytest.fail("composed again"))
    assert today.stated_today([("inspo/xor/ab", [])]) == [first]
    monkeypatch.setattr(today, "_sources_hash", lambda: "another")
    with pytest.raises(pytest.fail.Exception):
        today.stated_today([("inspo/xor/ab", [])])
