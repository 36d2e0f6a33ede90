"""The matrix of scores on the same data: what is a column, which record counts, and what the site shows of it."""

from gen import pages
from test_records import record

from data.common.paths import ROOT
from reproduce import published, records
from reproduce.judge import Bound, judge
from reproduce.report import write_report
from reproduce.report.comparison_matrix import OWN, cell, matrix, settings_of
from reproduce.standing import standings

ROW = "omsd/mpe/cn_expert"
TABLE = published.tables()["omsd/mpe"]


def run(*overrides: str, score: float = 10.0, hour: int = 0, data: str = "a", n: int = 5) -> dict:
    made = record(f"2026-01-02T{hour:02d}:00:00+00:00", ROW)
    changed = [o for o in overrides if not o.startswith("run.")]
    made["verdict"] = judge([score] * n, Bound(mean=102.3, delta=5.0, decimals=1), changed).to_json()
    made["scores"] = {
        "metric": "normalized_score",
        "mode": "greedy",
        "per_seed": [score - 1, *[score] * (n - 2), score + 1],
    }
    made |= {
        "overrides": list(overrides),
        "seeds": list(range(n)),
        "data": {"id": data, "kind": "regenerated", "sha256": "0"},
    }
    return made


def test_what_is_free_is_no_setting_and_a_point_of_a_sweep_is_in_a_curve():
    assert settings_of(run("run.threads=1", "data.id=a", "protocol.n_seeds=10")) == OWN
    assert settings_of(run("algo.method=ctde", "run.accelerate=compile", "algo=x")) == "algo.method=ctde, algo=x"
    assert settings_of(run("algo.beta=0.1")) is None


def test_a_line_per_dataset_and_a_column_per_setting_the_most_seeds_counting():
    found = [
        run(score=20.0, n=10),
        run(score=30.0, n=10),
        run(score=60.0),
        run("variant=bootstrap", score=40.0),
        run("budget=b", score=50.0, data="other"),
        run("algo.beta=0.1"),
    ]
    own = judge([30.0 - 1, *[30.0] * 8, 30.0 + 1], Bound(mean=102.3, delta=5.0))
    assert matrix(found, TABLE.rows, {id(found[1]): own}) == [
        ["Row", "Data", "Theirs", OWN, "budget=b", "variant=bootstrap"],
        ["cn_expert", "a", "102.3", "30.0 ± 0.5 (n = 10) BELOW", "", "40.0 ± 0.7"],
        ["cn_expert", "other", "102.3", "", "50.0 ± 0.7", ""],
    ]
    assert matrix([run(), run(hour=1)], TABLE.rows) == []


def test_the_page_shows_it(tmp_path):
    records.write(run(score=20.0))
    records.write(run("variant=bootstrap", score=77.7))
    page = write_report(tmp_path)[0].read_text()
    assert "On the same data" in page
    assert "77.7 ± 0.7" in page


def test_what_the_results_page_shows_was_recorded(monkeypatch):
    monkeypatch.setenv("REPRODUCE_RECORDS", str(ROOT / "records"))
    recorded: dict[tuple, str] = {}
    for each in standings(list(TABLE.rows)).values():
        judged = [result.record for result in [each.own, *each.readings] if result]
        for result in each.history:  # oldest first: the newest counts
            r, own = result.record, result.record in judged
            key = r["row"].split("/")[2], r["data"]["id"], settings_of(r)
            recorded[key] = cell(r, result.verdict if own else None)
    page = pages.results(TABLE)
    first, *others = [text.partition("\n\n")[0] for text in page.split("| Row | Data | Theirs |")[1:]]
    assert first.count("\n") >= 10  # nine rows below the head and its rule
    assert OWN in first.partition("\n")[0]
    shown = 0
    for block in (first, *others):
        settings, _, *lines = ([text.strip(" `") for text in line.strip("|").split("|")] for line in block.splitlines())
        for row, data, theirs, *cells in lines:
            assert theirs == TABLE.rows[f"omsd/mpe/{row}"].printed.removesuffix(" ± unknown")
            quoted = {(row, data, label): text for label, text in zip(settings, cells, strict=True) if text}
            assert quoted.items() <= recorded.items()
            shown += len(quoted)
    assert shown == sum(1 for _, _, label in recorded if label is not None)
