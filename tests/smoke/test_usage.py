"""The words of the command: help, version, completion, misspelt ones, and quick answers without torch."""

import json
import os
import subprocess
import sys

import pytest
from limits import ordinary_seconds_of

from data.catalog.manifest import MANIFEST, folder_of
from data.common.files import write_json
from data.common.paths import CONFIGS, ROOT, outputs_dir
from reproduce import __version__
from reproduce.cli import main
from reproduce.cli.app import assembled
from reproduce.cli.options import complete, datasets, rows, rows_and_claims
from reproduce.config import claim_ids, row_ids

ROW = "inspo/bridge/mix"
COMMANDS = [name for name in assembled().commands if name.islower()]
DATA = ["list", "show", "build", "compare", "fetch", "export"]
MANY = [[name] for name in COMMANDS] + [["data", name] for name in DATA] + [["inspo/xor/ab"]]


def error_of(capsys, *argv: str) -> str:
    assert main(list(argv)) == 4
    captured = capsys.readouterr()
    if "--json" in argv:  # the same message, for programs
        assert captured.err == f"reproduce: {json.loads(captured.out)['error']}\n"
        assert json.loads(captured.out)["exit_code"] == 4
    else:
        assert captured.out == ""
    return captured.err


@pytest.mark.parametrize("argv", MANY, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_each_command_explains_itself(argv, option, capsys):
    assert main([*argv, option]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Usage: reproduce {'ROW' if '/' in argv[0] else ' '.join(argv)} ")
    assert "--help" in printed
    assert len(printed.split("\n\n")[1].strip()) > 20  # it says what the command does


def test_alone_it_shows_the_help_with_all_commands_and_exit_codes(capsys):
    assert main([]) == main(["--help"]) == main(["-h"]) == 0
    first, second, third = capsys.readouterr().out.split("Usage: reproduce ROW [KEY=VALUE]...")[1:]
    assert first == second == third
    assert all(f"\n  {command} " in first for command in COMMANDS)
    assert "2 INCONCLUSIVE" in first
    assert "..." not in first.partition("Commands:")[2]  # summaries fit their lines


@pytest.mark.parametrize("argv", [[ROW], ["diff"], ["plan"], ["compare"]], ids=" ".join)
def test_the_help_of_settings_lists_what_is_chosen_by_name(argv, capsys):
    assert main([*argv, "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for group in ("algo", "budget", "variant", *(["launcher"] if argv[0] in (ROW, "compare") else [])):
        names = sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
        assert f"{group}= {', '.join(names)}" in printed


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("budget=shrt", "takes no budget; what it chooses by name: algo, task, protocol"),
        ("budget=short", "takes no budget"),
        ("variant=known", "takes no variant"),
        ("algo=inspoo", "Nearest: inspo"),
        ("launcher=jobib", "choose one of joblib, ray, slurm, submitit_local, none. Nearest: joblib"),
    ],
)
def test_misspelt_choices_are_told_in_our_words(override, words, capsys):
    message = error_of(capsys, ROW, override)
    assert words in message
    assert "defaults list" not in message


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"reproduce {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["lsit"], "no row, claim or command named 'lsit'. Nearest: list."),
        (["inspo/brigde/mix"], "Nearest: inspo/bridge/mix"),
        (["diff", ROW, "--jsno"], "no such option: --jsno. Nearest: --json"),
        ([ROW, "--dryrun"], "no such option: --dryrun. Nearest: --dry-run"),
        (["--versoin"], "Nearest: --version"),
        (["list", "a", "b"], "unexpected extra argument"),
        (["check"], "missing argument 'PATTERN'"),
        (["--json"], "missing argument 'ROW'"),
        (["queue", "file.yaml", "--jobs", "many"], "'--jobs'"),
        (["queue", "file.yaml", "--pause", "--resume"], "--pause and --resume exclude each other"),
        (["data"], "Choose list, show, build, compare, fetch or export"),
        (["data", "lst"], "choose list, show, build, compare, fetch or export. Nearest: list."),
        (["data", "list", "bridge/mixx"], "Nearest: bridge/mix"),
        (["report", "--json"], "no such option: --json"),
    ],
)
def test_bad_usage_is_one_line_and_exits_with_4(argv, words, capsys):
    message = error_of(capsys, *argv)
    assert words in message
    assert message.startswith("reproduce: ")
    assert message.count("\n") == 1
    assert "/tmp" not in message


def test_options_stand_anywhere_and_overrides_pass_untouched(capsys):
    assert main(["diff", ROW, "protocol.first_seed=3", "--json", "algo.gamma=0.5"]) == 0
    mixed = json.loads(capsys.readouterr().out)
    used = {entry["key"]: entry["used"] for entry in mixed[ROW]}
    assert (used["protocol.first_seed"], used["algo.gamma"]) == (3, 0.5)
    assert main(["--json", "diff", "protocol.first_seed=3", ROW]) == 4  # the first word is the row
    assert "algo.lr" in capsys.readouterr().err + error_of(capsys, ROW, "algo.lr=-1")
    assert main(["data", "--json", "list", "xor/*"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4


def test_completion_offers_the_ids_that_begin_as_the_word_does():
    assert complete(rows)("inspo/bri") == [name for name in row_ids() if name.startswith("inspo/bri")] != []
    assert complete(rows_and_claims)("claims/") == claim_ids()
    assert "bridge/mix" in complete(datasets)("bri")
    assert complete(rows)("nothing") == []

    def broken() -> list[str]:
        raise OSError("a file that cannot be read")

    assert complete(broken)("") == []


@pytest.mark.parametrize(
    ("words", "offered", "not_offered"),
    [
        ("inspo/bri", "inspo/bridge/mix", "list"),
        ("claims/inspo/mono", "claims/inspo/monotonic_qre", "inspo/bridge/mix"),
        ("li", "list", "ROW"),
        ("diff inspo/bridge/m", "inspo/bridge/mix", "claims/inspo/monotonic_qre"),
        ("check omiga/mujoco/hopper_e", "omiga/mujoco/hopper_expert", "inspo/bridge/mix"),
        ("data show bridge/m", "bridge/mix", "list"),
        ("data c", "compare", "list"),
        (f"diff {ROW} algo.alp", "algo.alpha=", "launcher=joblib"),
        (f"{ROW} launcher=j", "launcher=joblib", "launcher=ray"),
        (f"{ROW} algo=o", "algo=omiga", "algo=inspo"),
        (f"compare {ROW} algo=o", "algo=omiga", "algo=inspo"),
        ("data export bridge/mix --to m", "minari", "omar"),
        (f"{ROW} --dr", "--dry-run", "--json"),
    ],
)
def test_the_shell_is_told_what_may_follow(words, offered, not_offered, monkeypatch, capsys):
    monkeypatch.setenv("_REPRODUCE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"reproduce {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    with pytest.raises(SystemExit):
        main([])
    printed = capsys.readouterr().out.split()
    assert offered in printed
    assert not_offered not in printed


def built(dataset_id: str) -> None:
    """A manifest as a built dataset has it; the data are not there, and nothing that only reads it may ask for them."""
    spread = {"mean": 2400.0, "std": 1000.0, "min": 90.0, "max": 3700.0}
    counts = {"n_transitions": 10, "n_rows": 11, "n_episodes": 1, "n_terminated": 1, "n_truncated": 0}
    statistics = counts | {"return": spread, "length": spread}
    manifest = {"id": dataset_id, "kind": "regenerated", "sha256": "0" * 64, "files": {}, "statistics": statistics}
    manifest |= {"description": "", "world": {}, "fingerprint": "", "license": "MIT", "made_by": {}, "acceptance": {}}
    write_json(folder_of(dataset_id) / MANIFEST, manifest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--help"], 0),
        (["diff", "--help"], 0),
        (["--version"], 0),
        (["list"], 0),
        (["check", "omiga/mujoco/hopper_expert"], None),
        (["diff", ROW], 0),
        (["data", "list"], 0),
        (["data", "compare"], 0),
        (["data", "show", "omiga/hopper_3x1-medium"], 0),
        (["lsit"], 4),
        (["inspo/brigde/mix"], 4),
        ([ROW, "algo.alhpa=1"], 4),
        ([ROW, "algo=bx"], 4),
        ([ROW, "protocol.n_seeds=0"], 4),
        ([ROW, "launcher=jobib"], 4),
        ([ROW, "launcher=joblib", "launcher.n_jobs=0"], 4),
        (["plan", ROW, "algo.alhpa=1"], 4),
        (["queue", "no_such_file.yaml"], 4),
        (["data", "show", "bridge/mixx"], 4),
        (["data", "build", "bridge/mixx"], 4),
        (["record", "inspo/brigde/mix"], 4),
        (["gate", "inspo/brigde/mix"], 4),
        (["compare", ROW, "algo=bd"], 4),
        ([ROW, "--sweep", "algo.alhpa=1,2"], 4),
        (["data", "fetch", "bridge/mixx", "--yes"], 4),
        (["data", "export", "bridge/mixx", "x", "--to", "minari"], 4),
        (["data", "show", "bridge/mix"], 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_quick_answers_take_a_second_of_the_cpu_and_no_torch(argv, code):
    built("omiga/hopper_3x1-medium")
    ask = "import sys; from reproduce.cli import main; code = main(sys.argv[1:])"
    command = [sys.executable, "-c", f"{ask}; sys.exit(100 * ('torch' in sys.modules) + code)", *argv]
    env = os.environ | {"PYTHONPATH": str(ROOT), "REPRODUCE_HOME": str(outputs_dir())}
    del env["REPRODUCE_RECORDS"]  # those of the project
    # `list` judges every record anew: half a second to load scipy, and a millisecond for each record.
    more = 0.5 + len(list((ROOT / "records").rglob("*.json"))) / 1000 if argv == ["list"] else 0.0
    allowed, took = 1.0 + more, []
    while len(took) < 5 and min(took, default=9) > allowed:
        seconds, done = ordinary_seconds_of(command, cwd=ROOT, env=env)
        took.append(seconds)
        assert done.returncode < 100, "torch was imported"
        assert code in (None, done.returncode), done.stderr
    assert min(took) <= allowed


def test_a_stopped_command_and_a_reader_that_left(monkeypatch, capsys):
    import reproduce.config

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce.config, "row_ids", interrupted)
    assert main([ROW]) == 130
    assert "stopped; the same command continues" in capsys.readouterr().err
    command = f"{sys.executable} -m reproduce list | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["0"]
    assert done.stderr == ""


def test_nothing_imports_what_stands_above_it():
    pytest.importorskip("importlinter")
    ask = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, env=env, capture_output=True, text=True)
    for contract in ("Packages: experience, papers, the command", "Rooms of the command"):
        assert f"{contract} KEPT" in done.stdout, done.stdout
