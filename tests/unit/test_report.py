"""The report: self-contained, complete, escaped, with curves where there are records."""

import re
from urllib.parse import unquote

import pytest
from test_records import record

from reproduce import published, records
from reproduce.config import row_ids
from reproduce.report import write_report


@pytest.fixture
def written(tmp_path):
    records.write(record())
    records.write(record(row="inspo/xor/all", score=0.0))
    html, markdown = write_report(tmp_path / "report")
    return html.read_text(), markdown.read_text()


def test_the_page_needs_nothing_from_elsewhere(written, tmp_path):
    page, folder = written[0], tmp_path / "report"
    assert "<script" not in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(//|[^#"' >]+\.(css|js|png)\b)""", page)
    assert not re.search(r"""(src\s*=|<link[^>]*href)\s*["']?https?:""", page)
    links = set(re.findall(r'<a href="([^#"][^"]*)"', page))
    assert {link for link in links if ":" in link} == {"https://arxiv.org/abs/2412.07639"}  # InSPO ran
    for link in {link for link in links if ":" not in link}:  # files of the checkout
        assert (folder / unquote(link)).resolve().exists(), link
    targets = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= targets
    assert "@import" not in page
    assert "url(" not in page


def test_the_rows_by_verdict_stand_first(written):
    """Each row that has run has one mark, in the column of its category; the counts stand above, other names below."""
    page = written[0]
    assert page.index("0 published numbers reproduced") < page.index("Rows by verdict") < page.index("InSPO, XOR game")
    overview = page.partition('<table class="overview">')[2].partition("</table>")[0]
    untried = re.findall(r'<summary>(\d+) not run</summary><div class="fit">(.*?)</div>', overview)
    assert all(int(count) == len(names.split(", ")) for count, names in untried)
    assert overview.count('class="dot') == len(row_ids()) - sum(int(count) for count, _ in untried) > 0
    assert any("ab_ba" in names.split(", ") for _, names in untried)
    lines = {name: line for line in overview.split("<tr>") if (name := re.search(r">(all|ab|ab_ba)<", line))}
    marked = {name[1]: [bool(cell) for cell in re.findall(r"<td>(.*?)</td>", line)] for name, line in lines.items()}
    assert all(sum(cells) == 1 for cells in marked.values())
    assert marked["ab"][2]  # optimum met
    assert marked["all"][3]  # below
    assert "ab_ba" not in marked


def test_the_summary_fits_a_comment(written):
    text = written[1]
    assert len(text.splitlines()) < 60
    assert "0 published numbers reproduced" in text.splitlines()[2]


def test_every_published_number_appears(written):
    page, text = written
    for row in published.rows().values():
        assert row.id.split("/")[2] in page
        if row.bound.mean is not None:
            assert row.printed in page
    assert "inspo" in text


def test_runs_show_verdict_interval_and_curves(written):
    page, text = written
    assert page.count("<svg") >= 2
    for shown in (page, text):
        assert "OPTIMUM MET" in shown
        assert "BELOW" in shown
        assert "regenerated" in shown
    assert "gradient updates" in page
    assert "episode return" in page
    assert "not run" in page or "no config" in page


def test_a_column_links_to_the_file_it_is_read_from_and_a_win_rate_has_no_curve_of_its_own(tmp_path):
    def run(row: str) -> dict:
        scores = {"metric": published.row(row).metric, "mode": published.row(row).mode, "per_seed": [0.5] * 5}
        return record(row=row) | {"scores": scores}

    records.write(run("omar/mpe/spread_expert/ma_cql"))
    records.write(run("inspo/smac/2s3z_mixed"))
    folder = tmp_path / "report"
    page = write_report(folder)[0].read_text()
    links = [link for link in re.findall(r'<a href="([^#"][^"]*)">config', page) if ":" not in link]
    assert any(link.endswith("rows/omar/mpe/spread_expert.yaml") for link in links)
    assert all((folder / unquote(link)).resolve().exists() for link in links)
    (drawn,) = re.findall(r"<svg[^>]*aria-label=\"learning curves of 2s3z_mixed.*?</svg>", page, re.DOTALL)
    assert "episode return" in drawn
    assert "win rate" not in drawn


def test_text_is_escaped(written):
    assert "<b>bold</b>" not in written[0]
    assert "&lt;b&gt;bold&lt;/b&gt;" in written[0]


def test_markdown_tables_are_rectangular(written):
    rows = [line for line in written[1].splitlines() if line.startswith("|")]
    assert rows
    width = 0
    for line in rows:
        cells = len(re.findall(r"(?<!\\)\|", line))
        width = cells if not width or set(line) <= set("|-: ") else width
    blocks = re.split(r"\n\s*\n", written[1])
    for block in blocks:
        table = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) <= 1


def test_claims_show_each_check_and_what_is_out_of_date_does_not_hold(tmp_path, monkeypatch):
    monkeypatch.setattr("reproduce.report.content.changed_since", lambda claim: "rule" if "old" in claim["row"] else "")
    claim = {k: v for k, v in record().items() if k in ("created", "provenance", "time")}
    apart = {"text": "does not", "passed": False, "at_least": 0.5, "difference_low": -1.0}
    checks = {
        "x": [{"text": "holds & fine", "passed": True}, apart | {"difference_high": 0.0}],
        "y": [apart | {"difference_high": 0.75}],
        "old": [{"text": "was fine", "passed": True}],
    }
    for name, its in checks.items():
        passed = all(check["passed"] for check in its)
        records.write(
            {**claim, "kind": "claim", "row": f"claims/inspo/{name}", "checks": its, "arms": {}, "passed": passed}
        )
    page, text = (path.read_text() for path in write_report(tmp_path))
    assert "holds &amp; fine" in page
    assert "FAILS: does not (difference in [-1, 0])" in page
    assert "not shown: does not (difference in [-1, 0.75])" in page
    assert "HOLDS, but its rule changed since" in page
    assert "0 of 3 claims hold; not: " in text
    for told in (
        "claims/inspo/x (FAILS)",
        "claims/inspo/y (INCONCLUSIVE)",
        "claims/inspo/old (its rule changed since)",
    ):
        assert told in text


def test_an_empty_project_still_has_a_report(tmp_path):
    html, markdown = write_report(tmp_path)
    assert "OMIGA" in html.read_text()
    assert "OMIGA" in markdown.read_text()
