"""The first line of defense against regressions: losses of the updates of every case, in float64."""

import json

import pytest

from reproduce.regression.cases import variants
from reproduce.regression.fingerprints import FILE, agree, fingerprint, write_fingerprints

RECORDED = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("variant", list(variants()))
def test_losses_are_those_recorded(variant):
    assert variant in RECORDED, "`reproduce record losses` adds it"
    recorded, measured = RECORDED[variant], fingerprint(variant)
    assert agree(recorded, measured), f"{recorded} are {measured}; `reproduce record losses` moves this, with a reason"


def test_nothing_is_recorded_of_what_no_case_has():
    assert set(RECORDED) <= set(variants())


def test_recorded_losses_keep_their_place(monkeypatch, tmp_path):
    from reproduce.regression import fingerprints

    monkeypatch.setattr(fingerprints, "fingerprint", lambda variant: [{"n_updates": 1.0}])
    path = tmp_path / "losses.json"
    path.write_text(json.dumps({"omsd": [{"n_updates": 1 + 1e-13}], "gone": [], "bc": [{"n_updates": 1.01}]}))
    write_fingerprints(path)
    written = json.loads(path.read_text())
    assert written["omsd"] != written["bc"] == [{"n_updates": 1.0}]  # rounding alone moves nothing
    assert list(written)[:2] == ["omsd", "bc"]
    assert list(written)[2:] == [name for name in variants() if name not in ("omsd", "bc")]
