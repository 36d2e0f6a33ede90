"""A run as a record: the one place that says which keys a row's record has."""

from typing import Any

import torch

from data.common.provenance import peak_memory
from lit_modules import deviations
from reproduce.experiment.build import Experiment
from reproduce.experiment.evaluate import EPISODE_RETURN, Played, further_metrics
from reproduce.experiment.scoring import Scores, notes
from reproduce.experiment.train import Training
from reproduce.judge import Verdict


def as_record(
    experiment: Experiment,
    training: Training,
    played: Played,
    scores: Scores,
    verdict: Verdict,
    wall_seconds: float,
) -> dict[str, Any]:
    """The record of kind "row" (reproduce.records checks it). `played`: the last evaluation."""
    settings, device = experiment.settings, experiment.device
    return {
        "kind": "row",
        "row": settings.row,
        "provenance": experiment.origin,
        "config": settings.values,
        "config_fingerprint": settings.fingerprint,
        "row_fingerprint": settings.row_fingerprint,
        "overrides": settings.overrides,
        "differs": settings.differs,
        "data": experiment.data_facts,
        "environment": {
            "world": settings.task.world,
            "fingerprint": experiment.world_fingerprint,
            "expected": settings.task.fingerprint,
            **experiment.foreign_parts,
        },
        "seeds": settings.protocol.seeds,
        "n_updates": training.n_updates,
        "deviations": deviations(settings.algo.name),
        "weights_sha256": training.weights_sha256,
        "evaluation": {
            "n_updates": training.n_updates,
            "checkpoint": settings.protocol.checkpoint,
            **{mode: metrics[EPISODE_RETURN] for mode, metrics in played.items()},
            **({"metrics": further} if (further := further_metrics(played)) else {}),
        },
        "scores": {
            "metric": experiment.row.metric,
            "mode": settings.protocol.mode,
            "per_seed": scores.per_seed,
            "data": scores.of_data,
            "references": experiment.references,
        },
        "notes": notes(experiment, training),
        "behavior_cloning": scores.behavior_cloning,
        "crashed": scores.crashed,
        "run": training.run,
        "stage1": experiment.cache.facts(),
        "acceleration": {
            "asked": settings.run.accelerate,
            "used": training.accelerated,
            "fallback": training.fallback,
        },
        "curve": training.curve,
        "diagnostics": training.diagnostics,
        "time": {
            "wall_s": round(wall_seconds, 2),
            "train_s": round(training.seconds, 2),
            "evaluate_s": round(training.evaluate_seconds, 2),
            "updates_per_s": round(training.n_updates / max(training.seconds, 1e-9), 2),
        },
        "memory": {
            "peak_bytes": peak_memory(),
            "device_peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        },
        "verdict": verdict.to_json(),
    }
