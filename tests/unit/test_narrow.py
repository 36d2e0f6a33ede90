"""A terminal of 80 columns shows every row's name and verdict whole; only what cannot be cut runs over."""

import math
from itertools import pairwise

import pytest

from data.common.paths import ROOT
from reproduce import published, records
from reproduce.cli import main
from reproduce.cli.format import LIST_HEAD, RESULT_DROP, RESULT_HEAD, columns, deviation, listed, mean_std, short_mean
from reproduce.config import row_ids
from reproduce.standing import count, standings

LONGEST = max(row_ids(), key=len)
OURS, WORST = "-1234.5 ± 1234.5 (n=10)", "REPRODUCED, vacuous"


@pytest.fixture(autouse=True)
def _committed_records(monkeypatch):
    monkeypatch.setenv("REPRODUCE_RECORDS", str(ROOT / "records"))
    monkeypatch.setenv("COLUMNS", "80")


def lines_of(capsys, *argv: str) -> list[str]:
    assert main(list(argv)) in (0, 1, 2, 3)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "command", ["list", "list --all", "check *", "data list", "diff inspo/xor/ab", "diff omsd/mpe/cn_expert algo.lr=1"]
)
def test_tables_fit(command, capsys):
    lines = lines_of(capsys, *command.split())
    assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_list_shows_what_runs_by_table_with_both_numbers_verdict_and_time(capsys, monkeypatch):
    lines, hidden = lines_of(capsys, "list"), len(published.rows()) - len(row_ids())
    sentence = count(standings(published.match("*"), records.read()).values()).sentence
    assert " ".join(lines).startswith(sentence)
    assert not any("cannot run yet" in line for line in lines[:-1])
    assert lines[-1] == f"{hidden} more published numbers cannot run yet: `reproduce list --all` shows them."
    titles = [t.title for name, t in published.tables().items() if any(r.startswith(f"{name}/") for r in row_ids())]
    heads = [before for before, line in pairwise(lines) if line.startswith("row ")]
    assert [head.partition(": ")[0] for head in heads] == titles
    everything = lines_of(capsys, "list", "--all")
    assert sum("cannot run yet" in line for line in everything) == hidden
    monkeypatch.setenv("COLUMNS", "160")
    (line,) = [line for line in lines_of(capsys, "list", "omsd/mpe") if line.startswith("omsd/mpe/cn_expert ")]
    each = published.row("omsd/mpe/cn_expert")
    assert line.split()[1] == each.printed.split()[0]
    assert " ± " in line
    assert line.split()[-1] in ("s", "min", "h", "days")


def test_where_names_leave_no_room_their_common_part_goes_into_the_title():
    prefix = "/".join(LONGEST.split("/")[:2]) + "/"
    text = listed(prefix, "Title", [[LONGEST, "-1234.5 ± 1234.5", "-1234 ± 12", "INCONCLUSIVE", "3 h"]])
    title, head, line = text.splitlines()
    assert title == f"Title: {prefix}.."
    assert line.startswith(LONGEST.removeprefix(prefix))
    assert "INCONCLUSIVE" in line
    assert len(line) <= 80
    assert head.split() == LIST_HEAD[: len(head.split())]


def test_of_several_results_row_and_verdict_stay():
    cells = [LONGEST, WORST, OURS, "-1234.5 ± 1234.5", "[-1234.5, 1234.5]", "123.4", "regenerated", "12345"]
    head, line = columns(RESULT_HEAD, [cells], RESULT_DROP).splitlines()
    assert line == f"{LONGEST}  {WORST}"
    assert head.split() == ["row", "verdict"]


def test_a_column_of_a_table_stands_below_its_row_where_names_leave_no_room(monkeypatch):
    lines = [["omiga/mujoco/hopper_medium", "1189.26 ± 544.30", "", "not run", ""]]
    lines += [["omiga/mujoco/hopper_medium/cql_ma", "401.27 ± 199.88", "", "not run (2 others)", ""]]
    for wide, name in ((80, "omiga/mujoco/hopper_medium/cql_ma"), (63, "hopper_medium/cql_ma"), (52, "  ../cql_ma")):
        monkeypatch.setenv("COLUMNS", str(wide))
        last = listed("omiga/mujoco/", "T", lines).splitlines()[-1]
        assert last.startswith(f"{name}  ")
        assert len(last) <= wide


def test_columns_whose_row_is_not_listed_have_its_name_above_them(monkeypatch):
    monkeypatch.setenv("COLUMNS", "45")
    names = ["hopper_expert/bc", "hopper_expert/icq", "hopper_medium/bc", "  data.id=omiga/other", "hopper_medium/icq"]
    lines = [[f"comadice/mujoco/{n}" if n[0] != " " else n, "-1189.26 ± 5544.30", "", "not run", ""] for n in names]
    below = [line.split("  -1")[0].rstrip() for line in listed("comadice/mujoco/", "T", lines).splitlines()[2:]]
    bc, icq = "  ../bc", "  ../icq"
    assert below == ["hopper_expert", bc, icq, "hopper_medium", bc, "  data.id=omiga/other", icq]


def test_a_row_that_no_published_number_stands_beside_is_not_called_undecided(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    verdicts = {line.split("  ")[0]: line for line in lines_of(capsys, "list", "cfcql/mpe/tag_*")}
    assert "no published number" in verdicts["cfcql/mpe/tag_expert"]
    assert "INCONCLUSIVE" in verdicts["cfcql/mpe/tag_random/macql"]


@pytest.mark.parametrize(
    ("std", "text"),
    [(141.9, "142"), (99.6, "100"), (99.4, "99"), (0.0341, "0.034"), (0.0, "0"), (math.nan, "nan")],
)
def test_a_deviation_has_no_exponent(std, text):
    assert deviation(std) == text


def test_a_deviation_that_is_unknown_is_not_printed_as_zero():
    assert (mean_std(1.25, 0.3, 5), mean_std(1.25, None, 1)) == ("1.25 ± 0.3 (n=5)", "1.25 (n=1)")
    assert (short_mean(1.25, 0.0, 5), short_mean(1.25, None, 1)) == ("1.25 ± 0", "1.25 (n=1)")
