"""Training: all seeds of a row at once, by Lightning. Killed at any moment, it resumes to the bit."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import LightningEnvironment

from data.common.environment import without
from data.common.errors import ReproduceError
from data.common.files import sha256, write_with
from lit_modules.common.seed_module import SeedModule
from reproduce.core import console, ending
from reproduce.experiment import checkpoint as checkpoints
from reproduce.experiment import metrics
from reproduce.experiment.build import Experiment
from reproduce.experiment.callback import RunCallback
from reproduce.experiment.checkpoint import AtomicCheckpointIO

TRAINER_VARIABLES = "PL_TRAINER_"  # Lightning takes arguments that are not given from these
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Training:
    """The outcome of training. `crashed`: seeds that diverged; `curve`: mean returns per point, mode and seed;
    `diagnostics`: what each phase's updates report, the mean of its last chunk per seed, None where not finite;
    `run`: the run's id, and the CPU capabilities under which it ran; `earlier_seconds`: in processes that were stopped.
    """

    n_updates: int
    seconds: float
    evaluate_seconds: float
    earlier_seconds: float
    crashed: dict[int, dict[str, Any]]
    curve: dict[str, list[Any]]
    diagnostics: dict[str, dict[str, list[float | None]]]
    weights_sha256: str
    accelerated: str
    fallback: str | None
    run: dict[str, Any]


def train(experiment: Experiment) -> Training:
    """Train the experiment's module in place, from its checkpoint or from kept phases on where there are any.

    Raises ReproduceError for a damaged or foreign checkpoint or a kept phase that was asked for and is not there.
    """
    module, settings, checkpoint = experiment.module, experiment.settings, experiment.checkpoint
    saved = _saved(experiment)
    resume = saved["seed_module"]["n_updates"] if saved else 0
    total = sum(phase.n_updates for phase in module.phases())
    metrics.cut(experiment.folder, resume)
    with warnings.catch_warnings(), console.bar(settings.row, total, "updates", resume) as bar:
        warnings.simplefilter("ignore")
        callback = RunCallback(experiment, bar)
        if saved:
            with _restoring(checkpoint, callback):
                callback.go_on(saved[checkpoints.RUN], resume)
        lost = saved is not None and len(saved["seed_module"]["crashed"]) == len(module.seeds)
        if not saved or (resume < total and not lost):
            with _restoring(checkpoint if saved else None, callback):
                _trainer(experiment, callback, resume).fit(
                    module, experiment.data, ckpt_path=checkpoint if saved else None, weights_only=True
                )
            ending.check()
        else:
            with _restoring(checkpoint, callback):
                module.load_state_dict(saved["state_dict"])
                module.on_load_checkpoint(saved)
                callback.load_state_dict(next(iter(saved["callbacks"].values())))
    module.to(experiment.device)  # Lightning leaves it on the CPU
    if module.n_updates != total and len(module.crashed) < len(module.seeds):
        raise RuntimeError(f"{module.n_updates} updates done, {total} asked for")  # the clock's invariant
    return Training(
        n_updates=module.n_updates,
        seconds=module.train_seconds,
        evaluate_seconds=callback.evaluate_seconds,
        earlier_seconds=callback.earlier_seconds,
        crashed=module.crashed,
        curve={key: [point[key] for point in module.history] for key in ("n_updates", *module.modes)},
        diagnostics={
            phase: {name: [x if isfinite(x) else None for x in seeds] for name, seeds in quantities.items()}
            for phase, quantities in module.diagnostics.items()
        },
        weights_sha256=_save_weights(module, experiment.folder / "weights.safetensors"),
        accelerated=module.accelerator.used,
        fallback=module.accelerator.fallback,
        run={"id": callback.run_id, "cpu_capabilities": callback.capabilities},
    )


def _trainer(experiment: Experiment, callback: RunCallback, resume: int) -> L.Trainer:
    """One process of its own: a cluster's variables (SLURM, torchrun, MPI, LSF) neither requeue it nor make it a part
    of several, and Lightning looks for nothing in the current folder."""
    rank_zero_only.rank = 0
    with without(TRAINER_VARIABLES):
        return L.Trainer(
            accelerator="gpu" if experiment.device.type == "cuda" else "cpu",
            devices=1,
            num_nodes=1,
            max_epochs=1,
            default_root_dir=experiment.folder / "lightning",
            logger=_logger(experiment, resume),
            log_every_n_steps=1,
            callbacks=[callback],
            plugins=[AtomicCheckpointIO(), OneProcess()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )


class OneProcess(LightningEnvironment):
    """A process that is nobody's rank, whatever the environment says."""

    @property
    def creates_processes_externally(self) -> bool:
        return False

    def world_size(self) -> int:
        return 1

    def global_rank(self) -> int:
        return 0

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0


def _saved(experiment: Experiment) -> dict[str, Any] | None:
    """The checkpoint to go on from; without one, phases that were kept are loaded.

    Raises ReproduceError for a checkpoint that does not fit the module or holds weights that are not finite.
    """
    module, row, path = experiment.module, experiment.settings.row, experiment.checkpoint
    if not path.exists():
        experiment.cache.restore()
        if module.reused_phases:
            names = " and ".join(module.reused_phases)
            console.note(f"{row}: {names} trained before, taken from {experiment.cache.folder}")
        return None
    saved = checkpoints.read(path, experiment.identity)
    with _restoring(path):
        module.reused_phases = list(saved["seed_module"]["restored"])
        done, total = saved["seed_module"]["n_updates"], sum(phase.n_updates for phase in module.phases())
        crashed = saved["seed_module"]["crashed"]
        if done not in [chunk.start + chunk.n_updates for chunk in module.plan]:
            raise checkpoints.unusable(path, f"it counts {done} updates, at which no chunk of this run ends")
        own = module.state_dict()
        for name, value in saved["state_dict"].items():
            if name not in own or (value.shape, value.dtype) != (own[name].shape, own[name].dtype):
                raise checkpoints.unusable(path, f"{name} is not as this run has it")
            if not crashed and not value.isfinite().all():
                raise checkpoints.unusable(path, f"{name} holds NaN or infinity, and no seed of it had diverged")
    console.note(f"{row}: resumes at update {done:,} of {total:,}")
    ending.keeps(f"{row} from update {done:,}")
    return saved


@contextmanager
def _restoring(path: Path | None, callback: RunCallback | None = None) -> Iterator[None]:
    """Raises ReproduceError for whatever goes wrong with a checkpoint before training goes on from it."""
    try:
        yield
    except ReproduceError:
        raise
    except Exception as error:
        if path is None or (callback and callback.started):
            raise
        first = (str(error).splitlines() or [""])[0]
        raise checkpoints.unusable(path, f"{type(error).__name__}: {first}") from error


def _logger(experiment: Experiment, resume: int) -> Any:
    """Lightning's CSV logger; a resumed run adds a file, since the logger clears the folder that it opens."""
    if experiment.settings.run.logger == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        try:
            return WandbLogger(project="reproduce", name=experiment.settings.row, save_dir=experiment.folder)
        except ImportError as error:
            raise ReproduceError("run.logger=wandb needs the extra: pip install -e '.[wandb]'.") from error
    return CSVLogger(experiment.folder, name="", version=f"metrics_from_{resume}", flush_logs_every_n_steps=50)


def _save_weights(module: SeedModule, path: Path) -> str:
    """The checksum of the file."""
    from safetensors.torch import save_file

    write_with(path, lambda partial: save_file({k: v.contiguous() for k, v in module.state_dict().items()}, partial))
    return sha256(path)
