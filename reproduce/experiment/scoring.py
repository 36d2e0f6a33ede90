"""A run's scores in its row's metric, and what a record and a reader must know of them."""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from data.common.errors import ReproduceError
from lit_modules.common.seed_module import SeedModule
from reproduce import published
from reproduce.experiment.build import Experiment
from reproduce.experiment.evaluate import EPISODE_RETURN, Played
from reproduce.experiment.train import Training
from reproduce.records import recorded_cloning


@dataclass(frozen=True)
class Scores:
    """Per seed in the row's metric. `of_data`: the dataset's mean; `behavior_cloning`: of clones. None: unknown."""

    per_seed: list[float]
    crashed: list[dict[str, Any]]
    of_data: float | None
    behavior_cloning: list[float] | None


def score(experiment: Experiment, training: Training, played: Played) -> Scores:
    """Mean per seed in the row's metric; a seed that diverged counts as the minimum score, never dropped.

    Raises ReproduceError for a diverged seed of a row without a minimum score.
    """
    settings, row, references = experiment.settings, experiment.row, experiment.references
    mode, seeds, facts = settings.protocol.mode, settings.protocol.seeds, experiment.data_facts
    minimum = row.bound.minimum_score
    crashed = [training.crashed[seed] for seed in seeds if seed in training.crashed]
    if crashed and minimum is None:
        raise ReproduceError(f"seed {crashed[0]['seed']} diverged and the row has no minimum_score in paper_results.")
    seen = played[mode]  # {metric: [S][E]}
    means = [row.score({m: fmean(x[s]) for m, x in seen.items()}, references) for s in range(len(seeds))]
    per_seed = [minimum if s in training.crashed else x for s, x in zip(seeds, means, strict=True)]
    clones = cloning_scores(experiment.module, mode, row) or recorded_cloning(
        settings.row, settings.values["algo"], facts, seeds
    )
    of_data = (
        row.score({EPISODE_RETURN: facts["return"]["mean"]}, references) if row.measure == EPISODE_RETURN else None
    )
    return Scores(per_seed, crashed, of_data, clones)  # type: ignore[arg-type]


def notes(experiment: Experiment) -> list[str]:
    """Facts that a reader of the verdict must know besides."""
    said, cache, row, references = [], experiment.cache, experiment.row, experiment.references
    if shared := [name for name, fact in cache.facts().items() if fact["shared_by_seeds"]]:
        nets = " and the ".join(shared)
        said.append(f"all seeds share the {nets} that seed {cache.first_seed} trained: the spread is stage 2's")
    checked = experiment.manifest.get("transitions_checked")
    if checked and checked["agree"] < 0.99:
        n, share = checked["n"], checked["agree"]
        said.append(f"of {n} recorded transitions the world repeats {share:.0%}: the data may be another world's")
    if references and row.metric == "normalized_score":
        ours, theirs = references.values(), [row.references[f"normalization_{end}"] for end in references]
        said.append(experiment.evaluator.world.references_note.format(*ours, *theirs))
    return said


def cloning_scores(module: SeedModule, mode: str, row: published.PaperRow) -> list[float] | None:
    """The curve's first point, where the last phase starts from clones."""
    if module.starts_cloned and module.history and row.measure == EPISODE_RETURN:
        return [row.score({EPISODE_RETURN: mean}) for mean in module.history[0][mode]]
    return None


def mode_scores(record: dict[str, Any]) -> dict[str, list[float]]:
    """Mean episode return per seed in each mode; crashed seeds keep their minimum score in the judged mode."""
    played = {mode: record["evaluation"][mode] for mode in published.MODES if mode in record["evaluation"]}
    scores = {mode: [fmean(row) for row in rows] for mode, rows in played.items()}
    return scores | {record["scores"]["mode"]: record["scores"]["per_seed"]}
