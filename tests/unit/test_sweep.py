"""Launchers' knobs, and what becomes of jobs that finish, fail or die; no launcher is started here."""

import fcntl
import json
import multiprocessing
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest
import yaml

from data.common.errors import ReproduceError
from data.common.files import write_json
from data.common.paths import CONFIGS, outputs_dir
from reproduce import records
from reproduce.cli import main
from reproduce.jobs import Launcher, job_threads, launcher_from, launchers, run_sweep, sweep, with_threads, worker

NAMES = ["inspo/xor/ab", "inspo/xor/ab_ba"]
LAUNCHER = Launcher(name="joblib", n_jobs=2, retries=1, timeout_min=None, cpus=1)


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    monkeypatch.setattr(launchers, "_installed", lambda module: True)
    monkeypatch.setattr(launchers.shutil, "which", lambda program: f"/bin/{program}")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        (["launcher=jobib"], "Nearest: joblib"),
        (["launcher.n_jobs=3"], "needs launcher=NAME: choose one of joblib, ray, slurm, submitit_local, none"),
        (["launcher=joblib", "launcher.n_job=3"], "known: n_jobs, retries, timeout_min, cpus. Nearest: n_jobs"),
        (["launcher=joblib", "launcher.n_jobs=fast"], "launcher.n_jobs"),
        (
            ["launcher=joblib", "launcher.n_jobs=0"],
            "launcher.n_jobs=0 is not allowed: must be a whole number, at",
        ),
        (["launcher=joblib", "launcher.n_jobs=true"], "must be a whole number"),
        (["launcher=joblib", "launcher.n_jobs=null"], "must be a whole number"),
        (["launcher=joblib", "launcher.retries=-1"], "at least 0"),
        (["launcher=joblib", "launcher.cpus=2.5"], "must be a whole number or null, at least 1"),
        (["launcher=slurm", "launcher.partition=[a]"], "launcher.partition"),
        (["launcher=joblib", "launcher.partition=gpu"], "no knob"),
        (["launcher=slurm", "launcher.cpus=[1"], "launcher.cpus"),
    ],
)
def test_bad_launchers_are_refused(knobs, words):
    with pytest.raises(ReproduceError, match=r"\w") as caught:
        launcher_from(knobs)
    assert words in str(caught.value)


def test_without_a_launcher_rows_run_in_this_process():
    assert launcher_from([]) is launcher_from(["launcher=none"]) is None


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(
        launchers, "_installed", lambda module: module not in ("ray", "hydra_plugins.hydra_ray_launcher")
    )
    assert main(["inspo/xor/*", "launcher=ray"]) == 4
    assert "launcher=ray needs the extra: pip install -e '.[launchers]'" in capsys.readouterr().err
    assert not outputs_dir().joinpath("sweeps").exists()


def test_slurm_needs_its_own_command(monkeypatch):
    monkeypatch.setattr(launchers.shutil, "which", lambda program: None)
    with pytest.raises(ReproduceError, match="login node"):
        launcher_from(["launcher=slurm"])


def test_a_fault_in_a_launchers_file_names_the_file(monkeypatch, tmp_path):
    (tmp_path / "launcher").mkdir()
    file = tmp_path / "launcher" / "joblib.yaml"
    monkeypatch.setattr(launchers, "CONFIGS", tmp_path)
    good = {"n_jobs": 2, "retries": 1, "timeout_min": None, "cpus": None}
    for stated, words in (
        (good | {"retrys": 2}, "unknown knob launcher.retrys. Nearest: retries"),
        ({key: value for key, value in good.items() if key != "cpus"}, "launcher.cpus is missing"),
        (good | {"n_jobs": 0}, "at least 1"),
        ([], "expected `launcher:`"),
    ):
        file.write_text(yaml.safe_dump({"launcher": stated}))
        with pytest.raises(ReproduceError, match=r"joblib\.yaml") as caught:
            launcher_from(["launcher=joblib"])
        assert words in str(caught.value)
    file.write_text(yaml.safe_dump({"launcher": good}))
    assert launcher_from(["launcher=joblib"]) == Launcher(name="joblib", **good)


def test_knobs_are_passed_on_with_their_types():
    launcher = launcher_from(["launcher=slurm", "launcher.partition=gpu", "launcher.n_jobs=3", "launcher.gpus=1"])
    assert (launcher.partition, launcher.n_jobs, launcher.gpus, launcher.threads) == ("gpu", 3, 1, 4)
    assert launcher_from(["launcher=slurm", "launcher.account=0123"]).account == "0123"  # a word, no octal number
    assert launcher_from(["launcher=slurm", "launcher.account=null"]).account is None


@pytest.mark.parametrize("name", sorted(launchers.PLUGINS))
def test_each_launcher_composes_with_its_plugin(name):
    if not all(find_spec(module) for module in launchers.PLUGINS[name][1:]):
        pytest.skip(f"{launchers.PLUGINS[name][1]} is not installed")
    from hydra import compose, initialize_config_dir

    stated = yaml.safe_load((CONFIGS / "launcher" / f"{name}.yaml").read_text())["launcher"]
    given = [f"launcher={name}", "launcher.n_jobs=7", "launcher.cpus=3", "folder=/x", "job=0"]
    with initialize_config_dir(str(CONFIGS), version_base=None):
        config = compose("sweep", overrides=given, return_hydra_config=True)
    chosen = config.hydra.launcher
    assert launcher_from([f"launcher={name}"]).retries == stated["retries"] == 1
    assert {
        "joblib": lambda: chosen.n_jobs == 7,
        "submitit_local": lambda: config.hydra.sweeper.max_batch_size == 7 and chosen.cpus_per_task == 3,
        "slurm": lambda: (chosen.array_parallelism, chosen.cpus_per_task, chosen.timeout_min) == (7, 3, 1440),
        "ray": lambda: chosen.ray.remote.num_cpus == 3,
    }[name]()


def test_cores_are_shared_among_jobs_unless_threads_are_given(monkeypatch):
    monkeypatch.setattr(launchers, "cores", lambda: 9)
    free = Launcher(name="joblib", n_jobs=2, retries=0, timeout_min=None, cpus=None)
    assert job_threads([], free) == job_threads(["run.threads=0"], free) == 4
    assert job_threads(["run.threads=3"], free) == job_threads(["threads=3"], free) == 3
    assert job_threads([], Launcher(name="joblib", n_jobs=20, retries=0, timeout_min=None, cpus=None)) == 1
    assert with_threads(["algo.lr=1", "run.threads=3", "threads=4"], 2) == ["algo.lr=1", "run.threads=2"]
    with pytest.raises(ReproduceError, match="threads=all"):
        job_threads(["run.threads=all"], free)


def test_what_a_row_left_is_a_result_an_error_or_nothing():
    assert worker._result("a/b", 1, '{"row": "a/b"}', "") == {"row": "a/b"}
    assert worker._result("a/b", 4, "", "warning\nreproduce: no such\nfile.")["error"] == "no such\nfile."
    assert worker._result("a/b", 1, "", "Traceback ..\nKeyError: 3") is None
    assert worker._result("a/b", -9, "", "") is None


def fake(rounds: list[list[str]], finishing: dict[str, list[int]]):
    """A launcher whose jobs leave a result in the rounds that `finishing` lists, else die."""

    def launch(folder, launcher, threads, numbers, collect):
        jobs = json.loads((folder / sweep.JOBS).read_text())["jobs"]
        names = [jobs[k][0] for k in numbers]
        rounds.append(names)
        for name in names:
            if len(rounds) in finishing[name]:
                write_json(folder / f"{name}.json", {"row": name, "exit_code": 0, "time": {"wall_s": len(rounds)}})
            else:
                (folder / f"{name}.log").parent.mkdir(parents=True, exist_ok=True)
                (folder / f"{name}.log").write_text("first\nlast words\n")
        collect()

    return launch


def test_a_dead_job_is_started_again_and_the_others_are_not(monkeypatch):
    rounds, seen = [], []
    monkeypatch.setattr(sweep, "_launch", fake(rounds, {NAMES[0]: [1], NAMES[1]: [2]}))
    documents = run_sweep(NAMES, [], LAUNCHER, seen.append)
    assert rounds == [NAMES, NAMES[1:]]
    assert [d["row"] for d in documents] == NAMES
    assert [d["time"]["wall_s"] for d in seen] == [1, 2]
    assert not list(outputs_dir().joinpath("sweeps").iterdir())  # finished: the next command runs afresh


def test_a_job_that_keeps_dying_is_an_error_with_its_last_words_and_alone_is_repeated(monkeypatch):
    rounds = []
    monkeypatch.setattr(sweep, "_launch", fake(rounds, {NAMES[0]: [1], NAMES[1]: [3]}))
    good, bad = run_sweep(NAMES, [], LAUNCHER, lambda document: None)
    assert (good["exit_code"], bad["exit_code"], bad["row"]) == (0, 4, NAMES[1])
    assert "last words" in bad["error"]
    assert "2 times" in bad["error"]
    assert run_sweep(NAMES, [], LAUNCHER, lambda document: None)[1]["time"]["wall_s"] == 3
    assert rounds == [NAMES, NAMES[1:], NAMES[1:]]


def test_other_overrides_are_another_sweep(monkeypatch):
    rounds = []
    monkeypatch.setattr(sweep, "_launch", fake(rounds, {NAMES[0]: [1], NAMES[1]: []}))
    run_sweep(NAMES, [], LAUNCHER, lambda document: None)
    run_sweep(NAMES, ["algo.lr=0.5"], LAUNCHER, lambda document: None)
    assert rounds == [NAMES, NAMES[1:], NAMES, NAMES]


def test_bad_settings_and_data_are_results_without_a_job(monkeypatch):
    rounds = []
    monkeypatch.setattr(sweep, "_launch", fake(rounds, {}))
    documents = run_sweep(NAMES, ["algo.alhpa=1"], LAUNCHER, lambda document: None)
    assert all("Nearest: algo.alpha" in d["error"] for d in documents)
    assert "official" in run_sweep(NAMES[:1], ["data.kind=official"], LAUNCHER, lambda document: None)[0]["error"]
    assert rounds == []


def test_the_same_sweep_twice_at_once_is_refused(monkeypatch):
    def second(folder, *rest):
        with pytest.raises(ReproduceError, match="running in another process"):
            run_sweep(NAMES, [], LAUNCHER, lambda document: None)
        fake([], {name: [1] for name in NAMES})(folder, *rest)

    monkeypatch.setattr(sweep, "_launch", second)
    assert [d["exit_code"] for d in run_sweep(NAMES, [], LAUNCHER, lambda document: None)] == [0, 0]


def test_a_job_ends_at_its_time_limit_and_with_its_command(tmp_path):
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    late = subprocess.Popen(sleeper)
    worker._wait(late, 0.001, None)
    assert late.returncode == -9
    held = tmp_path / "round"
    with open(held, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = subprocess.Popen([sys.executable, "-c", ""])
        worker._wait(done, None, str(held))
        assert done.returncode == 0
    orphan = subprocess.Popen(sleeper)
    worker._wait(orphan, None, str(held))
    assert orphan.returncode == -9


def test_a_job_waits_for_the_same_one_of_a_stopped_command_and_takes_its_result(tmp_path):
    row, folder = NAMES[0], tmp_path
    write_json(folder / sweep.JOBS, {"jobs": [[row, ["no=such"]]], "held": None, "timeout_min": None, "env": {}})
    (folder / f"{row}.lock").parent.mkdir(parents=True)
    with open(folder / f"{row}.lock", "w") as earlier:
        fcntl.flock(earlier, fcntl.LOCK_EX)
        job = threading.Thread(target=worker.run_job, args=[folder, 0])
        job.start()
        job.join(0.3)
        assert job.is_alive()
        write_json(folder / f"{row}.json", {"row": row})
    job.join(10)
    assert not job.is_alive()
    assert not (folder / f"{row}.log").exists()  # no second process


def _write_records(worker: int) -> None:
    record = {
        "kind": "claim",
        "row": "claims/x/y",
        "provenance": {},
        "time": {"wall_s": 1.0},
        "arms": {},
        "passed": True,
    }
    for k in range(20):
        records.write(
            {
                **record,
                "checks": [{"text": f"{worker} {k}", "passed": True}] if k % 2 else [],
                "created": "2026-01-01T00:00:00Z",
            }
        )


def test_concurrent_workers_lose_no_record():
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_write_records, range(3))
    found = records.read("claims/x/y")
    assert len(found) == 60  # 30 of them equal, of one second
    assert len({json.dumps(r["checks"]) for r in found}) == 31
