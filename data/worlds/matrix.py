"""Matrix games: one repeated state, one payoff shared by all agents (XOR and M-NE are such games)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data.common.errors import ReproduceError
from data.worlds.discrete import DiscreteWorld


def _plain(value):
    """Nested sequences of any kind (a configuration's lists too) as nested lists."""
    return [_plain(v) for v in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def payoff_tensor(payoff) -> Tensor:
    """float64 [A] * N from nested lists, one level per agent; ReproduceError when it is no such thing."""
    try:
        table = torch.tensor(_plain(payoff), dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ReproduceError(f"payoff {payoff!r} is ragged or not numeric: {error}.") from error
    if table.ndim == 0 or len(set(table.shape)) != 1 or table.numel() == 0:
        raise ReproduceError(f"payoff has shape {list(table.shape)}, expected one axis per agent, all of equal length.")
    if not table.isfinite().all():
        raise ReproduceError(f"payoff {payoff!r} holds NaN or infinity.")
    return table


class MatrixGame(DiscreteWorld):
    """`payoff[a_0][a_1]..` is the reward of a joint action; there is one axis, hence one agent, per level of the lists.

    obs = state = [0, 1] repeated N times, as in AlberDICE's matrix games (a two-state machine that stays in state 1).

    The game has no end of its own. With episode_limit 1 it is played once and that end is `terminated`: nothing
    follows. With a longer limit the repetition is cut, which is `truncated`.
    """

    def __init__(self, n_worlds: int, payoff, episode_limit: int = 1, device="cpu"):
        table = payoff_tensor(payoff)
        size = 2 * table.ndim
        super().__init__(n_worlds, table.ndim, table.shape[0], [0.0] * size, [1.0] * size, episode_limit, device)
        self.register_buffer("_payoff", table.to(torch.float32).to(self.device), persistent=False)
        self.register_buffer("_state", torch.tensor([0.0, 1.0] * table.ndim, device=self.device), persistent=False)

    def _restart(self, chosen: Tensor) -> None:
        pass

    def _advance(self, action: Tensor, live: Tensor) -> Tensor:
        return self._payoff[action.unbind(-1)]  # type: ignore

    def _terminated(self) -> Tensor:
        return self._steps >= 1 if self.episode_limit == 1 else torch.zeros_like(self._steps, dtype=torch.bool)

    def _features(self) -> Tensor:
        return self._state.repeat(len(self._steps), 1)  # type: ignore
