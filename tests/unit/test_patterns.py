"""Prefixes: the same reading wherever a glob works."""

import json

import pytest

from data.catalog import registry
from data.common.errors import ReproduceError
from data.common.patterns import as_glob, matching
from reproduce import published
from reproduce.cli import main
from reproduce.config import claim_ids, expand, row_ids
from reproduce.report.content import collect

KNOWN = ["a/b", "a/b/c", "a/d", "ab/e", "claims/a/f"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a", ["a/b", "a/b/c", "a/d"]),
        ("a/", ["a/b", "a/b/c", "a/d"]),
        ("a/b", ["a/b"]),  # a name is itself alone
        ("a/b/", ["a/b/c"]),
        ("a/b/*", ["a/b/c"]),
        ("a*", KNOWN[:4]),
        ("*/e", ["ab/e"]),
        ("claims", ["claims/a/f"]),
        ("a/x", []),
        ("A", []),
        ("", []),
        ("/", []),
        ("b", []),
        ("a/b/c/d", []),
        ("*", KNOWN),
    ],
)
def test_names_prefixes_and_globs(pattern, found):
    assert matching(pattern, KNOWN) == found


def test_a_glob_stays_what_it_is():
    assert as_glob("a/[bd]", KNOWN) == "a/[bd]"
    assert as_glob("nothing", KNOWN) == "nothing"
    assert as_glob("a", KNOWN) == "a/*"


def test_rows_claims_and_published_numbers():
    rows = row_ids()
    assert expand("inspo/xor", rows) == expand("inspo/xor/*", rows) != []
    assert expand("omiga/mujoco/hopper_expert", rows) == ["omiga/mujoco/hopper_expert"]  # not its baselines
    assert expand("claims/inspo", [*rows, *claim_ids()]) == [
        name for name in claim_ids() if name.startswith("claims/i")
    ]
    assert published.match("omsd/mpe") == published.match("omsd/mpe/*")
    with pytest.raises(ReproduceError, match="Nearest"):
        expand("inspo/xo", rows)


@pytest.mark.parametrize(
    ("prefix", "glob"), [("inspo/xor", "inspo/xor/*"), ("inspo", "inspo/*"), ("claims", "claims/*")]
)
def test_list_takes_them(prefix, glob, capsys):
    listed = []
    for pattern in (prefix, glob):
        assert main(["list", pattern, "--all", "--json"]) == 0
        listed.append(json.loads(capsys.readouterr().out))
    assert listed[0] == listed[1] != []


@pytest.mark.parametrize(("prefix", "glob"), [("omiga", "omiga/*"), ("omar", "omar/*")])
def test_datasets_take_them(prefix, glob, capsys):
    for command in ("list", "compare"):
        documents = []
        for pattern in (prefix, glob):
            assert main(["data", command, pattern, "--json"]) == 0
            documents.append(json.loads(capsys.readouterr().out))
        assert documents[0] == documents[1]
        assert set(documents[0]) <= {name for name in registry.datasets() if name.startswith(f"{prefix}/")}


def test_the_other_commands_take_them(capsys):
    assert main(["diff", "inspo/xor", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(expand("inspo/xor/*", row_ids()))
    assert main(["check", "inspo/xor"]) == 4
    assert "nothing is recorded for inspo/xor;" in capsys.readouterr().err
    assert main(["gate", "inspo/xor"]) == 4
    assert "has no reference" in capsys.readouterr().err
    assert main(["data", "show", "bridge"]) == 4
    assert "`reproduce data build bridge` builds all 2" in capsys.readouterr().err
    assert set(collect("inspo/xor").rows) == set(published.match("inspo/xor/*"))
