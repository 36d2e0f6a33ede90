"""The first line of defense: the losses of 50 updates per algorithm in float64, on fixed synthetic transitions.

They change when an update rule, a sampler, an initialization or an order of draws changes: `reproduce record losses`
moves them, in a commit that says why.
"""

from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

from data.buffer import ChunkLoader, OfflineData
from data.common.files import write_json
from data.common.paths import ROOT
from data.common.spec import Dims
from lit_modules.bc import BC, BCConfig
from lit_modules.common.seed_module import SeedModule
from lit_modules.gaussian_bc import GaussianBC, GaussianBCConfig
from lit_modules.inspo import InSPO, InSPOConfig
from lit_modules.omiga import OMIGA, OMIGAConfig
from lit_modules.omsd import OMSD, OMSDConfig

FILE = ROOT / "tests" / "score" / "loss_fingerprints.json"
DIMS = Dims(n_agents=3, obs_size=4, n_actions=3, obs_low=(0.0,) * 4, obs_high=(1.0,) * 4)
BC_CONFIG = BCConfig(name="bc", n_updates=50, batch_size=16, hidden=[8], lr=1e-2, max_grad_norm=10.0, joint=False)
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
CONTINUOUS = Dims(n_agents=3, obs_size=4, action_size=2, state_size=4)
GAUSSIAN_BC_CONFIG = GaussianBCConfig(
    name="gaussian_bc", n_updates=50, batch_size=16, hidden=[8], lr=1e-2, max_grad_norm=1.0
)
OMIGA_CONFIG = OMIGAConfig(
    name="omiga",
    n_updates=50,
    batch_size=16,
    hidden=[8, 8],
    mixer_hidden=[8],
    lr=1e-2,
    max_grad_norm=1.0,
    gamma=0.9,
    tau=0.05,
    alpha=0.5,
    targets="all",
    z_limit=10.0,
    rescale=True,
    simultaneous=True,
    shared=True,
)
OMSD_CONFIG = OMSDConfig(
    name="omsd",
    method="omsd",
    n_critic_updates=20,
    n_score_updates=10,
    n_updates=20,
    batch_size=16,
    hidden=[8],
    score_hidden=8,
    score_blocks=1,
    score_time=128,
    score_activation="mish",
    lr=1e-2,
    score_lr=1e-2,
    score_weight_decay=0.01,
    dropout=0.1,
    gamma=0.9,
    tau=0.05,
    expectile=0.7,
    team_reward="mean",
    beta=0.5,
    t_low=0.02,
    t_high=0.98,
    weighting="vds",
    subtract_noise=False,
    normalize_gradient=False,
    prefix="fresh",
    condition="obs",
    order=[],
    lr_end=0.0,
    score_lr_end=0.5,
    share_stage1=False,
    init_scale=1.0,
)
OMSD_VARIANTS: dict[str, dict[str, Any]] = {
    "omsd": {},
    "omsd_shared": {"share_stage1": True, "prefix": "stale", "order": [2, 0, 1], "subtract_noise": True},
    "omsd_state": {"condition": "state", "weighting": "score", "normalize_gradient": True, "team_reward": "first"},
    **{f"omsd_{method}": {"method": method} for method in ("ctde", "ind", "jal")},
}
POSTER = {"targets": "q", "z_limit": None, "rescale": False, "simultaneous": False, "shared": False}


def transitions(n: int = 200, dims: Dims = DIMS, dtype: torch.dtype = torch.float64) -> TensorDict:
    """Made-up experience in the schema: three agents; where discrete, some illegal actions, never that of the data."""
    if dims.action_size:
        return _continuous(n, dims, dtype)
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


def _continuous(n: int, dims: Dims, dtype: torch.dtype) -> TensorDict:
    """Actions beyond [-1, 1] among them, as in released data."""
    g = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(n, *shape, generator=g, dtype=torch.float64).to(dtype)

    def seen() -> dict[str, torch.Tensor]:
        return {"obs": normal(dims.n_agents, dims.obs_size), "state": normal(dims.n_agents, dims.state_size)}

    now = {**seen(), "action": 0.6 * normal(dims.n_agents, dims.action_size), "reward": normal(1)}
    later = {"terminated": torch.rand(n, 1, generator=g) < 0.1, "next": seen()}
    return TensorDict({**now, **later, "rewards": normal(dims.n_agents)}, [n])


def fitting(module: SeedModule, n: int = 200, dtype: torch.dtype = torch.float64) -> TensorDict:
    """Made-up experience of the kind that the module learns from."""
    return transitions(n, module.dims, dtype)


def modules(seeds: list[int], **clock: int) -> dict[str, SeedModule]:
    """One small float64 module per algorithm and variant."""
    joint = BC_CONFIG.replace(joint=True)
    reweight = INSPO_CONFIG.replace(importance="reweight", sequential=False)
    poster = OMIGA_CONFIG.replace(**POSTER)
    made: dict[str, SeedModule] = {
        "bc": BC(BC_CONFIG, seeds, DIMS, **clock),
        "bc_joint": BC(joint, seeds, DIMS, **clock),
        "inspo": InSPO(INSPO_CONFIG, seeds, DIMS, **clock),
        "inspo_reweight_simultaneous": InSPO(reweight, seeds, DIMS, **clock),
        "gaussian_bc": GaussianBC(GAUSSIAN_BC_CONFIG, seeds, CONTINUOUS, **clock),
        "omiga": OMIGA(OMIGA_CONFIG, seeds, CONTINUOUS, **clock),
        "omiga_poster": OMIGA(poster, seeds, CONTINUOUS, **clock),
    }
    for name, changes in OMSD_VARIANTS.items():
        made[name] = OMSD(OMSD_CONFIG.replace(**changes), seeds, CONTINUOUS, **clock)
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
        name: [
            {k: v for k, v in point.items() if not k.startswith("time/")} for point in train(module, fitting(module))
        ]
        for name, module in modules([0, 1], chunk_size=10).items()
    }


def write_fingerprints(path: Path = FILE) -> Path:
    write_json(path, fingerprints())
    return path
