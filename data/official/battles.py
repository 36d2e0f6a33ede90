"""What the loaders of StarCraft data have in common: rows of episodes become trajectories of a world."""

from typing import Any

from tensordict import TensorDict
from torch import Tensor

from data.common.errors import ReproduceError
from data.schema import trajectories_of
from data.worlds import layout_for

MOST_ILLEGAL = 0.001  # share of an agent's actions that a file may have marked as not available


def check_sizes(what: str, found: dict[str, tuple[int, ...]], world: dict[str, Any]) -> None:
    """found: shapes of one row by key. Raises ReproduceError where they are another map's or another view's."""
    wanted = {key: shape for key, (_, shape) in layout_for(**world).columns().items() if key in found}
    for key, shape in wanted.items():
        if found[key] != shape:
            raise ReproduceError(
                f"{what}: {key} of a step is {list(found[key])}, expected {list(shape)} for {world['map_name']}, view "
                f"{world.get('view', 'plain')}. Is it another map's file?"
            )


def rows_of(what: str, columns: dict[str, Tensor], world: dict[str, Any]) -> TensorDict:
    """Trajectories of concatenated episodes, final rows with zero actions and rewards. An action that its step does not
    allow is made legal where there are few, and refused where there are many."""
    final = columns["final"].squeeze(-1)
    columns["action"][final], columns["reward"][final] = 0, 0
    legal, action = columns["legal_actions"], columns["action"]
    if ((action < 0) | (action >= legal.shape[-1])).any():
        odd = action[(action < 0) | (action >= legal.shape[-1])]
        raise ReproduceError(f"{what}: an action is {int(odd[0])}, expected 0 to {legal.shape[-1] - 1}.")
    stuck = ~legal.any(-1).all(-1) & ~final
    if stuck.any():
        row = int(stuck.nonzero()[0])
        raise ReproduceError(f"{what}: step {row} allows an agent nothing: padding that is marked as filled?")
    illegal = ~legal.gather(-1, action.unsqueeze(-1)).squeeze(-1) & ~final.unsqueeze(-1)
    if (count := int(illegal.sum())) > MOST_ILLEGAL * (~final).sum() * action.shape[-1]:
        row = int(illegal.any(-1).nonzero()[0])
        raise ReproduceError(
            f"{what}: {count} actions are not among the available ones, first {action[row].tolist()} in step {row}: "
            "are the agents' actions swapped, or is it another map's file?"
        )
    if count:  # in those places alone: final rows have the action 0, which nobody took
        columns["legal_actions"] = legal.scatter(-1, action.unsqueeze(-1), True).where(illegal.unsqueeze(-1), legal)
    rows = trajectories_of(columns)
    try:
        layout_for(**world).check(rows)
    except ReproduceError as error:
        raise ReproduceError(f"{what}: {error}") from error
    return rows
