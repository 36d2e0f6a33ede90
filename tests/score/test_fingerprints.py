"""The first line of defense against regressions: losses of 50 float64 updates per algorithm."""

import json

import pytest

from reproduce.regression.fingerprints import FILE, fingerprints


@pytest.mark.parametrize("name", list(json.loads(FILE.read_text())))
def test_losses_are_those_recorded(name):
    recorded, measured = json.loads(FILE.read_text())[name], fingerprints()[name]
    assert len(recorded) == len(measured)
    for old, new in zip(recorded, measured, strict=True):
        assert old == pytest.approx(new, rel=1e-9, abs=1e-12), "`reproduce record losses` moves this, with a reason"


def test_every_algorithm_has_a_fingerprint():
    from lit_modules import algorithms

    recorded = json.loads(FILE.read_text())
    assert [name for name in algorithms() if name not in recorded] == []
    assert [name for name in recorded if not name.startswith(tuple(algorithms()))] == []
