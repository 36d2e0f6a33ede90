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
from reproduce.records import Scored, recorded_cloning, why_no_verdict


@dataclass(frozen=True)
class Scores:
    """Per seed in the row's metric. `of_data`: the dataset's mean; `behavior_cloning`: of clones. None: unknown."""

    per_seed: list[float | None]  # None: diverged, without a minimum score
    crashed: list[dict[str, Any]]
    of_data: float | None
    behavior_cloning: list[float] | None


def score(experiment: Experiment, training: Training, played: Played) -> Scores:
    """Mean per seed in the row's metric; a seed that diverged has the minimum score, or None where that is unknown."""
    settings, row, references = experiment.settings, experiment.row, experiment.references
    mode, seeds, facts = settings.protocol.mode, settings.protocol.seeds, experiment.data_facts
    minimum = row.bound.minimum_score
    crashed = [training.crashed[seed] for seed in seeds if seed in training.crashed]
    seen = played[mode]  # {metric: [S][E]}
    per_seed = [
        minimum if seed in training.crashed else row.score({m: fmean(x[s]) for m, x in seen.items()}, references)  # type: ignore[arg-type]
        for s, seed in enumerate(seeds)
    ]
    alike = Scored(settings.task.fingerprint, row.metric, mode, settings.protocol.eval_episodes, references)
    clones = cloning_scores(experiment.module, mode, row) or recorded_cloning(
        settings.row, settings.values["algo"], facts, seeds, scored=alike
    )
    of_data = (
        row.score({EPISODE_RETURN: facts["return"]["mean"]}, references) if row.measure == EPISODE_RETURN else None
    )
    return Scores(per_seed, crashed, of_data, clones)


def notes(experiment: Experiment, training: Training) -> list[str]:
    """Facts that a reader of the verdict must know besides."""
    said, cache, row, references = [], experiment.cache, experiment.row, experiment.references
    if shared := [name for name, fact in cache.facts().items() if fact["shared_by_seeds"]]:
        nets = " and the ".join(shared)
        said.append(f"all seeds share the {nets} that seed {cache.first_seed} trained: the spread is stage 2's")
    checked = experiment.manifest.get("transitions_checked") or {}
    if (share := checked.get("agree", 1.0)) < 0.99:
        said.append(
            f"of {checked['n']} recorded transitions the world repeats {share:.0%}: the data may be another world's"
        )
    means = experiment.settings.protocol.time_limits
    if (marked := checked.get("ends_marked")) is not None and (marked > 0) is not (means == "terminal"):
        said.append(f"the files mark {marked:.0%} of time limits as ends, and protocol.time_limits is {means}")
    capabilities = training.run["cpu_capabilities"]
    if len(capabilities) > 1:
        ran = ", ".join(f"{name} from update {update:,}" for update, name in capabilities)
        said.append(f"resumed on another CPU capability ({ran}): its bits are those of neither")
    if references and row.metric == "normalized_score":
        ours, theirs = references.values(), [row.references[f"normalization_{end}"] for end in references]
        said.append(experiment.evaluator.world.references_note.format(*ours, *theirs))
    return said


def cloning_scores(module: SeedModule, mode: str, row: published.PaperRow) -> list[float] | None:
    """The curve's point at the start of the last phase, where that starts from trained clones; None where one of them
    had diverged."""
    start = next(chunk.start for chunk in module.plan if chunk.phase == module.plan[-1].phase)
    if not (module.starts_cloned and row.measure == EPISODE_RETURN):
        return None
    for point in module.history:
        if point["n_updates"] == start and None not in point[mode]:
            return [row.score({EPISODE_RETURN: mean}) for mean in point[mode]]
    return None


def mode_scores(record: dict[str, Any]) -> dict[str, list[float]]:
    """Scores per seed in each mode of acting, in the row's metric; seeds that diverged have the minimum score.

    Raises ReproduceError where one has no score: means over the others would say too much.
    """
    if None in record["scores"]["per_seed"]:
        reasons = why_no_verdict(record["seeds"], record["scores"]["per_seed"])
        raise ReproduceError(f"{record['row']}: {reasons[0]}; lower algo.lr or look at the data.")
    row, evaluation, judged = published.row(record["row"]), record["evaluation"], record["scores"]["per_seed"]
    played = evaluation if row.measure == EPISODE_RETURN else evaluation["metrics"][row.measure]
    scores = {
        mode: [
            lowest
            if episodes is None
            else row.score({row.measure: fmean(episodes)}, record["scores"].get("references"))
            for episodes, lowest in zip(played[mode], judged, strict=True)
        ]
        for mode in published.MODES
        if mode in played
    }
    return scores | {record["scores"]["mode"]: judged}
