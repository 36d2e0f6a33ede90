"""The bandit's data: an equal mixture of Gaussian modes of the joint action, clipped to [-1, 1]."""

import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.rng import Stream, generator
from data.generate.collect import Progress
from data.generate.play import play


def modes(
    world: dict, seed: int, centers: list[list[float]], std: float, rows: int, progress: Progress | None = None
) -> TensorDict:
    """rows / 2 games; `centers` [K][N] are the modes' joint actions."""
    at = torch.tensor(centers)  # (K, N)

    def act(obs: Tensor, generator: torch.Generator) -> Tensor:
        chosen = at[torch.randint(len(at), (len(obs),), generator=generator)].unsqueeze(-1)  # (n, N, 1)
        return (chosen + std * torch.randn(chosen.shape, generator=generator)).clamp(-1, 1)

    made = play(world, act, rows // 2, generator(seed, Stream.COLLECTION))
    if progress:
        progress(rows, rows)
    return made


def measures(rows: TensorDict) -> dict[str, float]:
    """positive: share of games in which agent 0's action is; agreement: in which all signs agree."""
    actions = rows["action"][~rows["final"].squeeze(-1)].squeeze(-1)  # (games, N)
    signs = actions > 0
    agree = (signs == signs[:, :1]).all(1)
    return {"positive": signs[:, 0].double().mean().item(), "agreement": agree.double().mean().item()}
