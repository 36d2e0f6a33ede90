"""Tables of algorithms on the same data: what their files say, which run a cell holds, what is shown."""

import shlex

import pytest
from gen.matrix_tables import algorithms_on
from test_records import record

from data.common.errors import ReproduceError
from data.common.paths import CONFIGS, ROOT
from data.common.validation import checked
from data.common.yaml_files import read_yaml
from reproduce import records
from reproduce.config import Settings, compose, matrices
from reproduce.config.matrices import MatrixFile, matrix, matrix_names
from reproduce.config.today import composed_today
from reproduce.report import write_report
from reproduce.report.matrices import NOT_RUN, OTHER, ROUNDED, cell, filled

QUEUES = {"particles": ("particle_worlds", "particle_matrix"), "mujoco": ("omiga_baselines",)}
RETURNS = {"mean": 527.675, "std": 75.0, "min": 112.65, "max": 745.65, "p50": 532.56}
FILE = {
    "title": "Two",
    "text": "Equal updates.",
    "metric": "normalized_score",
    "data_of": "BC",
    "columns": {"OMAR": "omar/mpe/{line}", "BC": "omar/mpe/{line} algo=gaussian_bc", "OMSD": "omsd/mpe/{omsd}"},
    "lines": {"spread_expert": {"omsd": "cn_expert"}},
}


def words(command: str) -> tuple[str, frozenset[str]]:
    """The row and what decides the run."""
    row, *overrides = shlex.split(command)
    return row, frozenset(o for o in overrides if not o.startswith(("accelerate=", "run.", "protocol.eval_every=")))


def commands_of(queue: str) -> list[str]:
    return read_yaml(CONFIGS / "queue" / f"{queue}.yaml", queue)["commands"]


def composed(commands: list[str]) -> list[Settings]:
    found = composed_today([(row, overrides) for row, *overrides in map(shlex.split, commands)])
    assert not [text for text in found if isinstance(text, str)]
    return [settings for settings in found if isinstance(settings, Settings)]


@pytest.mark.parametrize("name", matrix_names())
def test_queues_run_every_cell_and_every_command_composes(name):
    asked = matrix(name)
    assert not [cell for cell in asked.cells.values() if isinstance(cell, str)]
    queued = [command for queue in QUEUES[name] for command in commands_of(queue)]
    assert {words(asked.file.command(*key)) for key in asked.cells} <= {words(command) for command in queued}
    assert len(composed(queued)) == len(queued)


def test_cloning_is_queued_for_each_budget_of_omars_and_cfcqls_rows():
    queued = [command for queue in QUEUES["particles"] for command in commands_of(queue)]
    cloned = {(c.data.id, c.algo.n_updates) for c in composed(queued) if c.algo.name == "gaussian_bc"}
    rows = {(c.data.id, c.algo.n_updates) for c in composed(queued) if c.algo.name in ("omar", "cfcql")}
    assert rows <= cloned


def test_the_matrix_of_the_particle_worlds_is_eight_algorithms_on_twelve_datasets():
    asked = matrix("particles")
    names = {asked.cells[head, line].algo.name for head, line in asked.cells}
    assert names == {"gaussian_bc", "omar", "cfcql", "td3_bc_ma", "iql_ma", "omiga", "omsd"}
    assert len(asked.file.columns) == 8
    assert len({asked.cells["BC", line].data.id for line in asked.file.lines}) == 12
    for line in asked.file.lines:
        equal = [asked.cells[head, line].algo.n_updates for head in ("OMAR", "MA-CQL", "BC", "TD3+BC", "IQL", "OMIGA")]
        assert len(set(equal)) == 1


@pytest.mark.parametrize(("head", "line"), [("BC", "spread_random"), ("MA-CQL", "tag_expert")])
def test_a_cell_is_what_hydra_composes(head, line):
    asked = matrix("particles")
    row, *overrides = asked.file.command(head, line).split()
    assert asked.cells[head, line] == compose(row, overrides)


@pytest.mark.slow
@pytest.mark.parametrize("name", matrix_names())
def test_every_column_is_what_hydra_composes(name):
    asked, lines = matrix(name), list(matrix(name).file.lines)
    for k, head in enumerate(asked.file.columns):  # each on another line
        row, *overrides = asked.file.command(head, lines[k]).split()
        assert asked.cells[head, lines[k]] == compose(row, overrides)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_of": "BCC"}, "data_of='BCC' is no column. Nearest: BC"),
        ({"columns": FILE["columns"] | {"X": "omar/mpe/{name}"}}, "columns.X asks for {name}, which lines.spread_exp"),
        ({"columns": FILE["columns"] | {"X": "omar/mpe/{line"}}, "columns.X: 'omar/mpe/{line': expected '}'"),
        ({"columns": FILE["columns"] | {"X": ""}}, "sets nothing; write a row and its overrides"),
        ({"columns": FILE["columns"] | {"X": "omar/mpe/spread_random"}}, "line spread_expert has several datasets"),
        ({"lines": {}}, "lines"),
        ({"tittle": "x"}, "unknown key tittle. Nearest: title"),
    ],
)
def test_a_file_with_a_fault_says_what_is_wrong(change, said, tmp_path, monkeypatch):
    (tmp_path / "matrices").mkdir()
    (tmp_path / "matrices" / "mine.yaml").write_text(str(FILE | change))
    monkeypatch.setattr(matrices, "CONFIGS", tmp_path)
    with pytest.raises(ReproduceError, match=r"configs/matrices/mine\.yaml: ") as caught:
        matrix("mine")
    assert said in str(caught.value)


def test_an_unknown_matrix_names_the_nearest():
    with pytest.raises(ReproduceError, match=r"no matrix named 'particle' .* Nearest: particles"):
        matrix("particle")


# ---- cells


@pytest.fixture(scope="module")
def asked():
    file = checked(MatrixFile, FILE, "a file")
    keys = [(head, line) for head in file.columns for line in file.lines]
    commands = [file.command(*key).split() for key in keys]
    cells = composed_today([(row, overrides) for row, *overrides in commands])
    return matrices.Matrix("two", file, dict(zip(keys, cells, strict=True)))


def run(asked, head: str, scores: list, sha256: str = "aa", hour: int = 0, **returns: float) -> dict:
    settings = asked.cells[head, "spread_expert"]
    made = record(f"2026-01-02T{hour:02d}:00:00+00:00", settings.row) | {"config": settings.values}
    facts = {"id": settings.data.id, "kind": "regenerated", "sha256": sha256, "n_transitions": 25, "n_episodes": 1}
    facts |= {"return": RETURNS | returns}
    scores = {"metric": "normalized_score", "mode": "greedy", "per_seed": scores, "data": 103.04}
    made["environment"] = made["environment"] | {"fingerprint": settings.task.fingerprint}
    return made | {"data": facts, "scores": scores, "overrides": settings.overrides, "n_updates": 2001}


SCORES = [10.0, 12.0, 11.0, 13.0, 14.0]


def test_nothing_recorded_is_a_table_that_says_so(asked):
    shown = filled(asked, [])
    assert shown.cells == [["", "data", "OMAR", "BC", "OMSD"], ["spread_expert", "", NOT_RUN, NOT_RUN, NOT_RUN]]
    assert (shown.filled, shown.wanted, shown.notes) == (0, 3, [])
    assert [line[1] for line in shown.budgets[1:]] == [NOT_RUN] * 3


def test_a_cell_is_the_mean_with_its_interval(asked):
    """t(.975, 4) = 2.776445; s = 1.581139, so 12 +- 1.963."""
    assert cell(run(asked, "BC", SCORES)) == "12.0 [10.0, 14.0]"
    assert cell(run(asked, "BC", [1000.0 + score for score in SCORES])) == "1012 [1010, 1014]"
    assert cell(run(asked, "BC", [3.0])) == "3.0 (n = 1)"
    lost = run(asked, "BC", [*SCORES[:4], None]) | {"crashed": [{"seed": 4}]}
    assert cell(lost) == "11.5 [9.4, 13.6] (1 diverged) (n = 4)"
    assert cell(run(asked, "BC", [None] * 5)) == "diverged"


def test_a_run_with_other_settings_seeds_or_data_is_none_of_the_cell(asked):
    good = run(asked, "OMAR", SCORES)
    config = good["config"]
    others = [
        good | {"config": config | {"algo": config["algo"] | {"repeat_after": None}}},
        good | {"config": config | {"data": config["data"] | {"kind": "official"}}},
        good | {"config": config | {"data": config["data"] | {"seed": 3}}},
        good | {"seeds": [0, 1, 2]},
        good | {"scores": good["scores"] | {"metric": "episode_return"}},
        good | {"row": "omar/mpe/spread_medium"},
        good | {"kind": "reference"},
        good | {"environment": good["environment"] | {"fingerprint": "another world's"}},
        good | {"config": config | {"run": config["run"] | {"matmul_precision": "medium"}}},
    ]
    assert filled(asked, others).filled == 0
    carried = good | {"config": config | {"run": config["run"] | {"device": "cuda", "threads": 7}}}
    shown = filled(asked, [carried])
    assert shown.cells[1] == ["spread_expert", "103.0", "12.0 [10.0, 14.0]", NOT_RUN, NOT_RUN]
    assert shown.budgets[1][:6] == ["OMAR", "2,001", "1024", "5", "10", "bootstrap"]
    assert shown.budgets[3][1] == NOT_RUN


def test_the_newest_run_counts_and_the_lines_own_copy_of_the_data_comes_first(asked):
    found = [
        run(asked, "OMAR", [1.0] * 5, hour=1),
        run(asked, "OMAR", [2.0] * 5, hour=2),
        run(asked, "OMAR", [3.0] * 5, "bb", hour=3),
        run(asked, "BC", [4.0] * 5, hour=4),
    ]
    assert filled(asked, found).cells[1][2:4] == ["2.0 [2.0, 2.0]", "4.0 [4.0, 4.0]"]
    assert filled(asked, found[:3]).cells[1][2] == "3.0 [3.0, 3.0]"  # no cloning: the newest says which data


def test_other_copies_of_the_data_are_marked_not_hidden(asked):
    found = [run(asked, "BC", SCORES), run(asked, "OMAR", SCORES, "bb"), run(asked, "OMSD", SCORES, "cc", mean=600.0)]
    shown = filled(asked, found)
    assert shown.cells[1][2:] == [f"12.0 [10.0, 14.0] {ROUNDED}", "12.0 [10.0, 14.0]", f"12.0 [10.0, 14.0] {OTHER}"]
    rounded, other = shown.notes
    assert rounded.startswith(ROUNDED)
    assert rounded.endswith("spread_expert bb, the line's is aa.")
    assert other.startswith(OTHER)
    assert other.endswith("spread_expert cc, the line's is aa.")


def test_a_command_that_cannot_run_says_why_below_the_table(asked):
    broken = matrices.Matrix("two", asked.file, asked.cells | {("OMSD", "spread_expert"): "no row named 'x'."})
    shown = filled(broken, [])
    assert shown.cells[1][4].startswith("cannot run")
    assert shown.notes[0].endswith("omsd/mpe/cn_expert: no row named 'x'.")


def test_the_report_and_the_docs_show_it(tmp_path):
    asked = matrix("particles")
    row = run(asked, "BC", SCORES)
    records.write(row)
    page, text = (path.read_text() for path in write_report(tmp_path))
    assert "Eight algorithms on the data of the particle worlds: 1 of 96 runs" in page
    assert "<td>12.0 [10.0, 14.0]</td>" in page
    assert "Eight algorithms on the data of the particle worlds (1 of 96 runs)" in text
    assert 'id="matrices"' not in write_report(tmp_path / "part", "omar/*")[0].read_text()


def test_the_docs_page_holds_what_is_recorded(monkeypatch):
    monkeypatch.setenv("REPRODUCE_RECORDS", str(ROOT / "records"))
    for name in matrix_names():
        shown, page = filled(matrix(name), records.read("*", "row")), algorithms_on(name)
        for line in shown.cells[1:]:
            assert "| " + " | ".join(line) + " |" in page.replace("\u00a0", " ")
