"""OG-MARL's Vaults of StarCraft data: round trips in both readings of an end, and what is refused with its reason."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import written
from fights import experience
from test_battle_files import MODIFIED, PLAIN, same

from data.catalog import fetch, store
from data.common.errors import ReproduceError
from data.official import SOURCES, smac_vault, vault
from data.statistics import trajectory_statistics
from data.worlds import layout_for
from reproduce.cli import main

ts = pytest.importorskip("tensorstore")
CFCQL, OMIGA = "smac/3s_vs_5z-cfcql-medium-replay", "smac/5m_vs_6m-good"
WORLDS = {CFCQL: PLAIN | {"map_name": "3s_vs_5z"}, OMIGA: MODIFIED | {"map_name": "5m_vs_6m"}}


@pytest.mark.parametrize("final", [False, True], ids=["ends_are_steps", "ends_are_final_states"])
@pytest.mark.parametrize(("source", "world"), [("cfcql_vault", PLAIN), ("madt_vault", MODIFIED)])
@pytest.mark.parametrize("slab", [7, smac_vault.SLAB])
def test_a_vault_comes_back(tmp_path, source, world, final, slab):
    """Small slabs: some end and begin at an episode's end."""
    rows = experience(world)
    written.smac_vault(rows, tmp_path / "Good", world, final)
    with patch.object(smac_vault, "SLAB", slab):
        found = SOURCES[source].load(tmp_path / "Good", world)
    same(found, rows)
    layout = layout_for("smac", **{key: world[key] for key in world if key != "name"})
    layout.check(found)
    stated = trajectory_statistics(found, layout.spec.win_reward)
    assert (stated["n_terminated"], stated["n_truncated"], stated["win_rate"]) == (2, 1, 1 / 3)


@pytest.mark.parametrize("name", ["x%20y", "x#y", "x?y=z", "\u00e9 \u00e9"])
def test_a_vaults_folder_is_a_path_and_no_address(tmp_path, name):
    rows = experience(PLAIN)
    written.smac_vault(rows, tmp_path / "x y", PLAIN)
    written.smac_vault(rows.apply(lambda x: x * 0 if x.is_floating_point() else x), tmp_path / name, PLAIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["x y", name])
    assert (smac_vault.load(tmp_path / name, PLAIN)["reward"] == 0).all()
    same(smac_vault.load(tmp_path / "x y", PLAIN), rows)


def test_states_after_an_end_that_differ_from_the_last_step_are_kept(tmp_path):
    rows = experience(PLAIN)
    final = rows["final"].squeeze(-1)
    rows["obs"][final] += 5.0
    written.smac_vault(rows, tmp_path / "vault", PLAIN, final=True)
    same(smac_vault.load(tmp_path / "vault", PLAIN), rows)


@pytest.mark.parametrize("name", [CFCQL, OMIGA])
def test_the_catalog_finds_a_vault_where_a_fetch_and_og_marl_put_it(tmp_path, name, capsys):
    world = WORLDS[name]
    rows = experience(world)
    plan = fetch.plan(name, tmp_path)
    other, map_name = ("cfcql", "3s_vs_5z") if name == CFCQL else ("omiga", "5m_vs_6m")
    assert [remote.url.split("resolve/")[1] for remote in plan.files.values()] == [
        f"main/prior_work/{other}/smac_v1/{map_name}.zip"
    ]
    written.smac_vault(rows, plan.place, world)
    found = store.get(name, "official", tmp_path)
    same(found.transitions, rows)
    assert found.manifest["source_format"] == plan.conversion.source
    assert all(len(digest) == 64 for digest in found.manifest["files"].values())
    theirs = tmp_path / "vaults" / other / "smac_v1" / plan.conversion.path
    theirs.parent.mkdir(parents=True)
    plan.place.rename(theirs)
    same(store.get(name, "official", tmp_path / "vaults").transitions, rows)
    capsys.readouterr()
    (theirs / vault.METADATA).write_text("{}")
    assert main(["data", "show", name, "--root", str(tmp_path / "vaults")]) == 4
    assert "no Vault's metadata" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    written.smac_vault(experience(PLAIN), tmp_path / "vault", PLAIN)  # ends in rows 3, 63 and 70
    return tmp_path / "vault"


def leaf(folder, name):
    return ts.open(vault.spec(folder, f"{name}.")).result()


def refused(folder, said, world=PLAIN):
    with pytest.raises(ReproduceError, match=said) as error:
        smac_vault.load(folder, world)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("name", "where", "value", "said"),
    [
        ("terminals", 70, False, r"the episode of the last row has no end: .* row 70"),
        ("terminals", (70, 1), False, r"the episode of the last row has no end"),
        ("terminals", 63, False, r"ends in row 70 has no end within the map's limit of 60 steps"),
        ("rewards", (8, 1), 7.0, r"the agents' rewards in row 8 are \[0\.25, 7\.0, 0\.25\]"),
        ("rewards", 8, np.nan, r"the agents' rewards in row 8 are \[nan"),
        ("actions", (slice(4, 13)), 1, r"actions are not among the available ones, first \[1, 1, 1\] in step 5"),
        ("actions", 5, 9, r"an action is 9, expected 0 to 8"),
        ("infos.legals", (66, 1), 0.0, r"step 68 allows an agent nothing: padding"),
        ("infos.legals", (66, 1), 0.5, r"infos\.legals in row 66 are not 0 or 1"),
        ("observations", (9, 0, 3), np.nan, r"obs is NaN or infinite"),
        ("infos.state", (9, 3), np.inf, r"state is NaN or infinite"),
    ],
)
def test_what_is_wrong_with_a_vault_is_named(folder, name, where, value, said):
    array = leaf(folder, name)
    array[(0, *(where if isinstance(where, tuple) else (where,)))].write(
        np.array(value, array.dtype.numpy_dtype)
    ).result()
    refused(folder, said)


def test_few_illegal_actions_are_made_legal(tmp_path):
    """As many as the share allows: one of 4000."""
    rows: Any = torch.cat([experience(PLAIN) for _ in range(19)])
    written.smac_vault(rows, tmp_path / "vault", PLAIN)
    array = leaf(tmp_path / "vault", "actions")
    array[0, 5, 0].write(np.array(1, np.int32)).result()
    found = smac_vault.load(tmp_path / "vault", PLAIN)
    assert found["action"][6, 0] == 1  # a final row stands before
    assert found["legal_actions"][6, 0, 1]
    assert int((found["legal_actions"] != rows["legal_actions"]).sum()) == 1


def test_another_maps_or_views_vault_and_unequal_lengths_are_refused(folder):
    refused(folder, r"another map's or another source's Vault", PLAIN | {"map_name": "5m_vs_6m"})
    refused(folder, r"observations has shape \[1, 71, 3, 30\] .* view modified", MODIFIED)
    leaf(folder, "rewards").resize(exclusive_max=[1, 70, 3]).result()
    refused(folder, r"rewards has shape \[1, 70, 3\] with 71 rows written")


def test_ends_among_the_steps_and_rows_of_padding_are_no_episodes(tmp_path):
    rows: Any = torch.cat([experience(PLAIN)[:5] for _ in range(300)])
    written.smac_vault(rows, tmp_path / "vault", PLAIN, final=True)
    terminals = leaf(tmp_path / "vault", "terminals")
    terminals[0, 6:8].write(np.ones((2, 3), bool)).result()
    refused(tmp_path / "vault", r"2 of 302 ends have a reward, first in row 6")
    leaf(tmp_path / "vault", "rewards")[0, 6:8].write(np.zeros((2, 3), np.float32)).result()
    refused(tmp_path / "vault", r"the episode that ends in row 7 has no step: rows of padding")


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "infos.legals", "infos.state", "terminals"])
def test_a_chunk_that_is_not_stored_is_no_row_of_zeros(tmp_path, monkeypatch, name):
    monkeypatch.setattr(vault, "CHUNK", 32)
    written.smac_vault(experience(PLAIN), tmp_path / "vault", PLAIN)
    at = f"file://{tmp_path / 'vault'}"
    kept = ts.KvStore.open({"driver": "ocdbt", "base": at, "path": f"{name}./"}).result()
    (key,) = (key for key in kept.list().result() if key.startswith(b"0.1"))
    kept.delete_range(ts.KvStore.KeyRange(key, key + b"\0")).result()
    refused(tmp_path / "vault", f"{name} lacks the chunk of the rows 32 to 63")


def test_a_cut_or_missing_vault_is_one_clear_error(folder, tmp_path):
    refused(tmp_path / "nowhere", r"metadata\.json is missing: no Vault")
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != vault.METADATA}
    n_refused = 0
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
        try:  # some files are of earlier states of the store, and not needed
            found = smac_vault.load(folder, PLAIN)
        except ReproduceError:
            n_refused += 1
        else:
            same(found, experience(PLAIN))
        path.write_bytes(content)
    assert n_refused > 1


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [("rewards", "float16", "rewards has dtype float16"), ("observations", "int32", "observations has dtype int32")],
)
def test_numbers_of_another_kind_are_refused(folder, tmp_path, name, kind, said):
    rows, made = experience(PLAIN), {}
    with patch.object(vault, "write", lambda values, place: made.update(values)):
        written.smac_vault(rows, tmp_path / "other", PLAIN)
    vault.write(made | {name: made[name].astype(kind)}, tmp_path / "other")
    refused(tmp_path / "other", said)


def test_whole_numbers_of_any_kind_are_read(tmp_path):
    rows, made = experience(PLAIN), {}
    with patch.object(vault, "write", lambda values, place: made.update(values)):
        written.smac_vault(rows, tmp_path / "other", PLAIN)
    kinds = {"actions": "float32", "infos.legals": "bool", "terminals": "uint16", "observations": "float64"}
    vault.write(made | {name: made[name].astype(kind) for name, kind in kinds.items()}, tmp_path / "other")
    same(smac_vault.load(tmp_path / "other", PLAIN), rows)
