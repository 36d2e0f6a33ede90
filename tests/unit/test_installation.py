"""What an installation takes: exact versions with hashes, a CPU build of torch, no more than its purpose needs."""

import re
import tomllib

import pytest

from data.common.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = ("ray", "pyright", "mujoco", "hydra-submitit-launcher", "mkdocs", "pytest", "torch")


def locked(name: str) -> dict[str, list[str]]:
    """Package -> hashes of a lock."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if package := re.match(r"([\w.-]+)==[\w.+!-]+( ;.*)? \\$", line):
            found[package[1]] = current = []
        elif sha := re.match(r"    --hash=sha256:([0-9a-f]{64})( \\)?$", line):
            current.append(sha[1])
        else:
            assert line.startswith("#"), line
    return found


LOCKS = ("requirements.lock", "requirements-mujoco.lock", "requirements-smax.lock", "requirements-dev.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_a_lock_has_its_version_and_hashes(name):
    packages = locked(name)
    assert all(packages.values())
    assert set(locked("requirements.lock")) <= set(packages)
    assert f"$(INSTALL) {name}" in MAKEFILE
    assert "--require-hashes" in MAKEFILE.partition("\nINSTALL :=")[2].partition("\n")[0]
    assert len(packages) > 20


def test_a_row_needs_the_small_set_alone():
    assert not set(HEAVY) & set(locked("requirements.lock"))
    assert {"mujoco"} <= set(locked("requirements-mujoco.lock"))


def test_torch_is_the_cpu_build_on_the_public_index_too():
    assert "TORCH_INDEX ?= https://download.pytorch.org/whl/cpu" in MAKEFILE
    assert "install --no-deps torch==$(TORCH)+cpu || " in MAKEFILE
    assert "--index-url $(TORCH_INDEX) torch==$(TORCH)" in MAKEFILE


def test_nothing_comes_from_a_moving_branch():
    stated = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    for one in stated:
        if "git+" in one:
            assert re.search(r"@[0-9a-f]{40}$", one), one
