"""A run's scores in its row's metric, and what a record and a reader must know of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from data.common.errors import ReproduceError
from data.common.files import sha256
from data.generate.mixture import WEIGHTS as BEHAVIOR
from data.worlds import fingerprint
from lit_modules.common.seed_module import SeedModule
from reproduce import published
from reproduce.experiment.phase_cache import PhaseCache
from reproduce.records import recorded_cloning

if TYPE_CHECKING:
    from reproduce.experiment.build import Experiment
    from reproduce.experiment.train import Training


def prey_facts(task: dict[str, Any], brought: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the official prey, where it was played against, with the fingerprint of that world.

    The record's other fingerprint stays that of the task's own world: it tells whether the simulator is the row's.
    """
    if not brought:
        return {}
    found = fingerprint(task["world"], **task["params"] | brought)
    return {"prey": {"kind": "official", "sha256": sha256(Path(brought["prey"])), "fingerprint": found}}


@dataclass(frozen=True)
class Scores:
    """Per seed in the row's metric. `of_data`: the dataset's mean; `behavior_cloning`: of clones, None if unknown."""

    per_seed: list[float]
    crashed: list[dict[str, Any]]
    of_data: float
    behavior_cloning: list[float] | None


def score(experiment: "Experiment", training: "Training", returns: dict[str, list[list[float]]]) -> Scores:
    """Mean return per seed in the row's metric; a seed that diverged counts as the minimum score, never dropped.

    returns: {mode: [S][E]}. Raises ReproduceError for a diverged seed of a row without a minimum score.
    """
    settings, row, references = experiment.settings, experiment.row, experiment.references
    mode, seeds, facts = settings.protocol.mode, settings.protocol.seeds, experiment.data_facts
    minimum = row.bound.minimum_score
    crashed = [training.crashed[seed] for seed in seeds if seed in training.crashed]
    if crashed and minimum is None:
        raise ReproduceError(f"seed {crashed[0]['seed']} diverged and the row has no minimum_score in paper_results.")
    means = [row.score(fmean(episodes), references) for episodes in returns[mode]]
    per_seed = [minimum if s in training.crashed else x for s, x in zip(seeds, means, strict=True)]
    clones = cloning_scores(experiment.module, mode, row) or recorded_cloning(
        settings.row, settings.values["algo"], facts, seeds
    )
    return Scores(per_seed, crashed, row.score(facts["return"]["mean"], references), clones)  # type: ignore[arg-type]


def own_references(task: dict[str, Any]) -> dict[str, float] | None:
    """Returns of random and of expert play against the prey trained here, in a task that has one; else None.

    They are measured by `python -m data.generate.behavior references`, for scores normalized on regenerated data.
    """
    file = BEHAVIOR / "omar" / f"{task['params'].get('scenario')}_references.json"
    if not file.is_file():
        return None
    measured = json.loads(file.read_text(encoding="utf-8"))
    return {end: measured[end]["mean"] for end in ("random", "expert")}


def notes(cache: PhaseCache, row: published.PaperRow, references: dict[str, float] | None) -> list[str]:
    """What a reader of the verdict must know besides."""
    said = []
    facts = cache.facts()
    if shared := [name for name, fact in facts.items() if fact["shared_by_seeds"]]:
        nets = " and the ".join(shared)
        said.append(f"all seeds share the {nets} that seed {cache.first_seed} trained: the spread is stage 2's")
    if references and row.metric == "normalized_score":
        ours, theirs = references.values(), [row.references[f"normalization_{end}"] for end in references]
        said.append(
            "normalized by random and expert returns against our prey, {:.4g} and {:.4g} (OMAR's constants, of its own "
            "prey: {:g} and {:g})".format(*ours, *theirs)
        )
    return said


def cloning_scores(module: SeedModule, mode: str, row: published.PaperRow) -> list[float] | None:
    """The curve's first point, where the last phase starts from clones."""
    if module.starts_cloned and module.history:
        return [row.score(mean) for mean in module.history[0][mode]]
    return None


def mode_scores(record: dict[str, Any]) -> dict[str, list[float]]:
    """Mean episode return per seed in each mode; crashed seeds keep their minimum score in the judged mode."""
    played = {mode: record["evaluation"][mode] for mode in published.MODES if mode in record["evaluation"]}
    scores = {mode: [fmean(row) for row in rows] for mode, rows in played.items()}
    return scores | {record["scores"]["mode"]: record["scores"]["per_seed"]}
