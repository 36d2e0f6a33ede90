"""Everything that a run needs before its first update, checked for belonging together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from data.buffer import OfflineDataModule
from data.catalog import store
from data.common.errors import ReproduceError
from data.common.memory import return_freed_memory
from data.common.partials import sweep
from data.common.provenance import provenance
from data.worlds import absent, at_once, fingerprint, make_world
from lit_modules import algorithm
from lit_modules.common.seed_module import SeedModule
from reproduce import published
from reproduce.config import Settings
from reproduce.core import console, ending
from reproduce.experiment.evaluate import Evaluator
from reproduce.experiment.identity import numeric_run, run_folder
from reproduce.experiment.phase_cache import PhaseCache
from reproduce.records import data_facts


@dataclass(frozen=True)
class Experiment:
    """A row ready to run. `origin` is the provenance at its start; `dataset_world_params` come with official data.

    `identity` names whatever decides the run's bits; `folder` is where it writes.
    """

    settings: Settings
    row: published.PaperRow
    device: torch.device
    origin: dict[str, Any]
    manifest: dict[str, Any]
    dataset_world_params: dict[str, Any]
    module: SeedModule
    data: OfflineDataModule
    evaluator: Evaluator
    identity: str
    folder: Path

    @cached_property
    def data_facts(self) -> dict[str, Any]:
        return data_facts(self.manifest)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "last.ckpt"

    @cached_property
    def cache(self) -> PhaseCache:
        sha256, seeds = self.data_facts["sha256"], self.settings.protocol.seeds
        return PhaseCache(self.settings, self.module, sha256, seeds, numeric_run(self.settings))

    @cached_property
    def world_fingerprint(self) -> str:
        """The fingerprint of the task's own world: it tells whether the simulator is the row's."""
        return fingerprint(self.settings.task.world, **self.settings.task.params)

    @cached_property
    def references(self) -> dict[str, float] | None:
        """Returns of random and expert play that normalize the scores, where they are not the published ones."""
        return self.evaluator.world.references()

    @property
    def foreign_parts(self) -> dict[str, Any]:
        """Parts of the world that came with the data, as the record states them, with the fingerprint of that world.

        The record's other fingerprint stays that of the task's own world: it tells whether the simulator is the row's.
        """
        if not self.dataset_world_params:
            return {}
        task, world = self.settings.task, self.evaluator.world
        found = fingerprint(task.world, **task.params | self.dataset_world_params)
        return {name: facts | {"fingerprint": found} for name, facts in world.foreign_parts().items()}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One process per run folder; the lock goes with the process, however it ends. Leftovers are swept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "lock", timeout=0):
                sweep(self.folder, alone=True)
                if not self.cache.given:
                    sweep(self.cache.folder)
                yield
        except Timeout as error:
            text = f"{self.settings.row} with these settings is running in another process; wait for it."
            raise ReproduceError(text) from error

    def discard_checkpoint(self) -> None:
        ending.is_finished(self.checkpoint)


def build(settings: Settings, folder: Path | None = None) -> Experiment:
    """The row's dataset, world, module, buffer and evaluator; `folder` instead of the run's own under outputs/.

    Raises ReproduceError for data that are missing or damaged, and for parts that do not belong together.
    """
    row = published.row(settings.row)
    if reason := absent(settings.task.world, **settings.task.params):
        raise ReproduceError(f"row {row.id}: {reason}")
    device, threads = open_device(settings)
    origin = provenance(settings.run.device, threads)  # now: the commit may move while training
    dataset = _dataset(settings)
    transitions = dataset.transitions
    if settings.protocol.time_limits == "terminal":
        transitions["terminated"] = transitions["terminated"] | transitions["truncated"]
    evaluator = build_evaluator(settings, device, dataset.dataset_world_params)
    world = evaluator.world
    module = build_module(settings, world)
    _check_sizes(transitions, world, settings)
    data = OfflineDataModule(transitions, world.layout, module.keys, module.seeds, settings.data.storage, device)
    _check_episodes(data, module, settings)
    manifest, brought = dataset.manifest, dataset.dataset_world_params
    del dataset, transitions  # the buffer has its own copy of what is trained on
    return_freed_memory()
    own = run_folder(settings, data_facts(manifest)["sha256"])
    parts = (manifest, brought, module, data, evaluator, f"{settings.row}/{own.name}", folder or own)
    return Experiment(settings, row, device, origin, *parts)


def open_device(settings: Settings) -> tuple[torch.device, int]:
    """(the device, torch's threads), both set up. Raises ReproduceError for a CUDA device that is not there."""
    run = settings.run
    if run.threads:
        torch.set_num_threads(run.threads)
    torch.set_float32_matmul_precision(run.matmul_precision)
    if run.device == "cuda" and not torch.cuda.is_available():
        built = (
            "" if torch.version.cuda else " This is torch's CPU build: `make cuda` puts the CUDA build in its place."
        )
        raise ReproduceError(f"run.device=cuda, but torch sees no CUDA device here; use run.device=cpu.{built}")
    return torch.device(run.device), torch.get_num_threads()


def build_evaluator(settings: Settings, device: torch.device, world_params: dict[str, Any]) -> Evaluator:
    """The row's evaluation, in the task's world with `world_params`. Raises ReproduceError for a mode it lacks."""
    protocol, task, modes = settings.protocol, settings.task, algorithm(settings.algo.name)[0].modes
    if protocol.mode not in modes:
        raise ReproduceError(f"protocol.mode={protocol.mode}: {settings.algo.name} acts {modes} only.")

    def make(n_worlds: int) -> Any:
        return make_world(task.world, n_worlds, device, **task.params | world_params)

    return Evaluator(make, protocol.seeds, protocol.eval_episodes, modes, at_once(task.world))


def build_module(settings: Settings, world: Any) -> SeedModule:
    """The row's module for all its seeds, in the sizes of `world`. Raises ReproduceError where they do not fit."""
    module_class, name = algorithm(settings.algo.name)[0], settings.algo.name
    if not isinstance(world.spec.action, module_class.actions):
        raise ReproduceError(
            f"algo={name} is for {module_class.actions.kind} actions, the world {settings.task.world} has "
            f"{world.spec.action.kind} ones."
        )
    run, protocol = settings.run, settings.protocol
    clock = {"chunk_size": run.chunk_size, "eval_every": protocol.eval_every, "accelerate": run.accelerate}
    try:
        return module_class(settings.algo, protocol.seeds, world.spec, **clock)
    except ValueError as error:
        raise ReproduceError(f"row {settings.row}: {error}") from error


def _dataset(settings: Settings) -> store.Dataset:
    data = settings.data
    with console.bar(f"data {data.id}", 1, "steps") as bar:
        return store.get(data.id, data.kind, data.root, bar.update, data.seed)


def _check_episodes(data: OfflineDataModule, module: SeedModule, settings: Settings) -> None:
    """Raises ReproduceError where whole episodes are asked for and longer ones would be cut into windows."""
    whole = [
        phase.sequence_length for phase in module.phases() if phase.minibatches.whole and phase.sequence_length > 1
    ]
    if not whole or data.sampler.episodes is None:
        return
    longest = int(data.sampler.episodes.length.max())
    if longest > min(whole):
        raise ReproduceError(
            f"dataset {settings.data.id} holds an episode of {longest} steps, and the world ends them after "
            f"{min(whole)}: algo={settings.algo.name} learns from whole episodes, and these are none of the world's. "
            "Choose an algorithm of single steps, algo=bc say."
        )


def _check_sizes(experience: Any, world: Any, settings: Settings) -> None:
    found, expected = world.layout.sizes(experience), world.layout.expected_sizes()
    if found != expected:
        raise ReproduceError(
            f"dataset {settings.data.id} has the sizes {found}, world {settings.task.world} has {expected}: "
            "the row's data.id and task do not belong together."
        )
