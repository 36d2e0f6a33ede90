"""Variables and files of the current folder that libraries read behind our back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data.buffer import OnDisk, scratch_folder
from data.common import provenance as origin
from data.common.environment import HONORED, ignore_variables, is_ignored
from data.common.paths import ROOT, outputs_dir
from reproduce.cli import main
from reproduce.jobs.launchers import local_ray


def run(code: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
    own = os.environ | {"PYTHONPATH": str(ROOT)} | env
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=own, capture_output=True, text=True)


@pytest.mark.parametrize(
    "variable",
    [
        *("PL_TRAINER_PRECISION", "PL_TRAINER_MAX_STEPS", "LT_PRECISION", "HDF5_PLUGIN_PATH", "HDF5_VOL_CONNECTOR"),
        *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA"),
        *("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCHDYNAMO_DISABLE", "PL_GLOBAL_SEED"),
    ],
)
def test_variables_that_change_results_are_ignored_and_named(variable, monkeypatch, capsys):
    monkeypatch.setenv(variable, "1")
    assert main(["diff", "inspo/xor/ab"]) == 0
    assert variable not in os.environ
    assert variable in capsys.readouterr().err


def test_variables_of_places_and_threads_are_honored(monkeypatch):
    for variable in (*HONORED, "OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "ATEN_CPU_CAPABILITY", "PYTHONPATH"):
        assert not is_ignored(variable)
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
    assert "HDF5_USE_FILE_LOCKING" not in ignore_variables()


@pytest.mark.slow
def test_lightnings_variables_do_not_reach_a_run():
    tiny = ["algo.n_updates=1", "algo.n_behavior_updates=1", "algo.n_candidates=8", "algo.batch_size=4"]
    tiny += ["protocol.n_seeds=2", "protocol.eval_episodes=2"]
    command = [sys.executable, "-m", "reproduce", "inspo/xor/ab", *tiny]
    wild = {"PL_TRAINER_PRECISION": "16-true", "PL_TRAINER_LIMIT_TRAIN_BATCHES": "0", "PL_TRAINER_FAST_DEV_RUN": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | wild, capture_output=True, text=True)
    assert ran.returncode == 3, ran.stderr
    assert "PL_TRAINER_PRECISION" in ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("value", ["osmesa", "egl", "nonsense", "glx"])
def test_nothing_is_drawn_whatever_mujoco_gl_says(value):
    pytest.importorskip("mujoco")
    code = (
        "from data.worlds import make_world; print(make_world('mamujoco', 1, scenario='Hopper-v2', agent_conf='3x1'))"
    )
    ran = run(code, MUJOCO_GL=value, PYOPENGL_PLATFORM=value)
    assert ran.returncode == 0, ran.stderr


def test_git_looks_at_this_checkout_within_a_hook_of_another(tmp_path, monkeypatch):
    before = origin.provenance()["commit"]
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "none"))
    origin._git.cache_clear()
    assert origin.provenance()["commit"] == before


def test_the_current_folder_is_not_imported_from(tmp_path):
    for name in ("yaml", "torch", "typer", "sitecustomize", "usercustomize", "hydra_plugins"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(77)")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("raise SystemExit(77)")
    (tmp_path / ".env").write_text("REPRODUCE_HOME=/nowhere\n")
    command = [sys.executable, "-m", "reproduce", "diff", "inspo/xor/ab"]
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_ray_of_our_own():
    env = {"RAY_ADDRESS": "10.0.0.1:6379", "RAY_NAMESPACE": "x", "HOME": "/h"}
    settings, own = local_ray(4, env)
    assert "++hydra.launcher.ray.init.address=local" in settings
    assert "++hydra.launcher.ray.init._node_ip_address=127.0.0.1" in settings
    assert "RAY_ADDRESS" not in own
    assert own["HOME"] == "/h"
    assert own["RAY_AUTH_MODE"] == "token"
    assert len(own["RAY_AUTH_TOKEN"]) == 64
    assert own["RAY_AUTH_TOKEN"] != local_ray(4, env)[1]["RAY_AUTH_TOKEN"]


LISTENING = """
import sys, ray, psutil
init = dict(word.split(".init.")[1].split("=") for word in sys.argv[1:])
ray.init(**init | {"num_cpus": int(init["num_cpus"])}, include_dashboard=False, object_store_memory=78643200)
@ray.remote
def five():
    return 5
print(ray.get(five.remote()))
for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
    print(*{c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN"})
"""


@pytest.mark.slow
def test_ray_listens_on_the_loopback_address_alone():
    pytest.importorskip("ray")
    settings, env = local_ray(1, os.environ | {"RAY_ADDRESS": "10.0.0.1:6379"})
    ran = subprocess.run([sys.executable, "-c", LISTENING, *settings], env=env, capture_output=True, text=True)
    value, *addresses = ran.stdout.split()
    assert value == "5", ran.stderr
    assert set(addresses) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert len(addresses) > 3


# ---- memory-mapped storage


@pytest.mark.slow
def test_streamed_data_lie_below_the_outputs_and_end_with_the_process():
    code = (
        "import torch; from tensordict import TensorDict; from data.buffer import OnDisk; "
        "from data.common.paths import outputs_dir; s = OnDisk(8, torch.device('cpu')); "
        "s.set(range(8), TensorDict({'a': torch.arange(8.0)}, [8])); "
        "files = [p for p in (outputs_dir() / 'scratch').rglob('*.memmap')]; print(len(files)); "
    )
    ran = run(code)
    assert ran.stdout.split() == ["1"], ran.stderr
    assert not list((outputs_dir() / "scratch").iterdir())
    killed = run(code + "import os; os.kill(os.getpid(), 9)")
    assert killed.returncode == -9
    assert list((outputs_dir() / "scratch").iterdir())
    _, remove = scratch_folder("memmap")  # the next start sweeps
    assert len(list((outputs_dir() / "scratch").iterdir())) == 2  # its own folder and lock
    _, other = scratch_folder("memmap")  # and leaves what is in use
    assert len(list((outputs_dir() / "scratch").iterdir())) == 4
    remove()
    other()
    assert not list((outputs_dir() / "scratch").iterdir())


def test_the_storage_closes_itself():
    storage = OnDisk(4, torch.device("cpu"))
    storage.close()
    assert not list((outputs_dir() / "scratch").iterdir())
