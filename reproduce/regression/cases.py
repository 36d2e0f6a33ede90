"""The examples in tests/cases, one file per algorithm: tests, loss fingerprints and benchmarks follow from them.

The folder belongs to a checkout and is no part of the installed package, so its files are loaded by path.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from tensordict import TensorDict

from data import synthetic
from data.buffer import ChunkLoader, OfflineDataModule
from data.common.errors import ReproduceError
from data.common.paths import ROOT
from data.common.spec import WorldSpec
from data.layout import Transitions, layout_of
from lit_modules import algorithm
from lit_modules.common.schedule import Phase
from lit_modules.common.seed_module import SeedModule
from lit_modules.common.settings import AlgoConfig

FOLDER = ROOT / "tests" / "cases"
PACKAGE = "cases"  # under which the folder is imported


@dataclass(frozen=True)
class Parity:
    """Settings under which the stacked and the plain version are compared.

    `changes` are made to the case's settings. `prepare` changes the module's first parameters, before they are copied.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Benchmark:
    """An update that is timed: the settings of `row` under `overrides`, then `changes`, in a world of these sizes.

    `target` is the aim for the time per seed, relative to the plain version of one seed.
    """

    name: str
    row: str
    spec: WorldSpec
    overrides: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""


@dataclass(frozen=True)
class Case:
    """An algorithm in small, as `CASE` in tests/cases/<algorithm>.py.

    `plain` is the same algorithm for one seed, written with torch.nn and torch.optim. `plain(config, spec)` holds
    networks under the names of the module's: one for all agents, or a list with one for each. For each phase that it
    knows it has `update_<phase>(batch, noise)`, which returns quantities by the names that the module reports.
    """

    config: AlgoConfig
    spec: WorldSpec
    plain: Callable[[Any, WorldSpec], Any]
    state: tuple[str, ...]  # names in the module's state_dict, which checkpoints and kept weights hold
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by name: changed settings
    losses: Mapping[str, str] = field(default_factory=dict)  # optimizer -> its loss, if not <optimizer>_loss
    parity: Mapping[str, Parity] = field(default_factory=lambda: {"as_configured": Parity()})
    benchmarks: tuple[Benchmark, ...] = ()

    def module(self, seeds: list[int], changes: Mapping[str, Any] | None = None, **clock: Any) -> Any:
        """The module in float64, with changed settings."""
        module_class, _ = algorithm(self.config.name)
        return module_class(self.config.replace(**(changes or {})), seeds, self.spec, **clock).double()


@cache
def cases() -> dict[str, Case]:
    """The cases by algorithm, sorted. Raises ReproduceError where the folder is missing or a file holds no CASE."""
    if not (FOLDER / "__init__.py").exists():
        raise ReproduceError(f"there is no {FOLDER}: loss fingerprints and benchmarks need a checkout of the project.")
    _import_package()
    found = {}
    for file in sorted(FOLDER.glob("[!_]*.py")):
        case = getattr(import_module(f"{PACKAGE}.{file.stem}"), "CASE", None)
        if not isinstance(case, Case) or case.config.name != file.stem:
            raise ReproduceError(f"{file}: must define CASE, a Case whose settings are those of {file.stem}.")
        found[file.stem] = case
    return found


def _import_package() -> None:
    if known := sys.modules.get(PACKAGE):
        if [Path(place) for place in known.__path__] != [FOLDER]:
            raise ReproduceError(f"a package {PACKAGE!r} of {list(known.__path__)} hides {FOLDER}.")
        return
    spec = spec_from_file_location(PACKAGE, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)])
    sys.modules[PACKAGE] = module = module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]


def variants() -> dict[str, tuple[Case, Mapping[str, Any]]]:
    """Every case as it is, by algorithm, and every variant, by <algorithm>_<variant>, with its changed settings."""
    found: dict[str, tuple[Case, Mapping[str, Any]]] = {}
    for name, case in cases().items():
        found[name] = (case, {})
        found |= {f"{name}_{variant}": (case, changes) for variant, changes in case.variants.items()}
    return found


def make_module(variant: str, seeds: list[int], **clock: Any) -> Any:
    """The module of a variant in float64."""
    case, changes = variants()[variant]
    return case.module(seeds, changes, **clock)


def minibatches(module: SeedModule, phase: Phase, n_updates: int, n_seeds: int) -> TensorDict:
    """Made-up minibatches of a phase: [n_updates, n_seeds, B], or [.., B, T] of its sequences."""
    if phase.sequence_length == 1:
        made = synthetic.transitions(phase.batch_size * n_seeds * n_updates, module.spec, module.dtype)  # type: ignore
        return made.reshape(n_updates, n_seeds, phase.batch_size)
    if module.spec.layout == "trajectories":  # a world's own sizes: as many whole episodes as a minibatch has
        n_rows = phase.batch_size * (module.spec.episode_limit + 1)
        made = synthetic.trajectories(n_rows, module.spec, module.dtype)  # type: ignore
    else:
        made = synthetic.transitions(spec=module.spec, dtype=module.dtype)  # type: ignore
    source = OfflineDataModule(made, layout_of(module.spec), module.keys, list(range(n_seeds)))
    drawn = source.sample(
        n_updates, phase.batch_size, sequence_length=phase.sequence_length, minibatches=phase.minibatches
    )
    return source.to_schema(drawn)


def train(module: SeedModule, data: TensorDict) -> list[dict[str, Any]]:
    """All chunks that are left, without a trainer -> the quantities that each of them logged."""
    logged: list[dict[str, Any]] = []
    module.configure_optimizers()
    module.log_dict = lambda values, **_: logged.append({k: float(v) for k, v in values.items()})  # type: ignore
    source = OfflineDataModule(data, Transitions(module.spec), module.keys, module.seeds)
    for chunk in ChunkLoader(source, module):
        module.training_step(source.to_schema(chunk), 0)
    return logged
