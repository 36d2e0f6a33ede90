"""What an update costs per seed: stacked, compiled and captured, beside a plainly written one-seed version."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from plain_bc import PlainBC, PlainGaussianBC
from plain_inspo import PlainInSPO
from plain_omiga import PlainOMIGA
from plain_omsd import PlainOMSD
from tensordict import TensorDict
from timing import Line, medians
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from data.common.spec import Dims
from lit_modules import algorithm
from lit_modules.common.schedule import Chunk
from lit_modules.common.seed_module import SeedModule
from reproduce.config import compose
from reproduce.regression.fingerprints import transitions

K = 5  # updates of a timed chunk
SEEDS = (1, 5, 10, 20)
AGENTS = (2, 4, 8, 16, 32)
HALFCHEETAH, HOPPER, ANT = ((n, o, 0, a) for n, o, a in ((6, 23, 1), (3, 14, 1), (2, 113, 4)))


class Flops(TorchDispatchMode):
    """Counts the floating-point operations of matrix products, by torch's own formulas.

    torch's FlopCounterMode hooks every module and refuses autograd.grad.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


@dataclass
class Case:
    """An algorithm's settings and a world's sizes (agents, observation, actions, action size); `target` per seed."""

    name: str
    algo: str
    config: Any
    sizes: tuple[int, int, int, int]
    target: str = ""

    @property
    def dims(self) -> Dims:
        n, o, n_actions, a = self.sizes
        bounds = ((0.0,) * o, (1.0,) * o) if n_actions else ((), ())
        return Dims(n, o, n_actions, *bounds, action_size=a, state_size=o if a else 0)

    def stacked(self, n_seeds: int, mode: str = "none", device: str = "cpu") -> tuple[SeedModule, Callable[[], Any]]:
        """(the module, a call that does K updates of its last phase)."""
        module = algorithm(self.algo)[0](self.config, list(range(n_seeds)), self.dims, accelerate=mode).to(device)
        module.configure_optimizers()
        *earlier, phase = module.phases()
        start = sum(done.n_updates for done in earlier)
        noise = module.draw(Chunk(phase.name, start, K, phase.batch_size))
        chunk = transitions(phase.batch_size, self.dims, torch.float32).to(device)
        chunk = chunk.expand(K, n_seeds, phase.batch_size).clone()
        return module, lambda: module.accelerator(module, phase.name, chunk, noise)

    def plain(self) -> Callable[[], Any]:
        """A call that does K updates of one seed."""
        n, o, n_actions, a = self.sizes
        batch = getattr(self.config, "n_candidates", self.config.batch_size)
        d = transitions(batch, self.dims, torch.float32)
        flat = _plain_batch(d)
        if self.algo == "inspo":
            model, uniform = PlainInSPO(self.config, n, o, n_actions), torch.rand(n, self.config.batch_size)
            return lambda: [model.round(flat, list(range(n)), uniform, 0.1) for _ in range(K)]
        if self.algo == "omsd":
            actors, times, z = PlainOMSD(self.config, n, o, a), torch.rand(n, batch), torch.randn(n, batch, a)
            return lambda: [actors.update(flat, times, z) for _ in range(K)]
        made = {"bc": PlainBC, "gaussian_bc": PlainGaussianBC, "omiga": PlainOMIGA}[self.algo]
        plain = made(self.config, n, o, n_actions or a)
        return lambda: [plain.update(flat) for _ in range(K)]


def _plain_batch(d: TensorDict) -> dict[str, torch.Tensor]:
    """The schema under the names that the plain versions use."""
    flat = dict(d.exclude("next").items())
    flat |= {f"next_{key}": value for key, value in d["next"].items()}
    if "legal_actions" not in flat:
        return flat | {"mask": 1 - flat["terminated"].float()}
    flat |= {"legal": flat["legal_actions"], "next_legal": flat["next_legal_actions"]}
    return flat | {"reward": flat["reward"][:, 0], "terminated": flat["terminated"][:, 0].float()}


def cases() -> list[Case]:
    omiga = compose("omiga/mujoco/halfcheetah_medium").algo
    cloning = compose("omiga/mujoco/halfcheetah_medium", ["algo=gaussian_bc"]).algo
    bridge = compose("inspo/bridge/mix", ["algo=bc"]).algo
    small = omiga.replace(hidden=[64, 64], mixer_hidden=[32])
    few = {"n_updates": 100, "n_behavior_updates": 0}
    omsd = compose("omsd/mpe/cn_random").algo.replace(score_hidden=128)
    return [
        Case("inspo xor", "inspo", compose("inspo/xor/ab_ba").algo.replace(**few), (2, 4, 2, 0), "0.20 compiled"),
        Case("inspo m_ne", "inspo", compose("inspo/m_ne/balanced").algo.replace(**few), (2, 4, 3, 0), "0.20 compiled"),
        Case("inspo bridge", "inspo", compose("inspo/bridge/mix").algo.replace(**few), (2, 8, 5, 0), "0.20 compiled"),
        Case("bc bridge", "bc", bridge, (2, 8, 5, 0)),
        Case("omiga mpe size", "omiga", small, (3, 18, 0, 2), "0.20 compiled"),
        Case("omiga hopper", "omiga", omiga, HOPPER),
        Case("omiga halfcheetah", "omiga", omiga, HALFCHEETAH, "0.82 compiled"),
        Case("omiga ant", "omiga", omiga, ANT),
        Case("gaussian_bc halfcheetah", "gaussian_bc", cloning, HALFCHEETAH),
        Case("omsd mpe", "omsd", omsd, (3, 18, 0, 2)),
    ]


def per_seed(repeats: int) -> Iterator[Line]:
    """Every algorithm and size, S seeds at once, relative to the plain version of one."""
    for case in cases():
        runs = {"plain": case.plain()}
        runs |= {f"S={s}": case.stacked(s)[1] for s in SEEDS}
        compiled, runs["S=5 compiled"] = case.stacked(5, "compile")
        times = {name: t / K for name, t in medians(runs, repeats).items()}
        yield Line("update", case.name, "plain, one seed", times["plain"] * 1e3, "ms")
        for name, t in times.items():
            if name == "plain":
                continue
            n = int(name.removeprefix("S=").split()[0])
            what = name + (
                f" FELL BACK ({compiled.accelerator.fallback})"
                if "compiled" in name and compiled.accelerator.fallback
                else ""
            )
            target = case.target.removesuffix(" compiled") if "compiled" in name else ""
            yield Line("update", case.name, what, t * 1e3, "ms", t / n / times["plain"], "plain, per seed", target)
        yield from _arithmetic(case, times["S=5"], times["S=5 compiled"])


def _arithmetic(case: Case, written: float, compiled: float) -> Iterator[Line]:
    """Achieved floating-point operations per second of matrix products, beside one large product on this machine."""
    _, run = case.stacked(5)
    with Flops() as counter:
        run()
    x = torch.rand(1024, 1024)
    peak = 2 * 1024**3 / medians({"product": lambda: x @ x}, 5)["product"]
    for name, t in (("S=5", written), ("S=5 compiled", compiled)):
        rate = counter.total / K / t
        yield Line("arithmetic", case.name, name, rate / 1e9, "GFLOP/s", rate / peak, "a product of 1024 x 1024")


def growth(repeats: int) -> Iterator[Line]:
    """Five seeds with 2 to 32 agents, relative to 2."""
    few = {"n_updates": 100, "n_behavior_updates": 0}
    for name, algo, config, sizes in (
        ("omiga", "omiga", compose("omiga/mujoco/hopper_medium").algo, (0, 14, 0, 1)),
        ("inspo", "inspo", compose("inspo/bridge/mix").algo.replace(**few), (0, 8, 5, 0)),
    ):
        runs = {f"{n} agents": Case(name, algo, config, (n, *sizes[1:])).stacked(5)[1] for n in AGENTS}
        times = medians(runs, repeats)
        base = times[f"{AGENTS[0]} agents"]
        for what, t in times.items():
            yield Line("agents", name, what, t / K * 1e3, "ms", t / base, f"{AGENTS[0]} agents")


def on_cuda(repeats: int) -> Iterator[Line]:
    """On a GPU: modes beside the written update, S = 20 beside S = 5, kernels launched per update."""
    from torch.profiler import ProfilerActivity, profile

    omiga = compose("omiga/mujoco/halfcheetah_medium").algo
    case = Case("omiga halfcheetah", "omiga", omiga, HALFCHEETAH)
    made = {
        (s, m): case.stacked(s, m, "cuda") for s in (1, 5, 20) for m in ("none", "compile", "graph", "compile+graph")
    }

    def finished(run: Callable[[], Any]) -> Callable[[], Any]:
        def whole() -> None:
            run()
            torch.cuda.synchronize()

        return whole

    for _, run in made.values():
        run(), run()  # the first calls compile and capture
    times = medians({f"S={s} {m}": finished(run) for (s, m), (_, run) in made.items()}, repeats)
    for (s, mode), (module, run) in made.items():
        t, used = times[f"S={s} {mode}"], module.accelerator.used
        what = f"S={s} {mode}" + ("" if used == mode else f" FELL BACK ({module.accelerator.fallback})")
        yield Line(
            "cuda", case.name, what, t / K * 1e3, "ms", t / times[f"S=5 {mode}"], "S=5", "2.5" if s == 20 else ""
        )
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
            finished(run)()
        launches = sum(e.count for e in trace.key_averages() if "LaunchKernel" in e.key or "GraphLaunch" in e.key)
        yield Line("cuda", case.name, what, launches / K, "launches per update")
    with Flops() as counter:
        made[5, "none"][1]()
    x = torch.rand(8192, 8192, device="cuda")
    peak = 2 * 8192**3 / medians({"product": finished(lambda: x @ x)}, 5)["product"]
    for mode in ("none", "compile", "graph", "compile+graph"):
        rate = counter.total / times[f"S=5 {mode}"]
        yield Line("cuda", case.name, f"S=5 {mode}", rate / 1e12, "TFLOP/s", rate / peak, "a product of 8192 x 8192")
