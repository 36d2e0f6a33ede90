"""The first line of defense: the losses of 50 updates per algorithm in float64, on fixed synthetic transitions.

They change when an update rule, a sampler, an initialization or an order of draws changes: `reproduce record losses`
moves them, in a commit that says why.
"""

from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

from data.module import ChunkLoader, OfflineData
from lit_modules.base import Dims, SeedModule
from lit_modules.bc import BC, BCConfig
from lit_modules.inspo import InSPO, InSPOConfig
from reproduce.files import write_json
from reproduce.paths import ROOT

FILE = ROOT / "tests" / "score" / "loss_fingerprints.json"
DIMS = Dims(n_agents=3, obs_size=4, n_actions=3, obs_low=(0.0,) * 4, obs_high=(1.0,) * 4)
BC_CONFIG = BCConfig("bc", 50, 16, [8], 1e-2, 10.0, False)
INSPO_CONFIG = InSPOConfig(
    name="inspo",
    n_behavior_updates=20,
    n_updates=30,
    behavior_batch_size=16,
    n_candidates=32,
    batch_size=8,
    steps_per_turn=2,
    hidden=[8],
    lr=1e-2,
    policy_lr=1e-2,
    lr_end=0.5,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    alpha=0.2,
    beta_start=0.5,
    beta_end=0.0,
    anneal_fraction=0.7,
    entropy=True,
    soft_value=True,
    importance="resample",
    sequential=True,
)


def transitions(n: int = 200, dims: Dims = DIMS, dtype: torch.dtype = torch.float64) -> TensorDict:
    """Made-up experience in the schema: three agents, some illegal actions, never that of the data."""
    g = torch.Generator().manual_seed(7)
    agents = (n, dims.n_agents)

    def obs() -> torch.Tensor:
        return torch.rand(*agents, dims.obs_size, generator=g, dtype=torch.float64).to(dtype)

    def legal() -> torch.Tensor:
        return torch.rand(*agents, dims.n_actions, generator=g) < 0.8

    action = torch.randint(dims.n_actions, agents, generator=g)
    now, later = legal().scatter(-1, action.unsqueeze(-1), True), legal()
    later[..., 0] |= ~later.any(-1)
    return TensorDict(
        {
            "obs": obs(),
            "legal_actions": now,
            "action": action,
            "reward": torch.randn(n, 1, generator=g, dtype=torch.float64).to(dtype),
            "terminated": torch.rand(n, 1, generator=g) < 0.1,
            "next": {"obs": obs(), "legal_actions": later},
        },
        [n],
    )


def modules(seeds: list[int], **clock: int) -> dict[str, SeedModule]:
    """One small float64 module per algorithm and variant."""
    joint = BCConfig(**{**vars(BC_CONFIG), "joint": True})
    reweight = InSPOConfig(**{**vars(INSPO_CONFIG), "importance": "reweight", "sequential": False})
    made = {
        "bc": BC(BC_CONFIG, seeds, DIMS, **clock),
        "bc_joint": BC(joint, seeds, DIMS, **clock),
        "inspo": InSPO(INSPO_CONFIG, seeds, DIMS, **clock),
        "inspo_reweight_simultaneous": InSPO(reweight, seeds, DIMS, **clock),
    }
    return {name: module.double() for name, module in made.items()}


def train(module: SeedModule, data: TensorDict) -> list[dict[str, Any]]:
    """All chunks without a trainer; what each chunk logged. Also used by tests and benchmarks."""
    logged: list[dict[str, Any]] = []
    module.configure_optimizers()
    module.log_dict = lambda values, **_: logged.append({k: float(v) for k, v in values.items()})  # type: ignore
    source = OfflineData(data, module.keys, module.seeds)
    for chunk in ChunkLoader(source, module):
        module.training_step(source.expand(chunk), 0)
    return logged


def fingerprints() -> dict[str, list[dict[str, float]]]:
    """{algorithm: [{quantity: value} every 10 updates]}, means over two seeds."""
    return {
        name: [{k: v for k, v in point.items() if not k.startswith("time/")} for point in train(module, transitions())]
        for name, module in modules([0, 1], chunk_size=10).items()
    }


def write_fingerprints(path: Path = FILE) -> Path:
    write_json(path, fingerprints())
    return path
