"""Exit codes: faults in the program, signals, readers that leave, encodings without letters, foreign interpreters."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from limits import PATIENCE

from data.common.errors import ReproduceError
from data.common.paths import ROOT, outputs_dir
from reproduce import cli
from reproduce.cli import job, main
from reproduce.core import ending
from reproduce.jobs import worker

FAULTS = [ZeroDivisionError("by zero"), RuntimeError("several\nlines"), KeyError("it"), MemoryError(), RecursionError()]


def command(*arguments: str, code: str = "", **environment: str) -> list[str]:
    return [sys.executable, "-c", f"{code}\nimport sys\nfrom reproduce.cli import main\nsys.exit(main())", *arguments]


def ran(arguments: list[str], **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(arguments, env=env, capture_output=True, timeout=PATIENCE, cwd=ROOT, check=False)


@pytest.mark.parametrize("error", FAULTS, ids=lambda e: type(e).__name__)
def test_a_fault_in_the_program_is_5_with_its_trace_in_a_file(error, monkeypatch, capsys):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("reproduce.records.read", broken)
    assert main(["list"]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert type(error).__name__ in line
    (file,) = (outputs_dir() / "faults").iterdir()
    assert str(file) in line
    assert "in broken" in file.read_text()


def test_a_trace_goes_to_a_temporary_folder_where_outputs_cannot_be_written(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRODUCE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("reproduce.records.read", lambda *_, **__: 1 // 0)
    assert main(["list"]) == 5
    path = Path(capsys.readouterr().err.split(" is in ")[1].strip())
    assert tmp_path in path.parents
    assert "ZeroDivisionError" in path.read_text()


def test_bad_input_and_full_disks_stay_4(monkeypatch, capsys):
    for error in (ReproduceError("bad"), OSError(28, "No space left on device")):
        monkeypatch.setattr("reproduce.records.read", lambda *_, e=error, **__: (_ for _ in ()).throw(e))
        assert main(["list"]) == 4
    assert not (outputs_dir() / "faults").exists()


def test_a_fault_in_one_row_of_a_glob_leaves_the_others(monkeypatch, capsys):
    seen = []

    def run_one(name, overrides):
        seen.append(name)
        if len(seen) == 2:
            raise ZeroDivisionError
        return {"row": name, "error": "x", "exit_code": 3}

    monkeypatch.setattr("reproduce.cli.run.run_one", run_one)
    assert main(["inspo/xor/*"]) == 5
    assert len(seen) == 4
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if line.startswith("row ")] == [
        f"row {k} of 4: {name}" for k, name in enumerate(seen, 1)
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_the_whole_glob(number, code, monkeypatch, capsys):
    seen = []

    def run_one(name, overrides):
        seen.append(name)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    monkeypatch.setattr("reproduce.cli.run.run_one", run_one)
    assert main(["inspo/xor/*"]) == code
    assert len(seen) == 1
    assert "stopped; the same command continues" in capsys.readouterr().err
    assert signal.getsignal(number) is before
    ending.check()  # what the process runs next is not stopped


def test_a_signal_that_meets_a_destructor_is_not_lost(monkeypatch, capsys):
    class Late:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    def read(*_, **__):
        late = Late()
        del late
        return []

    monkeypatch.setattr("reproduce.records.read", read)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    assert main(["list"]) == 143


def test_an_ignored_interrupt_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ending.signals():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_library_that_turns_a_signal_into_an_exit_is_not_believed(monkeypatch, capsys):
    def read(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            raise SystemExit(0) from None

    monkeypatch.setattr("reproduce.records.read", read)
    assert main(["list"]) == 130


def test_a_library_that_turns_a_signal_into_its_own_error_stops_the_glob(monkeypatch, capsys):
    seen = []

    def run_one(name, overrides):
        seen.append(name)
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            raise RuntimeError("recursion") from None

    monkeypatch.setattr("reproduce.cli.run.run_one", run_one)
    assert main(["inspo/xor/*"]) == 130
    assert len(seen) == 1
    assert main(["inspo/xor/ab"]) == 130
    assert "fault" not in capsys.readouterr().err


def test_rows_run_to_their_end_when_nobody_reads():
    rows = "import reproduce.cli.run as run\n"
    rows += "run.run_one = lambda name, _: {'row': name, 'error': 'x' * 100000, 'exit_code': 3, 'at': print(name, file="
    rows += "sys.stderr)}\nimport sys"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command("inspo/xor/*", code=rows), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=ROOT
    )
    assert process.stdout
    assert process.stderr
    process.stdout.read(5)
    process.stdout.close()
    err = process.stderr.read().decode()
    assert process.wait(PATIENCE) == 3, err
    assert err.count("\ninspo/xor/") == 4
    assert "Traceback" not in err
    assert "Exception" not in err


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["list", "data compare", "--help", "diff inspo/xor/ab", "check inspo/xor/*"])
def test_ascii_output(pattern):
    for environment in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ):
        done = ran(command(*pattern.split()), REPRODUCE_RECORDS=str(ROOT / "records"), **environment)
        assert b"Error" not in done.stderr, done.stderr
        assert done.returncode in (0, 1, 2, 3)
        done.stdout.decode(environment.get("PYTHONIOENCODING", "ascii"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_on_a_full_disk_is_an_error():
    with open("/dev/full", "w") as full:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command("data", "list"), env=env, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
    assert done.returncode == 4
    assert done.stderr.decode().count("\n") == 1
    assert "No space left" in done.stderr.decode()


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 14), (3, 15), (4, 0)])
def test_interpreters_that_cannot_work(version):
    found = cli.cannot_work(version)
    assert found
    assert ".".join(map(str, version)) in found


def test_interpreters_that_can_work():
    assert [cli.cannot_work(version) for version in [(3, 11), (3, 12), (3, 13)]] == [None] * 3


@pytest.mark.parametrize("code", ["sys.modules['fcntl'] = None", "sys.version_info = (3, 14, 0, 'final', 0)"])
def test_systems_that_cannot_work_are_refused_in_one_line_before_anything_heavy(code):
    loaded = (
        "import atexit; atexit.register(lambda: print([m for m in sys.modules if m in ('torch', 'typer', 'yaml')]))"
    )
    done = ran(command("list", code=f"import sys\n{code}\n{loaded}"))
    assert done.returncode == 4
    assert done.stderr.decode().count("\n") == 1
    assert done.stdout.decode() == "[]\n"


def test_an_interpreter_without_docstrings_is_refused():
    done = ran(command("list"), PYTHONOPTIMIZE="2")
    assert done.returncode == 4
    assert done.stderr.decode().count("\n") == 1
    assert b"PYTHONOPTIMIZE=2" in done.stderr


def test_a_fault_in_a_job_reaches_the_command(monkeypatch, tmp_path, capsys):
    fault = worker._result("inspo/xor/ab", 5, "", "noise\nreproduce: a fault in the program, X; its trace is in Y")
    assert fault == {"row": "inspo/xor/ab", "error": "a fault in the program, X; its trace is in Y", "exit_code": 5}
    assert worker._result("inspo/xor/ab", 143, "", "reproduce: stopped") is None  # started again
    monkeypatch.setattr("reproduce.jobs.run_sweep", lambda *_: [fault])
    assert main(["inspo/xor/ab", "launcher=joblib"]) == 5
    assert "its trace is in Y" in capsys.readouterr().err


def test_a_fault_of_a_worker_is_the_result_of_its_row(monkeypatch, tmp_path):
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": [["inspo/xor/ab", []]]}))
    monkeypatch.setattr(worker, "run_job", lambda *_, **__: 1 // 0)
    worker.guarded(tmp_path, 0)
    assert json.loads((tmp_path / "inspo/xor/ab.json").read_text())["exit_code"] == 5


@pytest.mark.parametrize(("error", "code"), [(ZeroDivisionError(), 5), (ReproduceError("x"), 4), (OSError("y"), 4)])
def test_a_job_of_a_queue_ends_with_the_code_of_its_command(error, code, monkeypatch, capsys, tmp_path):
    def run_one(*_):
        raise error

    monkeypatch.setattr("reproduce.cli.run.run_one", run_one)
    monkeypatch.setattr("reproduce.jobs.processes.follow_parent", lambda: None)
    monkeypatch.setattr("reproduce.core.console.report_to", lambda _: None)
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    monkeypatch.setattr(sys, "argv", ["job", str(tmp_path / "progress"), "inspo/xor/ab"])
    with pytest.raises(SystemExit) as ended:
        job.job()
    assert ended.value.code == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_help_lists_all_exit_codes(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("5 a fault", "130", "143"))


def test_errors_keep_their_kind():
    kept = ReproduceError("x")
    assert ending.as_error(kept) is kept
    assert ending.as_error(FileNotFoundError(2, "gone")).exit_code == 4
    assert ending.as_error(ValueError("odd")).exit_code == 5
