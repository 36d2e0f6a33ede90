"""The cost of an update per seed: stacked, compiled and captured, beside a plainly written one-seed version."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from timing import Line, medians
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, register_flop_formula

from data.common.spec import WorldSpec
from lit_modules import algorithm
from lit_modules.common import blocks  # noqa: F401  its operators have formulas here
from lit_modules.common.schedule import Chunk, Phase
from lit_modules.common.seed_module import SeedModule
from reproduce.config import compose
from reproduce.regression.cases import Benchmark, cases, minibatches

K = 5  # updates of a timed chunk
SEEDS = (1, 5, 10, 20)
AGENTS = (2, 4, 8, 16, 32)


def _of_many(x: tuple, y: tuple, params: list[tuple]) -> tuple[int, int]:
    """Shapes -> operations of the first layer's products, and of the further layers'."""
    (of_x, of_y, _, *rest), inputs = params, math.prod(y[:3])
    first = 2 * math.prod(x[:2]) * math.prod(of_x[1:]) + 2 * inputs * math.prod(of_y[1:])
    return first, sum(2 * inputs * math.prod(weight[1:]) for weight in rest[::2])


@register_flop_formula(torch.ops.lit_modules.of_many)
def _forward_of_many(x: tuple, y: tuple, params: list[tuple], *_: Any, **__: Any) -> int:
    return sum(_of_many(x, y, params))


@register_flop_formula(torch.ops.lit_modules.of_many_backward)
def _backward_of_many(grad: tuple, x: tuple, y: tuple, params: list[tuple], *_: Any, **__: Any) -> int:
    first, further = _of_many(x, y, params)
    return first + 2 * further  # no gradient of the inputs


class Flops(TorchDispatchMode):
    """Counts the floating-point operations of matrix products, by torch's own formulas.

    torch's FlopCounterMode hooks every module and refuses autograd.grad. Operators of our own have formulas above.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


@dataclass
class Timed:
    """An algorithm's settings and a world's sizes; `target` for the time per seed."""

    name: str
    config: Any
    spec: WorldSpec
    target: str = ""
    n_timed: int = K  # updates of a timed call

    def stacked(self, n_seeds: int, mode: str = "none", device: str = "cpu") -> tuple[SeedModule, Callable[[], Any]]:
        """(the module, a call that does `n_timed` updates of its last phase)."""
        module_class = algorithm(self.config.name)[0]
        module = module_class(self.config, list(range(n_seeds)), self.spec, accelerate=mode).to(device)
        module.configure_optimizers()
        phase, noise = self._last_phase(module)
        one = minibatches(module, phase, 1, 1)[0].to(device)  # the same rows for each update and seed
        chunk = one.expand(self.n_timed, n_seeds, *one.shape[1:]).clone()
        return module, lambda: module.accelerator(module, phase.name, chunk, noise)

    def _last_phase(self, module: SeedModule) -> tuple[Phase, dict[str, torch.Tensor]]:
        """The phase, and the noise of its first `n_timed` updates."""
        *earlier, phase = module.phases()
        start = sum(done.n_updates for done in earlier)
        return phase, module.draw(Chunk(phase.name, start, self.n_timed, phase.batch_size))

    def plain(self) -> Callable[[], Any]:
        """A call that does `n_timed` updates of one seed."""
        case = cases()[self.config.name]
        from cases import plain_batch  # type: ignore[import-not-found] # a package now that the cases are loaded

        module = algorithm(self.config.name)[0](self.config, [0], self.spec)
        phase, noise = self._last_phase(module)
        batch = plain_batch(minibatches(module, phase, 1, 1)[0, 0], self.spec)
        drawn = [{name: x[k, 0] if x.ndim > 1 else x[k] for name, x in noise.items()} for k in range(self.n_timed)]
        update = getattr(case.plain(self.config, self.spec), f"update_{phase.name}")
        return lambda: [update(batch, own) for own in drawn]


def timed() -> list[Timed]:
    """Every case's benchmarks, or, where it names none, its own small settings."""
    found = []
    for name, case in cases().items():
        found += [of_row(b) for b in case.benchmarks] or [Timed(name, case.config, case.spec)]
    return found


def of_row(b: Benchmark) -> Timed:
    return Timed(b.name, compose(b.row, b.overrides).algo.replace(**b.changes), b.spec, b.target)


def named(name: str) -> Timed:
    return next(case for case in timed() if case.name == name)


def per_seed(repeats: int) -> Iterator[Line]:
    """Every algorithm and size, S seeds at once, relative to the plain version of one."""
    for case in timed():
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


def _arithmetic(case: Timed, written: float, compiled: float) -> Iterator[Line]:
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
    for name, of in (("omiga", "omiga hopper"), ("inspo", "inspo bridge")):
        case = named(of)
        specs = {n: replace(case.spec, n_agents=n) for n in AGENTS}
        runs = {f"{n} agents": Timed(name, case.config, spec).stacked(5)[1] for n, spec in specs.items()}
        times = medians(runs, repeats)
        base = times[f"{AGENTS[0]} agents"]
        for what, t in times.items():
            yield Line("agents", name, what, t / K * 1e3, "ms", t / base, f"{AGENTS[0]} agents")
