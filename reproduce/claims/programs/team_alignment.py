"""Which of a dataset's teams do trained actors follow, and when in an episode?

    python -m reproduce.claims.programs.team_alignment ROW outputs/runs/ROW/<hash>/weights.safetensors [KEY=VALUE ..]

For data that mix teams (data.id=omar/simple_spread-expert and its like) and OMSD's actors: at states of the data,
by step of the episode, how far the joint action is from the nearest team's, how often every agent is nearest to the
same team (by chance: K^(1-N) of K teams and N agents), and how far the teams are from each other. Root mean squares
over agents and action dimensions, means over seeds.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from data.catalog import registry, store
from data.common.errors import ReproduceError
from data.common.programs import ended
from data.generate.mixture import act, snapshots
from data.worlds import make_world
from lit_modules.omsd import OMSD
from reproduce.config import compose

STEPS, STATES = (0, 3, 8, 15, 22), 4096


@torch.no_grad()
def followed(row: str, weights: Path, overrides: Sequence[str] = ()) -> list[dict[str, float]]:
    """Per step of STEPS: to_nearest_team, same_team (share), teams_apart. Raises ReproduceError for one team's data."""
    settings, tensors = compose(row, overrides), _read(weights)
    dataset, task = settings.data.id, settings.task
    parts = registry.dataset(dataset).generator.params.get("parts", [])
    if len(parts) < 2:
        mixture = dataset.removesuffix("-one-team")
        raise ReproduceError(f"{dataset} holds the play of one team; data.id={mixture} mixes several.")
    world = make_world(task.world, 1, **task.params)
    rows = store.get(dataset).transitions
    seeds = list(range(tensors["policy.theta"].shape[0]))
    module = OMSD(settings.algo, seeds, world.spec)
    module.policy.load_state_dict({"theta": tensors["policy.theta"]})
    final = rows["final"].squeeze(-1).nonzero().squeeze(-1)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), final[:-1] + 1])
    chosen = starts[torch.randint(len(starts), (STATES,), generator=torch.Generator().manual_seed(0))]
    found = []
    for step in STEPS:
        obs = world.observe(rows["features"][chosen + step])["obs"]  # (B, N, O)
        teams = torch.stack([act(snapshots(part["weights"])[part["snapshot"]], obs) for part in parts])  # (K, B, N, A)
        actions, _ = module.act(obs.expand(len(seeds), *obs.shape), None, None)  # (S, B, N, A)
        apart = (actions.unsqueeze(0) - teams.unsqueeze(1)).square().mean(-1)  # (K, S, B, N)
        nearest = apart.argmin(0)  # (S, B, N)
        between = [(a - b).square().mean().sqrt() for k, a in enumerate(teams) for b in teams[:k]]
        found.append(
            {
                "step": step,
                "to_nearest_team": apart.mean(-1).amin(0).sqrt().mean().item(),
                "same_team": (nearest == nearest[..., :1]).all(-1).float().mean().item(),
                "teams_apart": torch.stack(between).mean().item(),
            }
        )
    return found


def _read(weights: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(weights)
    except (OSError, SafetensorError) as error:
        raise ReproduceError(f"weights {str(weights)!r} cannot be read: {error}.") from error


def main(row: str = "", weights: str = "", *overrides: str) -> None:
    """Raises ReproduceError for a row that is none and for weights that are not there."""
    for line in followed(row, Path(weights), list(overrides)):
        print("  ".join(f"{key} {value:.3g}" for key, value in line.items()))


if __name__ == "__main__":
    sys.exit(ended("team_alignment", main, sys.argv[1:]))
