"""Training: all seeds of a row at once, by Lightning. Killed at any moment, it resumes to the bit."""

import logging
import time
import warnings
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from data.common.errors import ReproduceError
from data.common.files import sha256, write_with
from lit_modules.common.seed_module import SeedModule
from reproduce.core import console
from reproduce.experiment.build import Experiment

for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Training:
    """The outcome of training. `crashed`: seeds that diverged; `curve`: mean returns per point, mode and seed."""

    n_updates: int
    seconds: float
    evaluate_seconds: float
    crashed: dict[int, dict[str, Any]]
    curve: dict[str, list[Any]]
    weights_sha256: str
    accelerated: str
    fallback: str | None


def train(experiment: Experiment) -> Training:
    """Train the experiment's module in place, from its checkpoint or from kept phases on where there are any.

    Raises ReproduceError for a damaged checkpoint or a kept phase that was asked for and is not there.
    """
    module, settings, checkpoint = experiment.module, experiment.settings, experiment.checkpoint
    resume = _resume(experiment)
    total = sum(phase.n_updates for phase in module.phases())
    with warnings.catch_warnings(), console.bar(settings.row, total, "updates", resume) as bar:
        warnings.simplefilter("ignore")
        callback = RunCallback(experiment, bar)
        trainer = L.Trainer(
            accelerator="gpu" if experiment.device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=1,
            logger=_logger(experiment, resume),
            log_every_n_steps=1,
            callbacks=[callback],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        if resume < total:
            trainer.fit(module, experiment.data, ckpt_path=checkpoint if resume else None, weights_only=True)
        else:
            _restore_finished(module, callback, checkpoint)
    if module.n_updates != total and len(module.crashed) < len(module.seeds):
        raise RuntimeError(f"{module.n_updates} updates done, {total} asked for")  # the clock's invariant
    return Training(
        n_updates=module.n_updates,
        seconds=module.train_seconds,
        evaluate_seconds=callback.evaluate_seconds,
        crashed=module.crashed,
        curve={key: [point[key] for point in module.history] for key in ("n_updates", *module.modes)},
        weights_sha256=_save_weights(module, experiment.folder / "weights.safetensors"),
        accelerated=module.accelerator.used,
        fallback=module.accelerator.fallback,
    )


def evaluation_points(module: SeedModule) -> list[int]:
    """Clock values of the learning curve: the start of the last phase, every `eval_every` in it, and its end.

    A point within a chunk moves to the chunk's end, so that when to look changes nothing of what is trained.
    """
    chunks = [c for c in module.plan if c.phase == module.plan[-1].phase]
    start, ends = chunks[0].start, [c.start + c.n_updates for c in chunks]
    asked = range(start + module.eval_every, ends[-1], module.eval_every)
    return sorted({start, *(ends[bisect_left(ends, point)] for point in asked), ends[-1]} - {0})


class RunCallback(L.Callback):
    """At chunk ends: evaluate where the protocol asks, keep finished phases, save in time, move the bar."""

    def __init__(self, experiment: Experiment, progress: console.Bar):
        self.experiment, self.progress = experiment, progress
        self.row, self.every_s = experiment.settings.row, experiment.settings.run.checkpoint_every_s
        self.saved_at = time.monotonic()
        self.points: list[int] = []
        self.evaluate_seconds = 0.0
        self.fallback_noted = False

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.points = evaluation_points(module)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if module.accelerator.fallback and not self.fallback_noted:
            console.note(f"{self.row}: not accelerated, goes on as written ({module.accelerator.fallback})")
            self.fallback_noted = True
        self.experiment.cache.keep(module.n_updates)
        if module.n_updates in self.points:
            self._evaluate(module)
        end = module.n_updates == self.points[-1] or trainer.should_stop
        if end or time.monotonic() - self.saved_at >= self.every_s:
            trainer.save_checkpoint(self.experiment.checkpoint)
            self.saved_at = time.monotonic()
        self.progress.update(module.n_updates, text=self.row)

    def _evaluate(self, module: SeedModule) -> None:
        started = time.perf_counter()
        self.progress.update(module.n_updates, text=f"{self.row} (evaluating)")
        returns = self.experiment.evaluator(module)
        means = {mode: [fmean(episodes) for episodes in seeds] for mode, seeds in returns.items()}
        module.history.append({"n_updates": module.n_updates, **means})
        self.evaluate_seconds += time.perf_counter() - started

    def state_dict(self) -> dict[str, Any]:
        return {"evaluate_s": self.evaluate_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.evaluate_seconds = state_dict["evaluate_s"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints are written whole or not at all, and read without unpickling code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_with(Path(path), lambda partial: torch.save(checkpoint, partial))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> Any:
        try:
            return torch.load(path, map_location=map_location or (lambda storage, _: storage), weights_only=True)
        except Exception as error:
            raise ReproduceError(f"checkpoint {path} cannot be read ({error}): delete it to train anew.") from error


def _resume(experiment: Experiment) -> int:
    """The update to go on from; without a checkpoint, phases that were kept are loaded."""
    module, row, checkpoint = experiment.module, experiment.settings.row, experiment.checkpoint
    if not checkpoint.exists():
        experiment.cache.restore()
        if module.reused_phases:
            names = " and ".join(module.reused_phases)
            console.note(f"{row}: {names} trained before, taken from {experiment.cache.folder}")
        return 0
    saved = AtomicCheckpointIO().load_checkpoint(checkpoint)["seed_module"]
    module.reused_phases = saved["restored"]
    if saved["n_updates"]:
        total = sum(phase.n_updates for phase in module.phases())
        console.note(f"{row}: resumes at update {saved['n_updates']} of {total}")
    return saved["n_updates"]


def _restore_finished(module: SeedModule, callback: RunCallback, checkpoint: Path) -> None:
    """A run killed between its last update and its record: nothing is left to train."""
    saved = AtomicCheckpointIO().load_checkpoint(checkpoint)
    module.load_state_dict(saved["state_dict"])
    module.on_load_checkpoint(saved)
    callback.load_state_dict(next(iter(saved["callbacks"].values())))


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
