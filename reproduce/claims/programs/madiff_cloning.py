"""Do twice normalized observations and drawn actions explain the cloning column of OMAR's table, which is MADiff's?

    python -m reproduce.claims.programs.madiff_cloning [ROW] [N_UPDATES] [LR]

MADiff's repository (120bf5c) holds clones, a trainer and an evaluator, and no settings for them. Here as there: one
network per agent, Mish layers of 128, 256, 512, 1024, 512, 256 and 128, a normal distribution whose width is learned
and the same everywhere, minibatches of 32; observations and actions made uniform in [-1, 1] by the data's distribution
function of each number. The released evaluator normalizes observations twice and draws actions; every way of playing
is scored.
"""

import sys
from itertools import pairwise

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from data.catalog import store
from data.common.programs import ended, number
from data.worlds import make_world
from reproduce import published
from reproduce.config import compose

WIDTHS, BATCH, EPISODES = (128, 256, 512, 1024), 32, 200
WAYS = [(times, drawn) for times in (1, 2) for drawn in (False, True)]


class Uniform:
    """The empirical distribution function of each column of [n, N, K], scaled to [-1, 1], and its inverse."""

    def __init__(self, data: np.ndarray):
        columns = [np.unique(x, return_counts=True) for x in data.reshape(len(data), -1).T]
        self.known = [(values, counts.cumsum() / len(data)) for values, counts in columns]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self._each(x, lambda column, values, levels: 2 * np.interp(column, values, levels) - 1)

    def inverse(self, x: np.ndarray) -> np.ndarray:
        return self._each(x, lambda column, values, levels: np.interp((column + 1) / 2, levels, values))

    def _each(self, x: np.ndarray, function) -> np.ndarray:  # type: ignore[no-untyped-def]
        columns = zip(x.reshape(len(x), -1).T, self.known, strict=True)  # a number that never varies stays as it is
        done = [function(c, *known) if len(known[0]) > 1 else c for c, known in columns]
        return np.stack(done, 1).reshape(x.shape).astype(np.float32)


class Clone(nn.Module):
    """[B, O] -> mean and log-deviation of the action, [B, A] and [A]."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        sizes = (inputs, *WIDTHS, *WIDTHS[-2::-1])
        self.layers = nn.Sequential(*(part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Mish())))
        self.mean, self.log_std = nn.Linear(WIDTHS[0], outputs), nn.Parameter(torch.zeros(outputs))
        with torch.no_grad():
            self.mean.weight.mul_(0.1)
            self.mean.bias.zero_()

    def forward(self, x: Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.mean(self.layers(x)), self.log_std.exp())


def scores(row: str, n_updates: int, lr: float, n_transitions: int = 300_000) -> dict[tuple[int, bool], float]:
    """Normalized score by (how often observations are normalized, whether actions are drawn), of one seed."""
    settings, g = compose(row), torch.Generator().manual_seed(0)
    task = settings.task
    world = make_world(task.world, EPISODES, **task.params)
    rows = store.get(settings.data.id).transitions
    rows = rows[~rows["final"].squeeze(-1)]
    obs, action = world.observe(rows["features"])["obs"].float().numpy(), rows["action"].numpy()
    of_obs, of_action = Uniform(obs), Uniform(action)
    chosen = torch.randperm(len(obs), generator=g)[:n_transitions].numpy()
    x, y = torch.from_numpy(of_obs(obs[chosen])), torch.from_numpy(of_action(action[chosen]))
    torch.manual_seed(0)
    clones = nn.ModuleList(Clone(x.shape[-1], y.shape[-1]) for _ in range(x.shape[1]))
    optimizer = torch.optim.Adam(clones.parameters(), lr=lr)
    for _ in range(n_updates):
        k = torch.randint(len(x), (BATCH,), generator=g)
        likely = [clone(x[k, i]).log_prob(y[k, i]).sum(-1).mean() for i, clone in enumerate(clones)]
        optimizer.zero_grad()
        (-torch.stack(likely).mean()).backward()
        optimizer.step()

    @torch.no_grad()
    def play(times: int, drawn: bool) -> float:
        g, total = torch.Generator().manual_seed(1), torch.zeros(EPISODES)
        td = world.reset(TensorDict({"start": world.draw_starts(EPISODES, g)}, [EPISODES]))
        for _ in range(world.episode_limit):
            seen = td["obs"].numpy()
            for _ in range(times):
                seen = of_obs(seen)
            chances = [clone(torch.from_numpy(seen[:, i])) for i, clone in enumerate(clones)]
            means = torch.stack([chance.mean for chance in chances], 1)
            noise = torch.randn(means.shape, generator=g) * torch.stack([chance.stddev for chance in chances], 1)
            td["action"] = torch.from_numpy(of_action.inverse((means + noise * drawn).numpy()))
            td = world.step(td)["next"]
            total += td["reward"].squeeze(-1)
        return published.row(row).score({"episode_return": total.mean().item()})  # type: ignore[return-value]

    return {way: play(*way) for way in WAYS}


def main(row: str = "omar/mpe/spread_expert", n_updates: str = "10000", lr: str = "2e-4") -> None:
    """Raises ReproduceError for a row that is none, and for words that are no numbers."""
    found = scores(row, number(int, n_updates, "the number of updates"), number(float, lr, "the rate"))
    for (times, drawn), score in found.items():
        print(f"observations normalized {times} times, actions {'drawn' if drawn else 'the mean'}: {score:.1f}")


if __name__ == "__main__":
    sys.exit(ended("madiff_cloning", main, sys.argv[1:]))
