"""Between chunks of training: evaluations, kept phases, checkpoints, progress, and a signal that came meanwhile."""

import time
import uuid
from bisect import bisect_left
from statistics import fmean
from typing import Any

import lightning as L

from data.common.provenance import cpu_capability
from lit_modules.common.seed_module import SeedModule
from reproduce.core import console, ending
from reproduce.experiment.build import Experiment
from reproduce.experiment.checkpoint import RUN


def evaluation_points(module: SeedModule) -> list[int]:
    """Clock values of the learning curve: the start of the last phase, every `eval_every` in it, and its end.

    A point within a chunk moves to the chunk's end, so that when to look changes nothing of what is trained.
    """
    chunks = [c for c in module.plan if c.phase == module.plan[-1].phase]
    start, ends = chunks[0].start, [c.start + c.n_updates for c in chunks]
    asked = range(start + module.eval_every, ends[-1], module.eval_every)
    return sorted({start, *(ends[bisect_left(ends, point)] for point in asked), ends[-1]} - {0})


class RunCallback(L.Callback):
    """At chunk ends: evaluate where the protocol asks, keep finished phases, save in time, move the bar.

    `run_id` names the run from its first update to its record, through all resumptions. `capabilities` are pairs of an
    update and the CPU capability that ran from there on.
    """

    def __init__(self, experiment: Experiment, progress: console.Bar):
        self.experiment, self.progress = experiment, progress
        self.row, self.every_s = experiment.settings.row, experiment.settings.run.checkpoint_every_s
        self.saved_at = time.monotonic()
        self.points: list[int] = []
        self.evaluate_seconds = 0.0
        self.opened_at, self.earlier_seconds = time.perf_counter(), 0.0  # earlier: in processes that ended before
        self.fallback_noted = False
        self.started = False
        self.run_id = uuid.uuid4().hex
        self.capabilities: list[list[Any]] = [[0, cpu_capability()]]

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.started = True
        self.points = evaluation_points(module)
        if module.n_updates < module.plan[0].start:  # phases that were trained before: the clock passes over them
            module.n_updates = module.plan[0].start
            if module.n_updates in self.points:
                self._evaluate(module)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        ending.check()
        if module.accelerator.fallback and not self.fallback_noted:
            console.note(f"{self.row}: not accelerated, goes on as written ({module.accelerator.fallback})")
            self.fallback_noted = True
        self.experiment.cache.keep(module.n_updates)
        self.progress.update(module.n_updates, text=self.row)
        if module.n_updates in self.points:
            self._evaluate(module)
        end = module.n_updates == self.points[-1] or trainer.should_stop
        if end or time.monotonic() - self.saved_at >= self.every_s:
            for seed, name in module.broken_weights().items():
                crash = {"seed": seed, "n_updates": module.n_updates, "quantity": f"weights {name}"}
                module.crashed.setdefault(seed, crash)
            trainer.save_checkpoint(self.experiment.checkpoint)
            for logger in trainer.loggers:
                logger.save()  # what is logged up to here is not logged again
            self.saved_at = time.monotonic()
            ending.keeps(f"{self.row} from update {module.n_updates:,}")

    def _evaluate(self, module: SeedModule) -> None:
        started = time.perf_counter()
        self.progress.update(module.n_updates, text=f"{self.row} (evaluating)")
        returns = self.experiment.evaluator(module)
        means = {mode: [None if x is None else fmean(x) for x in seeds] for mode, seeds in returns.items()}
        module.history.append({"n_updates": module.n_updates, **means})
        self.evaluate_seconds += time.perf_counter() - started
        self.progress.update(module.n_updates, text=self.row)
        self.progress.say(f"{self.progress.line()}, mean return {_over_seeds(means)}")

    def on_save_checkpoint(self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[RUN] = {
            "identity": self.experiment.identity,
            "id": self.run_id,
            "cpu_capabilities": self.capabilities,
            "wall_s": self.earlier_seconds + time.perf_counter() - self.opened_at,
        }

    def go_on(self, run: dict[str, Any], n_updates: int) -> None:
        """Continue the run that a checkpoint holds, from update `n_updates` on."""
        (here,) = [capability for _, capability in self.capabilities]
        self.run_id, self.capabilities = run["id"], [list(pair) for pair in run["cpu_capabilities"]]
        self.earlier_seconds = float(run.get("wall_s", 0.0))
        if self.capabilities[-1][1] != here:
            self.capabilities.append([n_updates, here])

    def state_dict(self) -> dict[str, Any]:
        return {"evaluate_s": self.evaluate_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.evaluate_seconds = state_dict["evaluate_s"]


def _over_seeds(means: dict[str, list[float | None]]) -> str:
    told = {mode: [x for x in seeds if x is not None] for mode, seeds in means.items()}
    return ", ".join(f"{fmean(seeds):.4g} {mode}" if seeds else f"unknown {mode}" for mode, seeds in told.items())
