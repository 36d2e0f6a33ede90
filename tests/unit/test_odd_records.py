"""One odd record stops nothing: it is named on stderr and left out, the rest goes on, and the exit code says so."""

import copy
import json
import os
from pathlib import Path

import pytest
from test_records import record

from data.common.errors import ReproduceError
from data.common.paths import outputs_dir, records_dir
from reproduce import records
from reproduce.cli import main
from reproduce.config import compose
from reproduce.records.places import without_places
from reproduce.report import write_report

GOOD, ODD = "inspo/xor/ab", "inspo/xor/ab_ba"


def odd_file(make, row: str = ODD) -> Path:
    path = records_dir() / row / "20260101T000000Z-abcdef.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    return path


def text(document) -> str:
    return json.dumps({"schema": 1, **record(row=ODD)} | document)


ODD_FILES = {
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "no text": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "empty": lambda path: path.write_text(""),
    "nested deeply": lambda path: path.write_text("[" * 100_000),
    "nested deeply inside": lambda path: path.write_text(text({"memory": {}})[:-1] + ', "stage1": ' + "[" * 90_000),
    "a list": lambda path: path.write_text("[]"),
    "a number": lambda path: path.write_text("9" * 5000),
    "the year 1": lambda path: path.write_text(text({"created": "0001-01-01T00:00:00+14:00"})),
    "no time": lambda path: path.write_text(text({"created": 5})),
    "another schema": lambda path: path.write_text(text({"schema": 99})),
    "a wrong type inside": lambda path: path.write_text(text({"differs": ["x"]})),
    "a wrong type deep inside": lambda path: path.write_text(text({"curve": {"n_updates": [1], "greedy": [["x"]]}})),
    "a seed too many": lambda path: path.write_text(text({"diagnostics": {"train": {"loss/q": [0.5] * 99}}})),
    "infinity": lambda path: path.write_text(text({"n_updates": float("inf")})),
    "a terminal's escape": lambda path: path.write_text(text({"notes": ["\x1b[31mred"]})),
    "another row's": lambda path: path.write_text(text({"row": "inspo/xor/all"})),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_an_odd_record_is_named_and_the_rest_goes_on(kind, capsys, tmp_path):
    records.write(record(row=GOOD))
    path = odd_file(ODD_FILES[kind])
    for command in (["list"], ["check", "inspo/*"], ["report", "--out", str(tmp_path / "report")]):
        capsys.readouterr()
        assert main(command) == 4, command
        said = capsys.readouterr()
        assert str(path) in said.err
        assert said.out
    assert "xor/ab" in (tmp_path / "report" / "report.md").read_text()
    assert main(["check", GOOD]) == 0  # the odd one is another row's
    assert str(path) not in capsys.readouterr().err
    capsys.readouterr()
    assert main(["list", "--json"]) == 4
    entries = {entry["row"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries[GOOD]["verdict"]
    assert not entries[ODD]["verdict"]
    records.write(record(row=ODD))  # writing is not stopped
    assert records.read_sound(ODD)[0]["row"] == ODD


def test_a_run_is_not_stopped_by_the_odd_record_of_its_own_row(capsys):
    path = odd_file(lambda path: path.write_text("{"), GOOD)
    tiny = ["algo.n_updates=1", "algo.n_behavior_updates=1", "algo.n_candidates=8", "algo.batch_size=4"]
    assert main([GOOD, *tiny, "protocol.n_seeds=2", "protocol.eval_episodes=2"]) == 3
    capsys.readouterr()
    assert main(["check", GOOD]) == 4
    assert str(path) in capsys.readouterr().err


def test_a_record_of_a_row_that_no_paper_has_is_left_out(capsys, tmp_path):
    records.write(record(row=GOOD))
    path = records.write(record(row="inspo/xor/zzz"))
    assert main(["report", "--out", str(tmp_path)]) == 4
    assert str(path) in capsys.readouterr().err
    with pytest.raises(ReproduceError, match="paper_results does not hold"):
        write_report(tmp_path)


def _places(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items)[:3]:
        yield from _places(inner, (*at, key))


def _changed(document, at, value):
    made = copy.deepcopy(document)
    place = made
    for key in at[:-1]:
        place = place[key]
    if value is ...:
        del place[at[-1]]
    else:
        place[at[-1]] = value
    return made


@pytest.mark.slow
def test_any_value_of_any_type_at_any_place(capsys, tmp_path):
    """Whatever stands in a record, reading, judging and reporting it ends in an exit code."""
    settings = compose(ODD)
    whole = {"schema": 1, **record(row=ODD)} | {
        "config": settings.values, "crashed": [{"seed": 0, "n_updates": 3, "quantity": "loss/q"}],
        "differs": [{"key": "algo.lr", "row": 1, "used": 2}], "notes": ["one"], "behavior_cloning": [1.0] * 5,
        "stage1": {"mu": {"shared_by_seeds": False}},
        "acceleration": {"asked": "none", "used": "none", "fallback": None},
        "memory": {"peak_bytes": 5, "device_peak_bytes": None}, "overrides": ["algo.lr=2"],
        "data": {"id": settings.data.id, "kind": "regenerated", "sha256": "0", "n_transitions": 5, "n_episodes": 5,
                 "return": {"mean": 1.0, "std": 0.1, "min": 0.0, "max": 1.0}},
    }  # fmt: skip
    whole["provenance"] = {"commit": "a" * 40, "dirty": False, "packages": {"torch": "2"}, "machine": {"cpu": "x"}}
    records.write(record(row=GOOD))
    path = odd_file(lambda path: path.write_text(json.dumps(whole)))
    assert main(["check", ODD]) == 2  # sound, and undecided: the seed that diverged counts as the minimum of today
    for n, at in enumerate([at for at in _places(whole) if at and at[0] not in ("schema", "kind", "row")]):
        for value in (..., None, "x", 5, -1.5, [], {}, [["x"]], {"a": {"b": 1}}, True)[n % 3 :: 3]:
            path.write_text(json.dumps(_changed(whole, at, value)))
            for command in (["check", ODD], ["list", "inspo/*"]):
                assert main(command) in (0, 1, 2, 3, 4), (at, value)
    for at in [at for at in _places(whole) if at and at[0] not in ("schema", "kind", "row")][::7]:
        for value in (..., "x", [["x"]]):
            path.write_text(json.dumps(_changed(whole, at, value)))
            write_report(tmp_path, "inspo/xor/*", {})


# ---- what a record does not say


def test_a_record_names_no_place_of_the_machine(monkeypatch, tmp_path):
    home = tmp_path / "home" / "jane doe"
    monkeypatch.setattr(Path, "home", lambda: home)
    config = copy.deepcopy(record()["config"])
    config["data"]["root"] = str(home / "omar data")
    config["run"]["stage1"] = str(outputs_dir() / "cache" / "abc")
    made = record() | {
        "config": config,
        "overrides": [f"data.root={home}/omar data", "run.stage1=/mnt/jane/x y/z", "data.root=/mnt/jane/data"],
        "notes": [
            f"taken from {outputs_dir()}/cache",
            "see (/srv/jane/a.txt), 1/2 and https://x.org/a",
            "rises \x1b[31m",
        ],
        "differs": [{"key": "data.root", "row": None, "used": "/srv/jane"}],
    }
    written = records.write(made).read_text()
    for secret in ("jane", str(tmp_path), str(outputs_dir()), "/mnt", "/srv", "\\u001b"):
        assert secret not in written.replace("<elsewhere>/jane", "")
    (back,) = records.read()
    assert back["config"]["data"]["root"] == "~/omar data"
    assert back["config"]["run"]["stage1"] == "<outputs>/cache/abc"
    assert back["overrides"] == ["data.root=~/omar data", "run.stage1=<elsewhere>/z", "data.root=<elsewhere>/data"]
    assert back["notes"][1] == "see (<elsewhere>/a.txt), 1/2 and https://x.org/a"
    assert back["notes"][2] == "rises \\x1b[31m"


@pytest.mark.parametrize("path", ["/srv/a(1)/jane/x", "/it's/jane/x", "/srv/a,b/jane/x", "/a:b/jane/x", "/a b/jane/x"])
def test_a_path_of_any_letters_is_cut_to_its_last_name(path):
    found = without_places({"override": f"data.root={path}", "root": path})
    assert found == {"override": "data.root=<elsewhere>/x", "root": "<elsewhere>/x"}


def test_committed_records_hold_no_absolute_path_and_no_control_character():
    from data.common.paths import ROOT

    for path in (ROOT / "records").rglob("*.json"):
        document = json.loads(path.read_text())
        assert without_places(document) == document, path
