"""Packages that only some rows and files need, imported where they do."""

import importlib
from typing import Any

from data.common.errors import ReproduceError

EXTRAS = {"gymnasium": "mujoco", "h5py": "mujoco", "mujoco": "mujoco", "tensorstore": "vault"}  # of pyproject.toml


def needed(package: str, what: str) -> Any:
    """The package, which `what` (a plural) need. Raises ReproduceError, which names the extra that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ReproduceError(
            f"{what} need the package {package}: install the extra with `pip install -e '.[{EXTRAS[package]}]'`."
        ) from error
