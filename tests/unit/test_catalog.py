"""The catalog's files: what is refused, and how the message helps."""

import shutil

import pytest

from data.catalog import registry
from data.catalog.schema import json_schema
from data.common.errors import ReproduceError
from reproduce.cli import main


@pytest.fixture
def edited(monkeypatch, tmp_path):
    """Replace text in a copy of a family's file, and give the message of reading the catalog."""

    def message(family: str, old: str, new: str) -> str:
        folder = tmp_path / "datasets"
        shutil.copytree(registry.FOLDER, folder)
        file = folder / f"{family}.yaml"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        monkeypatch.setattr(registry, "FOLDER", folder)
        with pytest.raises(ReproduceError) as error:
            registry.datasets()
        assert str(error.value).startswith(f"data/catalog/datasets/{family}.yaml")
        return str(error.value)

    return message


@pytest.mark.parametrize(
    ("family", "old", "new", "said"),
    [
        (
            "bridge",
            "    acceptance:",
            "    aceptance:",
            ["bridge/optimal", "unknown key aceptance.", "Nearest: accept"],
        ),
        ("bridge", "      seed: 0", "      sed: 0", ["bridge/optimal", "generator.sed", "Nearest: seed"]),
        ("bridge", "seed: 0", "seed: -1", ["generator.seed=-1", "at least 0"]),
        ("bridge", "seed: 0", 'seed: "0"', ["generator.seed='0'", "a whole number"]),
        ("bridge", "left_first: [205, 295]", "left_first: [295, 205]", ["acceptance.left_first", "[lowest, highest]"]),
        ("bridge", "left_first: [205, 295]", "left_first: [205]", ["acceptance.left_first"]),
        ("bridge", 'sha256: "58df', 'sha256: "g8df', ["bridge/optimal", "sha256"]),
        ("bridge", "      episodes: 500\n", "      epsodes: 500\n", ["official.epsodes", "Nearest: episodes"]),
        ("bridge", "datasets:", "dataset:", ["unknown key dataset.", "Nearest: datasets"]),
        (
            "matrix",
            "    official_reason:",
            "    # official_reason:",
            ["m_ne/balanced", "official_reason must be given"],
        ),
        ("matrix", "  m_ne/balanced:", "  bridge/mix:", ["bridge/mix stands in bridge.yaml already"]),
        ("matrix", "  m_ne/balanced:", "  m_ne/balanced: [", ["cannot be read as YAML"]),
        ("omar", "n_rows: 97500", "nrows: 97500", ["omar/simple_spread-medium-replay", "published.nrows", "n_rows"]),
    ],
)
def test_a_bad_entry_names_file_dataset_and_key(edited, family, old, new, said):
    message = edited(family, old, new)
    assert all(text in message for text in said), message


def test_a_bad_catalog_is_bad_input_to_the_command(edited, capsys):
    message = edited("bridge", "    acceptance:", "    aceptance:")
    assert main(["data", "list"]) == 4
    assert message in capsys.readouterr().err


def test_other_datasets_can_still_be_used(edited):
    edited("bridge", "    acceptance:", "    aceptance:")
    assert registry.dataset("xor/ab").generator.name == "matrix_joint_actions"
    with pytest.raises(ReproduceError, match="aceptance"):
        registry.dataset("bridge/optimal")


def test_the_json_schema_knows_every_key():
    entry = json_schema()["$defs"]["DatasetEntry"]
    assert entry["additionalProperties"] is False
    assert {"description", "world", "generator", "acceptance", "official", "published"} <= set(entry["properties"])
