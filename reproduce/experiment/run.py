"""One row: data, training of all seeds at once, evaluation, record, verdict. Killed at any moment, it resumes."""

import fcntl
import hashlib
import json
import logging
import time
import warnings
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from data.buffer import OfflineData
from data.catalog import store
from data.common.errors import ReproduceError
from data.common.files import sha256, write_with
from data.common.paths import ROOT, outputs_dir
from data.common.provenance import peak_memory, provenance
from data.common.spec import Dims
from data.worlds import fingerprint, make_world
from lit_modules import algorithm, deviations
from lit_modules.common.seed_module import SeedModule
from reproduce import published, records
from reproduce.config import Settings
from reproduce.core import console
from reproduce.experiment.evaluate import Evaluator
from reproduce.experiment.phase_cache import Kept
from reproduce.experiment.scoring import (
    cloning_scores,
    data_facts,
    notes,
    own_references,
    prey_facts,
    recorded_cloning,
    score_seeds,
    why_not_comparable,
)
from reproduce.judge import judge

for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)


DECIDES_BITS = ("device", "threads", "chunk_size", "accelerate", "matmul_precision")  # of the settings under `run`


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints are written whole or not at all, and read without unpickling code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_with(Path(path), lambda partial: torch.save(checkpoint, partial))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> Any:
        try:
            return torch.load(path, map_location=map_location or (lambda storage, _: storage), weights_only=True)
        except Exception as error:
            raise ReproduceError(f"checkpoint {path} cannot be read ({error}): delete it to train anew.") from error


class Clockwork(L.Callback):
    """At chunk ends: evaluate where the protocol asks, keep finished phases, save in time, move the bar."""

    def __init__(
        self, row: str, evaluator: Evaluator, kept: Kept, checkpoint: Path, every_s: float, progress: console.Bar
    ):
        self.row, self.evaluator, self.kept, self.progress = row, evaluator, kept, progress
        self.checkpoint, self.every_s = checkpoint, every_s
        self.saved_at = time.monotonic()
        self.points: list[int] = []
        self.evaluate_s = 0.0
        self.told_of_fallback = False

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.points = evaluation_points(module)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if module.accelerator.fallback and not self.told_of_fallback:
            console.note(f"{self.row}: not accelerated, goes on as written ({module.accelerator.fallback})")
            self.told_of_fallback = True
        self.kept.keep(module.n_updates)
        if module.n_updates in self.points:
            started = time.perf_counter()
            self.progress.update(module.n_updates, text=f"{self.row} (evaluating)")
            returns = self.evaluator(module)
            means = {mode: [fmean(row) for row in rows] for mode, rows in returns.items()}
            module.history.append({"n_updates": module.n_updates, **means})
            self.evaluate_s += time.perf_counter() - started
        end = module.n_updates == self.points[-1] or trainer.should_stop
        if end or time.monotonic() - self.saved_at >= self.every_s:
            trainer.save_checkpoint(self.checkpoint)
            self.saved_at = time.monotonic()
        self.progress.update(module.n_updates, text=self.row)

    def state_dict(self) -> dict[str, Any]:
        return {"evaluate_s": self.evaluate_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.evaluate_s = state_dict["evaluate_s"]


def evaluation_points(module: SeedModule) -> list[int]:
    """Clock values of the learning curve: the start of the last phase, every `eval_every` in it, and its end.

    A point within a chunk moves to the chunk's end, so that when to look changes nothing of what is trained.
    """
    chunks = [c for c in module.plan if c.phase == module.plan[-1].phase]
    start, ends = chunks[0].start, [c.start + c.n_updates for c in chunks]
    asked = range(start + module.eval_every, ends[-1], module.eval_every)
    return sorted({start, *(ends[bisect_left(ends, point)] for point in asked), ends[-1]} - {0})


def run_row(settings: Settings, write: bool = True) -> dict[str, Any]:
    """Train, evaluate and judge one row; the record, written under records/ when `write`.

    Raises ReproduceError for bad settings or data, and when every seed diverged (after the record was written).
    """
    started = time.perf_counter()
    values, protocol = settings.values, settings.values["protocol"]
    row = published.row(settings.row)
    device, threads = _device(values["run"])
    origin = provenance(values["run"]["device"], threads)  # now: the commit may move while training
    dataset = _dataset(values["data"])
    transitions = dataset.transitions
    if protocol["time_limits"] == "terminal":
        transitions["terminated"] = transitions["terminated"] | transitions["truncated"]
    task = values["task"]
    seeds = list(range(protocol["first_seed"], protocol["first_seed"] + protocol["n_seeds"]))

    module_class = algorithm(values["algo"]["name"])[0]
    if protocol["mode"] not in module_class.modes:
        raise ReproduceError(
            f"protocol.mode={protocol['mode']}: {values['algo']['name']} acts {module_class.modes} only."
        )
    # The prey that came with the data, unless the settings name one.
    brought = {key: value for key, value in dataset.played_in.items() if task["params"].get(key) is None}
    evaluator = Evaluator(
        lambda n: make_world(task["world"], n, device, **task["params"] | brought),
        seeds,
        protocol["eval_episodes"],
        module_class.modes,
    )
    world = evaluator.world
    module = _module(settings, seeds, world)
    _check_sizes(transitions, world, values["data"]["id"], task["world"])
    data = OfflineData(transitions, module.keys, seeds, values["data"]["storage"], world.views, device)
    folder = run_folder(settings, data_facts(dataset.manifest)["sha256"])
    with _locked(folder, settings.row):
        run = {key: value for key, value in values["run"].items() if key in DECIDES_BITS}
        kept = Kept(settings, module, data_facts(dataset.manifest)["sha256"], seeds, run)
        callback = _fit(settings, module, data, evaluator, kept, folder, device)
        returns = evaluator(module)
        weights = folder / "weights.safetensors"
        _save_weights(module, weights)
        references = None if brought else own_references(task)
        scores, crashed = score_seeds(returns[protocol["mode"]], module, row, seeds, references)
        measured = fingerprint(task["world"], **task["params"])
        facts = data_facts(dataset.manifest)
        clones = cloning_scores(module, protocol["mode"], row) or recorded_cloning(
            settings.row, values["algo"], facts, seeds
        )
        verdict = judge(
            scores,
            row.bound,
            not_comparable=why_not_comparable(settings, measured, dataset.manifest),
            data_kind=values["data"]["kind"],
            behavior_cloning=clones,
        )
        record = {
            "kind": "row",
            "row": settings.row,
            "provenance": origin,
            "config": values,
            "config_fingerprint": settings.fingerprint,
            "row_fingerprint": settings.row_fingerprint,
            "overrides": settings.overrides,
            "differs": settings.differs,
            "data": facts,
            "environment": {
                "world": task["world"],
                "fingerprint": measured,
                "expected": task["fingerprint"],
                **prey_facts(task, brought),
            },
            "seeds": seeds,
            "n_updates": module.n_updates,
            "deviations": deviations(values["algo"]["name"]),
            "weights_sha256": sha256(weights),
            "evaluation": {"n_updates": module.n_updates, "checkpoint": protocol["checkpoint"], **returns},
            "scores": {
                "metric": row.metric,
                "mode": protocol["mode"],
                "per_seed": scores,
                "data": row.score(facts["return"]["mean"], references),
                "references": references,
            },
            "notes": notes(kept, row, references),
            "behavior_cloning": clones,
            "crashed": crashed,
            "stage1": kept.facts(),
            "acceleration": {
                "asked": values["run"]["accelerate"],
                "used": module.accelerator.used,
                "fallback": module.accelerator.fallback,
            },
            "curve": {key: [point[key] for point in module.history] for key in ("n_updates", *module.modes)},
            "time": {
                "wall_s": round(time.perf_counter() - started, 2),
                "train_s": round(module.train_seconds, 2),
                "evaluate_s": round(callback.evaluate_s, 2),
                "updates_per_s": round(module.n_updates / max(module.train_seconds, 1e-9), 2),
            },
            "memory": {
                "peak_bytes": peak_memory(),
                "device_peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
            },
            "verdict": verdict.to_json(),
        }
        if write:
            record["file"] = str(records.write(record))
        (folder / "last.ckpt").unlink(missing_ok=True)  # only now is nothing lost by it
    for crash in crashed:
        console.note(
            f"seed {crash['seed']} diverged: {crash['quantity']} was not finite at update {crash['n_updates']}; "
            f"it counts as the minimum score {row.bound.minimum_score}"
        )
    if len(crashed) == len(seeds):
        raise ReproduceError(
            f"row {settings.row} diverged in every seed, first {crashed[0]['quantity']} at update "
            f"{crashed[0]['n_updates']}; the record is {record.get('file', 'not written')}. "
            "Lower algo.lr or look at the data."
        )
    return record


def run_folder(settings: Settings, data_sha256: str) -> Path:
    """outputs/runs/<row>/<hash>: the hash covers whatever decides the bits, so only the same run resumes."""
    source = hashlib.sha256()
    for path in sorted(
        [*ROOT.glob("lit_modules/**/*.py"), *ROOT.glob("data/**/*.py"), ROOT / "reproduce/experiment/evaluate.py"]
    ):
        source.update(path.read_bytes())
    run = {key: value for key, value in settings.values["run"].items() if key in DECIDES_BITS}
    identity = [settings.values["algo"], settings.values["task"], settings.values["protocol"], run, data_sha256]
    digest = hashlib.sha256((json.dumps(identity, sort_keys=True) + source.hexdigest()).encode()).hexdigest()
    return outputs_dir() / "runs" / settings.row / digest[:12]


def _fit(
    settings: Settings,
    module: SeedModule,
    data: OfflineData,
    evaluator: Evaluator,
    kept: Kept,
    folder: Path,
    device: torch.device,
) -> Clockwork:
    checkpoint, resume = folder / "last.ckpt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)["seed_module"]
        resume, module.restored = saved["n_updates"], saved["restored"]
    else:
        kept.restore()
        if module.restored:
            console.note(f"{settings.row}: {' and '.join(module.restored)} trained before, taken from {kept.folder}")
    total = sum(phase.n_updates for phase in module.phases())
    if resume:
        console.note(f"{settings.row}: resumes at update {resume} of {total}")
    with warnings.catch_warnings(), console.bar(settings.row, total, "updates", resume) as bar:
        warnings.simplefilter("ignore")
        callback = Clockwork(
            settings.row, evaluator, kept, checkpoint, settings.values["run"]["checkpoint_every_s"], bar
        )
        trainer = L.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=1,
            logger=_logger(settings, folder, resume),
            log_every_n_steps=1,
            callbacks=[callback],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        if resume < total:
            trainer.fit(module, data, ckpt_path=checkpoint if resume else None, weights_only=True)
        else:
            _restore(module, callback, checkpoint)
    if module.n_updates != total and len(module.crashed) < len(module.seeds):
        raise RuntimeError(f"{module.n_updates} updates done, {total} asked for")  # the clock's invariant
    return callback


def _restore(module: SeedModule, callback: Clockwork, checkpoint: Path) -> None:
    """A run killed between its last update and its record: nothing is left to train."""
    saved = torch.load(checkpoint, weights_only=True)
    module.load_state_dict(saved["state_dict"])
    module.on_load_checkpoint(saved)
    callback.load_state_dict(next(iter(saved["callbacks"].values())))


def _logger(settings: Settings, folder: Path, resume: int) -> Any:
    """Lightning's CSV logger; a resumed run adds a file, since the logger clears the folder that it opens."""
    if settings.values["run"]["logger"] == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        try:
            return WandbLogger(project="reproduce", name=settings.row, save_dir=folder)
        except ImportError as error:
            raise ReproduceError("run.logger=wandb needs the extra: pip install -e '.[wandb]'.") from error
    return CSVLogger(folder, name="", version=f"metrics_from_{resume}", flush_logs_every_n_steps=50)


def _module(settings: Settings, seeds: list[int], world: Any) -> SeedModule:
    module_class = algorithm(settings.values["algo"]["name"])[0]
    if module_class.discrete != world.discrete:
        kinds = [("continuous", "discrete")[kind] for kind in (module_class.discrete, world.discrete)]
        raise ReproduceError(
            f"algo={settings.values['algo']['name']} is for {kinds[0]} actions, the world "
            f"{settings.values['task']['world']} has {kinds[1]} ones."
        )
    if world.discrete:
        space = world.observation_spec["obs"].space
        low, high = (bound.reshape(-1, world.obs_size)[0].tolist() for bound in (space.low, space.high))
        dims = Dims(world.n_agents, world.obs_size, world.n_actions, tuple(low), tuple(high))
    else:
        dims = Dims(world.n_agents, world.obs_size, action_size=world.action_size, state_size=world.state_size)
    clock = {
        "chunk_size": settings.values["run"]["chunk_size"],
        "eval_every": settings.values["protocol"]["eval_every"],
        "accelerate": settings.values["run"]["accelerate"],
    }
    try:
        return module_class(settings.algo, seeds, dims, **clock)
    except ValueError as error:
        raise ReproduceError(f"row {settings.row}: {error}") from error


def _device(run: dict[str, Any]) -> tuple[torch.device, int]:
    if run["threads"]:
        torch.set_num_threads(run["threads"])
    torch.set_float32_matmul_precision(run["matmul_precision"])
    if run["device"] == "cuda" and not torch.cuda.is_available():
        raise ReproduceError("run.device=cuda, but torch sees no CUDA device here; use run.device=cpu.")
    return torch.device(run["device"]), torch.get_num_threads()


def _dataset(data: dict[str, Any]) -> store.Dataset:
    with console.bar(f"data {data['id']}", 1, "steps") as bar:
        return store.get(data["id"], data["kind"], data["root"], bar.update, data["seed"])


def _check_sizes(transitions: Any, world: Any, data_id: str, name: str) -> None:
    if world.discrete:
        found = (*transitions["obs"].shape[1:], transitions["legal_actions"].shape[-1])
        expected = (world.n_agents, world.obs_size, world.n_actions)
    else:
        found = (*transitions["action"].shape[1:], transitions["features"].shape[-1])
        expected = (world.n_agents, world.action_size, world.n_features)
    if found != expected:
        raise ReproduceError(
            f"dataset {data_id} has the sizes {found}, world {name} has {expected}: "
            "the row's data.id and task do not belong together."
        )


def _save_weights(module: SeedModule, path: Path) -> None:
    from safetensors.torch import save_file

    write_with(path, lambda partial: save_file({k: v.contiguous() for k, v in module.state_dict().items()}, partial))


@contextmanager
def _locked(folder: Path, row: str) -> Iterator[None]:
    """One process per run folder; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ReproduceError(f"{row} with these settings is running in another process; wait for it.") from error
        yield
