"""The files of a new algorithm or paper: which names are taken, and that nothing is half-written."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from data.common.errors import ReproduceError
from data.common.paths import ROOT
from lit_modules.common import registry
from reproduce import new, published
from reproduce.new.algorithms import FILES


@pytest.fixture
def root(tmp_path) -> Path:
    """A checkout with the folders that matter."""
    for folder in (
        "lit_modules/common",
        "configs/algo",
        "tests/cases",
        "tests/unit",
        "tests/score",
        "paper_results/omsd",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tests/unit/test_core.py").touch()
    shutil.copy(ROOT / "tests/cases/__init__.py", tmp_path / "tests/cases")
    (tmp_path / "paper_results/omsd/mpe.yaml").touch()
    (tmp_path / "tests/score/loss_fingerprints.json").write_text(json.dumps({"omsd_jal": []}))
    return tmp_path


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_four_files_are_written_and_registered(actions, root):
    before = files(root)
    written = new.algorithm("cql_ma", actions, root)
    assert [str(path.relative_to(root)) for path in written] == [path.format(name="cql_ma") for path in FILES.values()]
    assert files(root) == before | {path.format(name="cql_ma") for path in FILES.values()}
    (entry,) = registry.algorithms(root / "lit_modules").values()
    assert entry.class_name == "CqlMa"
    text = "".join(path.read_text() for path in written)
    assert "# D1 " in text
    assert "TODO" not in text
    assert "{" + "{" not in text
    settings = (root / "configs/algo/cql_ma.yaml").read_text().splitlines()
    assert all(" # " in line for line in settings if line[0] != "#" and not line.startswith("name:"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CQL-MA", "lower-case letters, digits and single underscores, a letter first. Perhaps cql_ma."),
        ("../x", "a letter first. Perhaps x."),
        ("", "a letter first."),
        ("3rd", "a letter first."),
        ("a__b", "Perhaps a_b."),
        ("class", "is a reserved word. Perhaps class_ma."),
        ("match", "is a reserved word"),
        ("null", "is a reserved word"),
        ("none", "its class would be None"),
        ("mlp", "tests/cases/__init__.py defines it"),
        ("common", "lit_modules/common exists"),
        ("core", "tests/unit/test_core.py exists"),
        ("omsd_jal", "it names losses"),
        ("adam", "its class would hide Adam"),
        ("algo", "its class would hide AlgoConfig"),
        ("a" * 31, "at most 30 letters"),
    ],
)
def test_names_that_cannot_be_given(name, words, root):
    before = files(root)
    with pytest.raises(ReproduceError) as caught:
        new.algorithm(name, "continuous", root)
    assert words in str(caught.value)
    assert files(root) == before


@pytest.mark.parametrize("path", FILES.values())
def test_a_name_is_taken_by_any_of_its_files(path, root):
    taken = root / path.format(name="mine")
    taken.write_text("mine")
    with pytest.raises(ReproduceError, match="'mine' is taken"):
        new.algorithm("mine", "discrete", root)
    assert taken.read_text() == "mine"


def test_bad_kinds_and_places(root, tmp_path):
    with pytest.raises(ReproduceError, match="--actions both: choose continuous or discrete"):
        new.algorithm("mine", "both", root)
    with pytest.raises(ReproduceError, match="needs a checkout of the project"):
        new.algorithm("mine", "discrete", tmp_path / "elsewhere")


@pytest.mark.parametrize("fails", ["link", "folder"])
def test_all_files_or_none(fails, root, monkeypatch):
    before = files(root)
    if fails == "link":
        own, calls = os.link, []

        def link(source, target):
            calls.append(target)
            if len(calls) == 3:
                raise OSError(28, "No space left on device", str(source), None, str(target))
            own(source, target)

        monkeypatch.setattr(os, "link", link)
    else:
        (root / "configs/algo").rmdir()
        (root / "configs/algo").touch()
        before = files(root)
    with pytest.raises(ReproduceError, match=r"cannot write .*: (No space left on device|File exists)\. Nothing was"):
        new.algorithm("mine", "discrete", root)
    assert files(root) == before


def test_a_paper_is_a_table_that_loads_with_all_numbers_unknown(root):
    (path,) = new.paper("cfcql", root)
    assert path == root / "paper_results/cfcql/main.yaml"
    table = published.load_table(path)
    (row,) = table.rows.values()
    assert row.id == "cfcql/main/example"
    assert (row.bound.mean, row.bound.delta, row.bound.n, row.missing) == (None, None, None, "delta is not set")
    text = path.read_text()
    assert all(f"# {key}: " in text for key in ("delta", "n", "std_kind", "minimum_score"))
    assert "Decimals count" in text
    (other,) = new.paper("omsd/mujoco", root)
    assert yaml.safe_load(other.read_text())["table"] == "mujoco"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("omsd", "the paper 'omsd' is there already; write omsd/TABLE"),
        ("omsd/mpe", "paper_results/omsd/mpe.yaml exists"),
        ("omsd/", "cannot name a table"),
        ("CFCQL", "cannot name a paper: .* Perhaps cfcql"),
        ("a/b/c", "cannot name a table"),
        ("claims", "cannot name a paper: records/claims holds something else"),
        ("reference/main", "cannot name a paper"),
    ],
)
def test_papers_that_are_there_already_or_badly_named(name, words, root):
    before = files(root)
    with pytest.raises(ReproduceError, match=words):
        new.paper(name, root)
    assert files(root) == before


def test_the_templates_belong_to_the_package():
    folder = ROOT / "reproduce" / "new" / "templates"
    assert len(list(folder.rglob("*.jinja"))) == 2 * len(FILES) + 1
