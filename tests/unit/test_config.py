"""Settings: every key of every file is known, typed and in range, and the command knows it without torch."""

import json
import shutil
import subprocess
import sys

import pytest

from data.common.errors import ReproduceError
from data.common.paths import CONFIGS, ROOT
from lit_modules import algo_config, algorithm, algorithms
from lit_modules.common import registry
from reproduce.config import compose, ids, row_ids, sources, tables

ROW = "inspo/xor/ab"


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A copy of configs/ that a test may spoil."""
    copy = tmp_path / "configs"
    shutil.copytree(CONFIGS, copy)
    for module in ("compose", "ids", "sources", "tables"):
        monkeypatch.setattr(sys.modules[f"reproduce.config.{module}"], "CONFIGS", copy)
    return copy


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("rows/inspo/xor/ab.yaml", "row:", "protocl: {n_seeds: 3}\nrow:", ["protocl", "Nearest: protocol"]),
        ("rows/inspo/xor/ab.yaml", "row:", "also_judgd: [budget=short]\nrow:", ["also_judgd", "Nearest: also_judged"]),
        ("rows/inspo/xor/ab.yaml", "row:", "also_judged: [short]\nrow:", ["also_judged holds 'short'"]),
        ("algo/inspo.yaml", "gamma: 0.99", "gama: 0.99", ["unknown setting algo.gama", "Nearest: gamma"]),
        ("algo/inspo.yaml", "gamma: 0.99", "gamma: 1.01", ["algo.gamma=1.01", "at least 0 and at most 1"]),
        ("algo/inspo.yaml", "max_grad_norm: 10.0", "max_grad_norm: 0.0", ["algo.max_grad_norm=0.0", "above 0"]),
        ("rows/inspo/xor/ab.yaml", "hidden: [32]", "hidden: [32, 0]", ["algo.hidden.1=0", "at least 1"]),
        ("algo/inspo.yaml", "importance: resample", "importance: resampel", ["Nearest: resample"]),
        ("algo/inspo.yaml", "name: inspo", "name: inspa", ["algo.name='inspa' is unknown", "Nearest: inspo"]),
        ("algo/inspo.yaml", "tau: 0.01", "tau: ???", ["algo.tau is missing"]),
        ("protocol/inspo.yaml", "mode: greedy", "mode: greed", ["protocol.mode='greed'", "greedy, sampled"]),
        ("base.yaml", "storage: tensor", "storage: tensors", ["data.storage='tensors'", "tensor, memmap"]),
        ("base.yaml", "threads: 0", "threads: -1", ["run.threads=-1", "at least 0"]),
        ("base.yaml", "threads: 0", "threads: .5", ["run.threads=0.5", "a whole number"]),
        ("base.yaml", "device: cpu", "devise: cpu", ["unknown setting run.devise", "Nearest: device"]),
    ],
)
def test_a_wrong_key_or_value_in_any_file_names_key_and_cure(configs, file, old, new, words):
    path = configs / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ReproduceError) as error:
        compose(ROW)
    for word in (ROW, *words):
        assert word in str(error.value)


def column(configs, text: str) -> None:
    (configs / "tables" / "omiga" / "mujoco.yaml").write_text(f"columns: {{gaussian: {text}}}")
    tables._stated.cache_clear()


def test_one_entry_of_a_table_makes_a_column_of_rows_run(configs):
    column(configs, "{algo: gaussian_bc, overrides: [algo.lr=0.002, protocol.n_seeds=3]}")
    rows = [row for row in row_ids() if row.endswith("/gaussian")]
    assert len(rows) == 12
    settings = compose("omiga/mujoco/hopper_expert/gaussian", ["algo.lr=0.001"])
    base = compose("omiga/mujoco/hopper_expert")
    assert (settings.row, settings.stated.algo.name) == ("omiga/mujoco/hopper_expert/gaussian", "gaussian_bc")
    assert (settings.stated.algo.lr, settings.stated.protocol.n_seeds) == (0.002, 3)
    assert settings.task == base.task
    assert settings.data == base.data
    assert [d["key"] for d in settings.differs] == ["algo.lr"]
    stated = sources("omiga/mujoco/hopper_expert/gaussian")
    assert stated["algo.lr"] == stated["protocol.n_seeds"] == "configs/tables/omiga/mujoco.yaml"
    assert stated["algo.hidden"] == sources("omiga/mujoco/hopper_expert", ["algo=gaussian_bc"])["algo.hidden"]


def test_a_row_of_a_table_changes_all_of_its_columns():
    """ComaDICE's driver: a hundred stretches of 25 T // 128 // 100 updates over T transitions of the official data."""
    for row, transitions in (("ant_medium", 1_000_000), ("hopper_medium", 915_391), ("ant_medium_expert", 2_000_000)):
        for column_name in ("bc", "omiga"):
            settings = compose(f"comadice/mujoco/{row}/{column_name}")
            assert settings.algo.n_updates == 100 * (25 * transitions // 128 // 100)
            assert not settings.differs
    assert sources("comadice/mujoco/ant_medium/bc")["algo.n_updates"] == "configs/tables/comadice/mujoco.yaml"


def test_another_algorithm_takes_a_rows_budget_and_none_of_its_other_settings():
    row = "cfcql/mpe/world_expert"  # whose file sets n_updates, cql_alpha, lr and repeat_after
    assert compose(row).algo.lr == 0.001
    clone = compose(row, ["algo=gaussian_bc"]).algo
    assert (clone.n_updates, clone.lr) == (5001, 0.0005)
    assert sources(row, ["algo=gaussian_bc"])["algo.lr"] == "as OMIGA"
    assert "released code" in sources(row, ["algo=gaussian_bc"])["algo.n_updates"]
    assert compose(row, ["algo=gaussian_bc", "algo.lr=0.001"]).algo.lr == 0.001
    with pytest.raises(ReproduceError, match="cql_alpha is missing"):
        compose(row, ["algo=omar"])  # which has none but a task's
    omar = compose(row, ["algo=omar", "algo.cql_alpha=5", "algo.omar_coe=0.9"]).algo
    assert (omar.lr, omar.repeat_after, omar.n_updates) == (0.01, 10, 5001)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{algorithm: gaussian_bc}", "unknown key columns.gaussian.algorithm. Nearest: algo"),
        ("{algo: gaussian_bc, overrides: lr}", "columns.gaussian.overrides='lr'"),
    ],
)
def test_a_wrong_column_names_file_and_key(configs, text, words):
    column(configs, text)
    with pytest.raises(ReproduceError, match=r"configs/tables/omiga/mujoco\.yaml") as error:
        row_ids()
    assert words in str(error.value)


def test_an_unknown_choice_of_a_group_lists_the_choices():
    with pytest.raises(ReproduceError, match=r"algo=omga: choose one of bc, .*Nearest: omiga"):
        compose(ROW, ["algo=omga"])


def test_settings_are_attributes_and_frozen():
    settings = compose(ROW, ["protocol.first_seed=7", "protocol.n_seeds=2"])
    assert settings.protocol.seeds == [7, 8]
    assert settings.stated.protocol.first_seed == 0
    with pytest.raises(ValueError, match="frozen"):
        settings.protocol.n_seeds = 3  # type: ignore[misc]
    assert settings.values["algo"]["gamma"] == settings.algo.gamma


@pytest.mark.parametrize("name", algorithms())
def test_settings_read_from_the_text_are_those_of_the_module(name):
    code = f"from lit_modules import algo_config as c; import json; print(json.dumps(c({name!r}).model_json_schema()))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    module_class, config_class = algorithm(name)
    assert json.loads(printed) == config_class.model_json_schema()
    assert module_class.algorithm == name
    assert algo_config(name).model_json_schema() == config_class.model_json_schema()


def test_a_name_that_two_files_register_is_refused(tmp_path):
    for file in ("one", "two"):
        (tmp_path / f"{file}.py").write_text('@register("mine")\nclass Mine: ...\n')
    with pytest.raises(ReproduceError, match=r"one\.py and two\.py both register 'mine'"):
        registry.algorithms(tmp_path)


@pytest.mark.parametrize(("override", "words"), [("algo.beta=0.1", ""), ("algo.bta=0.1", "Nearest: algo.beta")])
def test_composing_and_its_errors_need_no_torch(override, words):
    code = (
        "import sys\nfrom reproduce.config import compose\nfrom data.common.errors import ReproduceError\n"
        f"try:\n    compose('omsd/mpe/cn_expert', [{override!r}])\nexcept ReproduceError as error:\n    print(error)\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *message, facts = run.stdout.splitlines()
    assert words in "".join(message)
    assert facts == "False"


def test_the_schemas_for_editors_are_those_of_the_models():
    from reproduce.schemas import FOLDER, schemas

    for kind, schema in schemas().items():
        written = json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"))
        assert written == json.loads(json.dumps(schema)), f"{kind}: `python -m reproduce.schemas` writes it"


def test_a_program_without_its_checkout_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(ids, "CONFIGS", tmp_path / "configs")
    with pytest.raises(ReproduceError, match="run from a checkout of the project"):
        ids.expand("inspo/xor/ab", ids.row_ids())
