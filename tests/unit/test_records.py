"""OUR numbers: whole, append-only, and refused when damaged."""

import copy
import errno
import json
import math
import os
import threading
from functools import cache

import numpy as np
import pytest

from data.common.errors import ReproduceError
from data.common.paths import ROOT, records_dir
from data.common.provenance import provenance
from reproduce import records
from reproduce.config import Settings, compose, row_ids
from reproduce.judge import Bound, judge
from reproduce.records.schema import VerdictPart

ROW = "inspo/xor/ab"


@cache
def own_settings(row: str, *overrides: str) -> Settings:
    return compose(row, overrides)


def record(created: str = "2026-01-02T03:04:05+00:00", row: str = ROW, score: float = 1.0) -> dict:
    verdict = judge([score] * 5, Bound(optimum=1.0, delta=0.005)).to_json()
    returns = {"greedy": [[score]] * 5, "sampled": [[score]] * 5}
    own = own_settings(row if row in row_ids() else ROW)
    return {
        "kind": "row",
        "row": row,
        "created": created,
        "provenance": {"commit": "abc", "dirty": False, "lock_sha256": "0", "packages": {}, "machine": {}},
        "config": own.values,
        "config_fingerprint": own.fingerprint,
        "row_fingerprint": own.row_fingerprint,
        "overrides": [],
        "differs": [],
        "data": {"id": own.data.id, "kind": "regenerated", "sha256": "0"},
        "environment": {"world": "matrix", "fingerprint": "0", "expected": "0"},
        "seeds": [0, 1, 2, 3, 4],
        "n_updates": 5,
        "deviations": ["D1 <b>bold</b> choice"],
        "evaluation": {"n_updates": 5, "checkpoint": "last", **returns},
        "scores": {"metric": "episode_return", "mode": "greedy", "per_seed": [score] * 5},
        "crashed": [],
        "curve": {"n_updates": [1, 5], "greedy": [[0.0] * 5, [score] * 5], "sampled": [[0.0] * 5, [score] * 5]},
        "time": {"wall_s": 1.0, "train_s": 1.0, "evaluate_s": 0.0, "updates_per_s": 5.0},
        "verdict": verdict,
    }


def test_round_trip():
    path = records.write(record())
    assert path.parent == records_dir() / ROW
    assert path.name.startswith("20260102T030405Z-")
    (read,) = records.read(ROW)
    assert {k: v for k, v in read.items() if k != "schema"} == record() | {"file": str(path)}
    assert read["schema"] == records.RECORD_SCHEMA


def test_the_same_record_twice_is_two_files():
    assert records.write(record()) != records.write(record())
    assert len(records.read()) == 2


def test_records_of_one_second_keep_their_order():
    undated = {key: value for key, value in record().items() if key != "created"}
    written = [str(records.write(undated | {"n_updates": k})) for k in range(6)]
    assert [row["file"] for row in records.read(ROW)] == written


def test_a_user_without_a_home_can_record(monkeypatch):
    def none() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", none)
    assert records.write(record()).is_file()


def test_concurrent_writers_lose_nothing():
    threads = [threading.Thread(target=records.write, args=(record(),)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records.read(ROW)) == 16
    assert not [p for p in records_dir().rglob("*") if p.name.startswith(".")]


def test_a_disk_without_hard_links_keeps_every_record(monkeypatch):
    def none(*_):
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", none)
    assert records.write(record()) != records.write(record())
    assert len(records.read(ROW)) == 2


def test_a_run_with_fewer_seeds_is_not_the_run_of_more():
    records.write(record())
    assert records.recorded(compose(ROW, [])) is not None
    assert records.recorded(compose(ROW, ["protocol.n_seeds=6"])) is None


def test_records_are_read_oldest_first():
    records.write(record("2026-03-01T00:00:00+00:00"))
    records.write(record("2026-04-01T00:00:00+00:00"))
    records.write(record("2026-02-01T00:00:00+00:00"))
    assert [found["created"][5:7] for found in records.read(ROW)] == ["02", "03", "04"]
    assert not records.read("inspo/xor/all")


def test_a_run_at_another_precision_or_with_a_stage_from_elsewhere_is_not_the_run_of_these_settings():
    settings = own_settings(ROW)
    made = record()
    for key, value in (("matmul_precision", "medium"), ("stage1", "elsewhere")):
        records.write(made | {"config": made["config"] | {"run": made["config"]["run"] | {key: value}}})
    assert records.recorded(settings) is None
    threads = made["config"] | {"run": made["config"]["run"] | {"threads": 7}}
    path = records.write(made | {"config": threads})
    assert records.recorded(settings)["file"] == str(path)


def test_references_and_claims_have_places_of_their_own():
    reference = record()
    del reference["verdict"]
    assert records.write({**reference, "kind": "reference"}).parent == records_dir() / "reference" / ROW
    assert not records.read(ROW, "row")
    assert len(records.read(ROW, "reference")) == 1
    with pytest.raises(ReproduceError, match="cannot be filed"):
        records.write(record(row="claims/inspo/x"))


def rewritten(change) -> str:
    path = records.write(record())
    document = json.loads(path.read_text())
    path.write_text(change(document))
    with pytest.raises(ReproduceError) as caught:
        records.read()
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: json.dumps(d | {"schema": 2}), "update the project"),
        (lambda d: json.dumps(d | {"schema": 0}), "re-run"),
        (lambda d: json.dumps(d)[:-40], "truncated"),
        (lambda d: json.dumps({k: v for k, v in d.items() if k != "scores"}), "scores is missing"),
        (lambda d: json.dumps(d | {"row": "inspo/xor/all"}), "moved"),
        (lambda d: json.dumps(d | {"seeds": [0]}), "per_seed"),
        (lambda d: json.dumps(d | {"weights_sha": "0"}), "Nearest: weights_sha256"),
        (
            lambda d: json.dumps(d | {"n_updates": -1}),
            "n_updates=-1 is not allowed: must be a whole number, at least 0",
        ),
        (
            lambda d: json.dumps(d | {"verdict": d["verdict"] | {"state": "BELOW"}}),
            "exit_code is 0, that of BELOW is 1",
        ),
        (lambda d: json.dumps(d | {"verdict": d["verdict"] | {"state": "REPRODUCD"}}), "Nearest: REPRODUCED"),
        (lambda d: json.dumps(d | {"verdict": d["verdict"] | {"headlin": ""}}), "Nearest: headline"),
        (lambda d: json.dumps(d | {"verdict": []}), "verdict=[] is not allowed: must be a mapping"),
        (lambda d: json.dumps(d | {"seeds": [0, 1, 2, 3, 3]}), "twice"),
        (lambda d: json.dumps(d | {"evaluation": {"greedy": [[1.0]]}}), "evaluation.greedy must hold"),
        (lambda d: json.dumps(d | {"scores": d["scores"] | {"mode": "best"}}), "choose one of greedy, sampled"),
        (lambda d: json.dumps(d | {"time": {"train_s": 1.0}}), "time.wall_s is missing"),
        (lambda d: json.dumps(d | {"time": {"wall_s": -1}}), "time.wall_s=-1 is not allowed: must be a number"),
        (lambda d: json.dumps(d | {"config": {"algo": {}}}), "config.algo.name is missing"),
        (lambda d: json.dumps(d | {"created": "0001-01-01T00:00:00+14:00"}), "expected an ISO time"),
        (lambda d: "[" * 100_000, "unreadable"),
    ],
)
def test_damaged_records_are_named(change, words):
    assert words in rewritten(change)


def test_the_verdict_of_a_record_has_the_keys_of_a_verdict():
    assert set(VerdictPart.model_fields) == set(record()["verdict"])


@pytest.mark.parametrize("alien", [{1, 2}, object(), np.float32(1)])
def test_a_value_that_json_cannot_hold_is_refused_before_anything_is_written(alien):
    with pytest.raises(ReproduceError, match="holds a value that JSON cannot"):
        records.write(record() | {"memory": {"peak_bytes": alien}})
    assert not list(records_dir().rglob("*.json"))


def test_nan_is_refused_before_anything_is_written():
    bad = copy.deepcopy(record())
    bad["evaluation"]["greedy"][0][0] = math.nan
    with pytest.raises(ReproduceError, match=r"evaluation\.greedy\.0\.0"):
        records.write(bad)
    assert records.read() == []


def test_an_unwritable_folder(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRODUCE_RECORDS", str(tmp_path / "file"))
    with pytest.raises(ReproduceError, match="cannot write"):
        records.write(record())


def test_provenance_in_a_checkout_and_outside_one(tmp_path):
    inside = provenance("cpu", 1)
    assert inside["machine"]["threads"] == 1
    assert inside["packages"]["torch"].startswith("2.13")
    assert len(inside["lock_sha256"]) == 64
    outside = provenance("cpu", 1, root=tmp_path)
    assert outside["commit"] == outside["lock_sha256"] == "unknown"
    if (ROOT / ".git").exists():
        assert len(inside["commit"]) == 40
        assert inside["dirty"] in (True, False)
