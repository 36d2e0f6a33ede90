"""Every row config runs end to end on a tiny budget, whatever its verdict; adding a config adds its test."""

import json

import pytest

from reproduce import paper, records
from reproduce.cli import main
from reproduce.config import claim_ids, compose, expand, flat, row_ids, sources

TINY = ["algo.n_behavior_updates=2", "algo.n_updates=3", "protocol.eval_episodes=2", "protocol.n_seeds=2"]


@pytest.mark.parametrize("row", row_ids())
def test_row_runs_from_command_to_record(row, capsys):
    code = main([row, *TINY, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert code == printed["exit_code"] == 3  # fewer updates than the row's: NOT COMPARABLE
    record = records.latest(row)
    assert record["n_updates"] == 5
    assert record["environment"]["fingerprint"] == record["environment"]["expected"]
    assert len(record["evaluation"]["greedy"]) == 2 == len(record["evaluation"]["sampled"][0])
    assert {d["key"] for d in record["differs"]} >= {"algo.n_updates"}


@pytest.mark.parametrize("row", row_ids())
def test_row_file_is_complete_and_every_value_has_a_source(row):
    settings = compose(row)
    assert settings.row == row == settings.values["row"]
    assert settings.differs == []
    assert settings.fingerprint == settings.row_fingerprint
    stated = sources(row)
    kept = ("algo.", "protocol.", "task.")
    missing = [k for k in flat(settings.values) if k.startswith(kept) and k != "algo.name" and k not in stated]
    assert missing == []


def test_rows_with_a_config_are_published_rows_and_planned_ones_say_so(capsys):
    published = paper.rows()
    assert set(row_ids()) <= set(published)
    assert main(["list", "--json"]) == 0
    listed = {entry["row"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(published) | set(claim_ids())
    assert {row for row, entry in listed.items() if entry["can_run"]} == set(row_ids()) | set(claim_ids())
    inspo = [row for row in published if row.startswith("inspo/")]
    assert sorted(inspo) == expand("inspo/*", row_ids())


@pytest.mark.parametrize(
    "override", ["algo=bc", "algo.importance=reweight", "algo.importance=none", "algo.entropy=false"]
)
def test_switches_run(override):
    tiny = TINY[1:] if override == "algo=bc" else TINY
    assert main(["inspo/xor/ab_ba", *tiny, override]) == 3


def test_memmap_storage_and_joint_cloning_run():
    assert main(["inspo/bridge/optimal", *TINY, "data.storage=memmap"]) == 3
    assert main(["inspo/bridge/optimal", *TINY[1:], "algo=bc", "algo.joint=true"]) == 3
