"""The programs that write the documentation: macros and generated pages; no prose holds a number of ours typed."""

import re
from dataclasses import replace
from statistics import fmean

import pytest
import yaml
from gen import data_page, facts, macros, pages, readme, row_pages, tables

from data.common.errors import ReproduceError
from data.common.paths import ROOT
from reproduce import judge, published, records, standing

ROW = "omsd/mpe/cn_expert"
LONG = "budget=omsd_long data.id=omar/simple_spread-expert variant=low_noise"


@pytest.fixture(autouse=True)
def _committed_records(monkeypatch):
    monkeypatch.setenv("REPRODUCE_RECORDS", str(ROOT / "records"))


def newest(row: str, *overrides: str) -> dict:
    """The newest record whose overrides, but for those of `run`, are these."""
    found = records.read(row, "row")
    return [r for r in found if {o for o in r["overrides"] if not o.startswith("run.")} == set(overrides)][-1]


def test_a_macro_gives_the_records_number():
    scores = newest(ROW, "budget=omsd_long", "variant=low_noise")["scores"]["per_seed"]
    assert macros.score(ROW, LONG) == f"{fmean(scores):.1f}"
    assert (
        macros.score(ROW, "variant=low_noise data.id=omar/simple_spread-expert budget=omsd_long", 3)
        == f"{fmean(scores):.3f}"
    )
    assert macros.spread(ROW, LONG).startswith(f"{fmean(scores):.1f} ± ")


def test_a_rows_own_settings_are_those_on_its_own_data_whatever_is_free():
    own = facts.own(ROW)
    assert own["data"]["id"] == facts.values(ROW)["data.id"] == "omar/simple_spread-expert-one-team"
    assert macros.score(ROW) == f"{fmean(own['scores']['per_seed']):.1f}"
    ten = macros.spread("omsd/mpe/pp_random")
    five = macros.spread("omsd/mpe/pp_random", "protocol.n_seeds=5")
    assert ten.endswith("(n = 10)")
    assert ten != five


def test_a_number_that_no_record_holds_ends_the_build():
    with pytest.raises(ReproduceError, match=rf"{ROW}.*'budget=omsd_full'"):
        macros.score(ROW, "budget=omsd_full")
    with pytest.raises(ReproduceError, match="omsd/mpe/cn_exprt"):
        macros.spread("omsd/mpe/cn_exprt")
    with pytest.raises(ReproduceError, match=r"cn_expert.*'protocol.n_seeds=7'"):
        macros.score(ROW, "protocol.n_seeds=7")
    with pytest.raises(ReproduceError, match=r"simple_spread-exprt.*simple_spread-expert"):
        macros.official("omar/simple_spread-exprt")
    with pytest.raises(ReproduceError, match="no record of the claim 'inspo/order'"):
        macros.claim("inspo/order")
    with pytest.raises(ReproduceError, match=r"algo.bata.*algo.beta"):
        macros.setting(ROW, "algo.bata")


def test_without_records_nothing_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("REPRODUCE_RECORDS", str(tmp_path))
    with pytest.raises(ReproduceError, match=f"no record of row {ROW}"):
        macros.score(ROW)
    assert facts.category(published.row(ROW)) == standing.UNTRIED


def test_the_page_of_a_table_holds_the_rows_own_results():
    page = pages.results(published.tables()["omsd/mpe"]).replace("\u00a0", " ")
    verdict = facts.verdict(facts.own(ROW))
    line = next(line for line in page.splitlines() if line.startswith("| [cn_expert]"))
    assert f"| {published.row(ROW).printed.removesuffix(' ± unknown')} | {macros.spread(ROW)} (n = 5) |" in line
    assert f"[{verdict.low:.1f}, {verdict.high:.1f}], margin 5 | {facts.category(published.row(ROW))}" in line
    assert "](../rows/omsd/mpe/cn_expert.md)" in line
    readings = page.partition("## Other readings")[2].partition("##")[0]
    critic = macros.spread("omsd/mpe/cn_random", "budget=omsd_critic")
    assert f"`budget=omsd_critic` | 69.8 | {critic} (n = 5)" in readings
    assert "112 ± 4" in page.partition("## All published numbers")[2]  # a baseline's printed number


def test_the_page_of_a_row_holds_settings_sources_readings_and_records():
    page = row_pages.page(ROW).replace("\u00a0", " ")
    settings, sources = facts.values(ROW), facts.source_of(ROW)
    for key, value in settings.items():
        if key != "row":
            source = sources.get(key, "").replace("|", "\\|")
            assert f"| `{key}` | `{value}` | {source} |" in page
    history = page.partition("## History")[2]
    assert history.count("\n| 2026-") == len(records.read(ROW, "row"))
    assert newest(ROW)["provenance"]["commit"][:10] in history
    assert "| `budget=omsd_full` |  |  | not run |" in page
    assert page.splitlines()[2].startswith("Claim (listing): normalized score 102.3")
    assert f"reproduce {ROW}" in page


def test_the_page_of_a_row_holds_what_training_reported_at_its_end():
    reported = {"train": {"value/z_std": [0.25, 0.5, 0.75], "loss/q": [1.0, None, 3.0], "loss/v": [None, None, None]}}
    found = "\n".join(row_pages.diagnostics({"diagnostics": reported}))
    assert "| `train` | `value/z_std` | 0.5 | 0.25 | 0.75 |" in found
    assert "| `train` | `loss/q` | 2 | 1 | 3 |" in found
    assert "loss/v" not in found
    assert row_pages.diagnostics({}) == []


def test_every_dataset_is_on_the_page_of_data_built_or_not():
    page = data_page.page()
    for name in facts.datasets():
        assert f"| {name.split('/', 1)[1]} |" in page
    assert "2452 ± 1098 [95, 3763], 1,481 episodes" in page  # the data card of Hopper's expert data
    assert "not built here" in page


def test_the_first_table_says_which_numbers_runs_could_show_at_all():
    wide, narrow = published.row("omar/mpe/spread_medium"), published.row("omiga/mujoco/ant_medium")  # 47.9 ± 18.9
    unknown = replace(narrow, bound=replace(narrow.bound, delta=None))
    assert tables._provable([wide, unknown]) == 0
    assert tables._provable([wide, unknown, narrow]) == 1
    of_all = {line.split(" | ")[0]: int(line.split(" | ")[-1].strip(" |")) for line in tables.holds().splitlines()[2:]}
    undecided = of_all["| inconclusive"]
    beyond, within = (n for name, n in of_all.items() if "our" in name)
    assert max(beyond, within) <= undecided
    open_rows = [row for row in published.rows().values() if facts.category(row) == standing.OPEN]
    never = [row for row in open_rows if facts.verdict(facts.own(row.id)).seeds_needed == "impossible"]
    assert (undecided, beyond) == (len(open_rows), len(never))
    assert within == sum(facts.verdict(facts.own(row.id)).within_reported_std is True for row in open_rows)


def test_rows_worth_running_are_precise_and_far_from_cloning():
    lines = {line.split(" | ")[0].strip("| "): line for line in tables.worth_running("omiga/mujoco").splitlines()[2:]}
    assert len(lines) == 12
    assert lines["ant_expert"].endswith("| yes | 2046 ± 6.2 | within |")
    assert lines["halfcheetah_medium"].endswith("| yes | 2280 ± 178.2 | outside |")
    assert "| no |" in lines["hopper_medium"]
    of_all = tables.telling()
    assert "`comadice/mujoco/halfcheetah_medium/omiga` | 3608.13 ± 237.37 | 389.4 | 2280 | 195,300 |" in of_all
    assert "omsd/mujoco/hopper_medium" in of_all  # its data are OMIGA's
    assert "`comadice/mujoco/halfcheetah_medium` | 2664.71 ± 54.19" in of_all
    for left_out in ("ant_expert", "hopper_medium/omiga", "/bc`", "mpe"):
        assert left_out not in of_all


def test_known_optima_and_vacuous_rows_are_counted_apart_from_reproduced_numbers():
    both = {name: facts.standings()[name] for name in (ROW, "inspo/xor/ab")}
    kinds = {}
    for state, vacuous in (
        ("REPRODUCED", False),
        ("REPRODUCED", True),
        ("REPRODUCED", None),
        ("BELOW", None),
        ("INCONCLUSIVE", None),
    ):
        for name, each in both.items():
            named = "OPTIMUM MET" if state == "REPRODUCED" and name != ROW else state
            own = replace(each.own, verdict=replace(each.own.verdict, state=named, vacuous=vacuous))
            kinds.setdefault((state, vacuous), []).append(standing.category(replace(each, own=own)))
    assert kinds["REPRODUCED", False] == [standing.REPRODUCED, standing.OPTIMUM]
    assert kinds["REPRODUCED", True] == [standing.VACUOUS, standing.OPTIMUM]
    assert kinds["REPRODUCED", None] == [standing.UNCHECKED, standing.OPTIMUM]
    assert kinds["BELOW", None] == [standing.BELOW, standing.MISSED]  # no published number is missed there
    assert kinds["INCONCLUSIVE", None][0] == standing.OPEN
    counts = facts.counts(published.rows().values())
    assert sum(counts.by.values()) == len(published.rows())
    assert counts.runs == len(published.rows()) - counts.by[standing.NO_CONFIG]
    printed = [row for row in published.rows().values() if row.bound.mean is not None]
    assert counts.printed == len(printed)
    assert counts.untried == sum(facts.category(row) == standing.UNTRIED for row in printed)
    poster = [row for row in printed if row.id.startswith("omiga/mujoco/ant_medium")]  # ComaDICE's table has them too
    assert facts.counts([*poster, *poster]).reprinted == len(poster)
    assert facts.counts(poster).reprinted == 0
    assert 0 < counts.reprinted < counts.printed / 2


def test_a_budget_for_cpus_is_not_the_full_one():
    """The development code's budget of OMSD's rows is the full one; their own is what a CPU carries."""
    for name, own_is_full in (("omar/mpe/spread_expert", True), ("omsd/mpe/cn_medium", False)):
        each = facts.standings()[name]
        assert each.own is not None
        assert replace(each, readings=[]).at_full_budget is own_is_full
        assert replace(each, readings=[replace(each.own, name="budget=omsd_full")]).at_full_budget


def test_the_readme_holds_what_the_records_say_and_is_short():
    text = readme.README.read_text(encoding="utf-8")
    assert readme.filled(text) == text, "run `.venv/bin/python docs/gen/readme.py`"
    assert text.count("\n") <= 130
    with pytest.raises(ReproduceError, match="holds"):
        readme.filled(text.replace("<!-- end of holds -->", ""))


def test_the_simulated_rule_is_the_judges():
    import numpy as np

    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(size=(60, 5)), rng.normal(0.8, 2.0, size=(60, 4))
    names = {"REPRODUCED": 1, "BELOW": -1, "ABOVE": -1, "INCONCLUSIVE": 0}
    for delta in (0.4, 2.5, 4.0):
        found = []
        for mine, other in zip(ours, theirs, strict=True):
            bound = judge.Bound(other.mean(), other.std(ddof=1), 4, "sample", delta=delta)
            found.append(names[judge.judge(mine, bound).state])
        assert tables.states(ours, theirs, delta).tolist() == found
    assert len(set(found)) > 1


NUMBER = re.compile(r"(?<![\w.])-?(?:\d+[.,]\d+|\.\d+|\d{2,})(?![\w])")
NAMES = r"\d{4}-\d\d-\d\d|20\d\d|arXiv \d+\.\d+"  # dates, years and papers


@pytest.mark.parametrize("name", ["inspo", "omiga", "omsd"])
def test_a_diary_types_no_number_without_a_source(name):
    """Every number of a paragraph is a macro's, or in code, or the paragraph has a footnote that names the source."""
    text = (ROOT / "docs" / "papers" / f"{name}.md").read_text(encoding="utf-8")
    for paragraph in re.split(r"\n\n|\n(?=\| |- |\[\^)", text):
        if "[^" in paragraph:
            continue
        bare = re.sub(r"\{\{.*?\}\}|`[^`]*`|\]\([^)]*\)|" + NAMES, "", paragraph, flags=re.DOTALL)
        assert not NUMBER.findall(bare), paragraph


def test_the_citation_says_who_and_what():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    assert cited["authors"] == [{"name": "The reproduce-offline-marl developers"}]
    assert f'version = "{cited["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_page_that_the_navigation_names_is_there_or_written():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    written = {"results/index.md", "rows/index.md", "data.md"}
    for page in re.findall(r"[\w/]+\.md", text):
        assert page in written or (ROOT / "docs" / page).is_file(), page


def test_every_page_is_named_in_the_navigation():
    """A page that it leaves out ends `make docs`; pages of papers, tables and rows are listed by docs/gen/nav.py."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "Papers: [papers]" in text
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"[\w/]+\.md", text))
    assert {folder.parent.name for folder in (ROOT / "docs").glob("*/*.md")} == {"papers"}
