"""What a CI reads: JUnit XML, markdown summaries, and the workflow files. No GitHub is at hand to run those."""

import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from test_records import record

from data.common.errors import ReproduceError
from data.common.paths import ROOT
from reproduce import records
from reproduce.cli import ci
from reproduce.cli.entry import main
from reproduce.judge import Bound, judge
from reproduce.records import claim_document, row_document


def document(score: float, row: str = "inspo/xor/ab", bound: Bound | None = None) -> dict:
    verdict = judge([score] * 5, bound or Bound(optimum=1.0, delta=0.005)).to_json()
    return row_document(record(row=row) | {"verdict": verdict})


UNKNOWN = document(1.0, "omsd/mpe/cn_random", Bound())
CLAIM = claim_document({"row": "claims/a/b", "checks": [{"text": "x < y & z", "passed": False}], "passed": False})
ERROR = {"row": "omiga/mujoco/ant_expert", "error": "no \x1b[31mworld", "exit_code": 4}
ALL = [document(1.0), document(0.0), UNKNOWN, CLAIM, ERROR]


def test_junit_tells_failures_from_what_decides_nothing_and_from_errors():
    suites = ElementTree.fromstring(ci.junit_xml(ALL, "inspo/*"))
    (suite,) = suites
    assert suite.attrib == {"name": "inspo/*", "tests": "5", "failures": "2", "skipped": "1", "errors": "1"}
    found = {case.get("name"): [child.tag for child in case] for case in suite}
    assert found == {"ab": ["failure"], "cn_random": ["skipped"], "b": ["failure"], "ant_expert": ["error"]}
    passed, failed = suite[0], suite[1]
    assert len(passed) == 0
    assert (failed.get("classname"), failed.get("time")) == ("inspo.xor", "1.00")
    assert failed[0].get("message") == "BELOW (regenerated data)"
    assert "ours 0 ± 0 (n=5)" in failed[0].text
    assert suite[3][0].text == "FAILS: x < y & z"
    assert suite[4][0].text == "no [31mworld"


def test_points_of_a_sweep_and_algorithms_of_a_row_are_told_apart():
    points = [["algo.lr=1/2"], ["algo=bc"], []]
    documents = [document(1.0) | {"point": point} for point in points]
    cases = ElementTree.fromstring(ci.junit_xml(documents, "rows")).iter("testcase")
    assert [(c.get("classname"), c.get("name")) for c in cases] == [
        ("inspo.xor", "ab algo.lr=1/2"),
        ("inspo.xor", "ab algo=bc"),
        ("inspo.xor", "ab"),
    ]
    assert "| `inspo/xor/ab algo=bc` |" in ci.markdown(documents, "rows")


def test_the_summary_is_added_to_what_is_there(tmp_path):
    summary, junit = tmp_path / "summary.md", tmp_path / "deep" / "junit.xml"
    summary.write_text("# Before\n")
    ci.write(ALL, junit, summary, "rows")
    ci.write([{"row": "a/b/c", "passed": True, "batches": ["greedy 1"], "exit_code": 0}], None, summary, "gate a/b/c")
    text = summary.read_text()
    assert text.startswith("# Before\n### rows\n")
    assert "| `a/b/c` | fine | greedy 1 |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in lines)
    assert ElementTree.parse(junit).getroot().get("tests") == "5"
    ci.write(ALL, None, None, "rows")


def test_files_that_cannot_be_written_are_told_before_anything_runs(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    same = tmp_path / "one"
    for junit, summary, said in (
        (tmp_path, None, "--junit .* cannot be written: it is a folder"),
        (None, Path(""), "--summary . cannot be written: it is a folder"),
        (None, tmp_path / "file" / "x", "--summary .* cannot be written: "),
        (same, same, "name the same file"),
    ):
        with pytest.raises(ReproduceError, match=said):
            ci.check(junit, summary)
    assert main(["inspo/xor/ab", "--summary", str(tmp_path)]) == 4
    assert "update" not in capsys.readouterr().err
    ci.check(tmp_path / "new" / "junit.xml", tmp_path / "summary.md")


def test_a_single_row_and_the_gate_that_meet_a_bad_disk_are_in_the_files(tmp_path, capsys, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reproduce.experiment.run.run_row", full)
    junit, summary = tmp_path / "j.xml", tmp_path / "s.md"
    assert main(["inspo/xor/ab", "--junit", str(junit), "--summary", str(summary)]) == 4
    assert "No space left on device" in summary.read_text()
    assert ElementTree.parse(junit).getroot().get("errors") == "1"
    monkeypatch.setattr("reproduce.regression.gate.run_row", full)
    for row in ("inspo/xor/ab", "inspo/xor/all"):
        made = record(row=row) | {"kind": "reference"}
        records.write({key: value for key, value in made.items() if key != "verdict"})
    assert main(["gate", "inspo/xor/a*", "--junit", str(junit)]) == 4
    assert ElementTree.parse(junit).getroot().get("errors") == "2"


def test_devices_links_and_strange_bytes_stay_what_they_are(tmp_path):
    target, link = tmp_path / "target.md", tmp_path / "link.md"
    target.write_bytes(b"\xff before\n")
    link.symlink_to(target)
    strange = ERROR | {"error": "no file /tmp/\udcff"}
    ci.check(Path(os.devnull), link)
    ci.write([strange], Path(os.devnull), link, "rows")
    assert link.is_symlink()
    assert target.read_bytes().startswith(b"\xff before\n### rows\n")
    assert b"no file /tmp/\\udcff" in target.read_bytes()
    assert Path(os.devnull).is_char_device()
    ci.write([strange], tmp_path / "junit.xml", None, "rows")
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("errors") == "1"


@pytest.mark.parametrize("file", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda file: file.name)
def test_workflows_ask_for_few_rights_and_call_what_is_there(file):
    workflow = yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader)
    assert {"name", "on", "permissions", "jobs"} <= workflow.keys()
    assert workflow["permissions"] == {"contents": "read"}
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    for job in workflow["jobs"].values():
        assert {"runs-on"} <= job.keys()
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"\./|[\w./-]+@v\d+", step.get("uses", "./"))
            for target in re.findall(r"make ([\w-]+)", step.get("run", "")):
                assert f"\n{target}:" in made
            if step.get("uses") == "./":
                assert step["with"].keys() <= yaml.safe_load((ROOT / "action.yml").read_text())["inputs"].keys()


def test_the_actions_script_runs_rows_and_the_gate(tmp_path):
    """Its shell, with a stand-in for the command and for make."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    step = next(step for step in action["runs"]["steps"] if "run" in step)
    assert "${{" not in step["run"]  # inputs reach the shell as variables alone: they cannot be commands
    command = tmp_path / ".venv" / "bin" / "reproduce"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > called\n')
    command.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "make").write_text('#!/bin/sh\necho "$@" >> made\n')
    (tmp_path / "bin" / "make").chmod(0o755)

    def called(rows: str, overrides: str, gate: str) -> list[str]:
        env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "ROWS": rows, "OVERRIDES": overrides, "AS_GATE": gate}
        env |= {"JUNIT": "j.xml", "GITHUB_OUTPUT": "out", "GITHUB_STEP_SUMMARY": "s.md"}
        subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=env, check=True)
        return (tmp_path / "called").read_text().splitlines()

    files = ["--junit", "j.xml", "--summary", "s.md"]
    assert called("inspo/xor/*", "", "false") == ["inspo/xor/*", *files]
    assert called("inspo/xor/ab", "algo.lr=1 x=$(touch no)", "false")[1:5] == [
        "algo.lr=1",
        "x=$(touch",
        "no)",
        "--junit",
    ]
    assert not (tmp_path / "no").exists()
    assert called("inspo/xor/ab", "algo.lr=1\nrun.threads=1\n", "false")[1:3] == ["algo.lr=1", "run.threads=1"]
    with pytest.raises(subprocess.CalledProcessError):  # a gate has settings of its own
        called("inspo/xor/ab", "algo.lr=1", "true")
    assert called("omiga/mujoco/*", "", "true") == ["gate", "omiga/mujoco/*", *files]
    for rows, extra in (("om*", True), ("*", True), ("claims/*", True), ("inspo/*", False), ("omar/mpe/*", False)):
        called(rows, "", "false")
        assert (tmp_path / "made").read_text().splitlines()[-1].endswith("-mujoco") is extra, rows
        made = subprocess.run(["make", "-pn", f"ROW={rows}"], cwd=ROOT, capture_output=True, text=True).stdout
        assert (".venv/.ready-mujoco" in re.search(r"^reproduce: (.*)$", made, re.M)[1]) is extra, rows


def test_a_single_row_that_ends_with_an_error_is_in_the_files(tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise ReproduceError("no data here")

    monkeypatch.setattr("reproduce.cli.run.run_one", refuse)
    assert main(["inspo/xor/ab", "--junit", str(tmp_path / "j.xml"), "--summary", str(tmp_path / "s.md")]) == 4
    assert 'errors="1"' in (tmp_path / "j.xml").read_text()
    assert "| `inspo/xor/ab` | ERROR | no data here |" in (tmp_path / "s.md").read_text()
