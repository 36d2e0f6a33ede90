"""StarCraft's rows: official files to a record against a stand-in for the game, on SMAX, and in globs without it."""

import importlib.util
import json

import pytest
import written
from fights import Lenient, experience

from data.catalog import registry
from data.common.errors import ReproduceError
from data.worlds.smac import Smac
from reproduce import records
from reproduce.cli import main
from reproduce.config import row_ids
from reproduce.core import console
from reproduce.experiment.playable import playable

OMIGA, INSPO = "omiga/smac/5m_vs_6m_good", "inspo/smac/5m_vs_6m_mixed"
TINY = ["algo.n_updates=2", "algo.batch_size=2", "protocol.n_seeds=2", "protocol.eval_episodes=2"]
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jaxmarl") is None, reason="the extra `smax` is not installed")


@pytest.fixture
def official(tmp_path, monkeypatch):
    """The authors' files of one map, and a game that takes any action."""
    monkeypatch.setattr(Smac, "make_game", staticmethod(Lenient))
    monkeypatch.setattr(Smac, "check_installed", staticmethod(lambda map_name: None))
    plain = {"name": "smac", "map_name": "5m_vs_6m"}
    written.madt(experience(plain | {"view": "modified"}), tmp_path / "5m_vs_6m" / "good")
    written.smac_h5(experience(plain), tmp_path / "5m_vs_6m_mixed.h5", plain)
    return f"data.root={tmp_path}"


@pytest.mark.parametrize(
    ("row", "more"),
    [
        (OMIGA, []),
        (f"{OMIGA}/bcq_ma", []),
        (f"{OMIGA}/cql_ma", []),
        (f"{OMIGA}/icq", []),
        (f"{OMIGA}/omar", []),
        (OMIGA, ["algo=bc_shared"]),
        (INSPO, ["algo.n_behavior_updates=1", "algo.n_resampled=8"]),
        (INSPO, ["algo=bc_recurrent"]),
    ],
)
def test_a_row_runs_from_official_files_to_a_record(row, more, official, capsys):
    assert main([row, *TINY, *more, official, "--json"]) == 3  # fewer updates than the row's
    printed = json.loads(capsys.readouterr().out)
    (record,) = (each for each in records.read() if each["row"] == row)
    assert record["data"]["kind"] == "official"
    assert record["environment"]["fingerprint"] == record["environment"]["expected"]
    differs = {d["key"] for d in record["differs"]}
    assert not differs & {"data.id", "data.kind", "task.world"}
    assert record["scores"]["metric"] == ("win_rate" if row.startswith("inspo") else "episode_return")
    wins = record["scores"]["per_seed"]
    assert all(0 <= win <= 1 for win in wins) if row.startswith("inspo") else len(wins) == 2
    assert "exit_code" in printed


def test_a_glob_leaves_out_rows_without_their_game_and_says_so(capsys):
    console.set_quiet(False)
    names, without = playable("inspo/*", claims=True)
    assert [name for name in names if name.startswith("inspo/smac")] == []
    assert len(names) == 8
    ((reason, left_out),) = without.items()
    assert reason.startswith("StarCraft II needs the package smac")
    assert {*names, *left_out} == {row for row in row_ids() if row.startswith("inspo/")}
    assert "inspo/*: 16 rows are left out, such as inspo/smac/2s3z_expert. StarCraft II" in capsys.readouterr().err


def test_the_world_that_overrides_choose_counts():
    names, without = playable("inspo/smac/2s3z_*", ["task=smax"])
    assert len(names) == 4
    assert without == {}
    with pytest.raises(ReproduceError, match=r"no row of inspo/smac can run here\. StarCraft II needs"):
        playable("inspo/smac", ["no.such=setting"])


def test_a_row_by_its_own_name_says_what_is_missing(capsys):
    assert playable(OMIGA) == ([OMIGA], {})
    assert main([OMIGA, *TINY]) == 4
    assert f"row {OMIGA}: StarCraft II needs the package smac" in capsys.readouterr().err
    assert main(["inspo/smac", "--dry-run"]) == 4


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize("row", [OMIGA, INSPO])
def test_the_same_row_runs_on_smax(row, monkeypatch):
    entries = registry.entries()
    for name in (name for name in entries if name.startswith("smax/5m_vs_6m-")):
        entries[name]["acceptance"] = {}
        for part in entries[name]["generator"]["params"]["parts"]:
            if isinstance(part, dict):
                part["episodes"] = 2
    monkeypatch.setattr(registry, "_parsed", lambda: entries)
    more = [] if row == OMIGA else ["algo.n_behavior_updates=1", "algo.n_resampled=8"]
    assert main([row, "task=smax", *TINY, *more]) == 3
    (record,) = (each for each in records.read() if each["row"] == row)
    assert record["environment"]["world"] == "smax"
    assert record["environment"]["fingerprint"] == record["environment"]["expected"]
    assert {"data.id", "task.world"} <= {d["key"] for d in record["differs"]}
