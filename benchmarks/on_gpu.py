"""A GPU beside the CPU: equal parameters after many updates, times, launches and memory of whole rows' updates."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from timing import Line, medians
from updates import Flops, Timed

from data.worlds import make_world
from lit_modules import algorithm
from lit_modules.common.accelerate import MODES
from lit_modules.common.schedule import Chunk
from lit_modules.common.seed_module import SeedModule
from reproduce.config import compose
from reproduce.regression.cases import minibatches

ROWS = ("omar/mpe/spread_medium", "omiga/mujoco/hopper_medium", "omsd/mpe/cn_medium")
N_UPDATES, K = 100, 20  # of a check, and of its chunks: the first is run, the second captured, the others replayed
TOLERANCE = 1e-3  # float64: rounding of other orders of summation, which a hundred updates of OMAR grow a lot


def of_row(row: str) -> Timed:
    """The row's own settings, in the sizes of its world."""
    settings = compose(row)
    world = make_world(settings.task.world, 1, **settings.task.params)
    return Timed(row, settings.algo, world.spec, n_timed=K)


def trained(case: Timed, mode: str, device: str, n_seeds: int = 5) -> SeedModule:
    """The module after `N_UPDATES` updates of its last phase in float64, on made-up experience and its own noise."""
    module = algorithm(case.config.name)[0](case.config, list(range(n_seeds)), case.spec, accelerate=mode)
    module = module.double().to(device)
    module.configure_optimizers()
    *earlier, phase = module.phases()
    first = sum(done.n_updates for done in earlier)
    one = minibatches(module, phase, 1, 1)[0].to(device)  # the same rows for each update and seed
    chunk = one.expand(K, n_seeds, *one.shape[1:]).clone()
    for start in range(first, first + N_UPDATES, K):
        module.accelerator(module, phase.name, chunk, module.draw(Chunk(phase.name, start, K, phase.batch_size)))
    return module


def difference(one: SeedModule, other: SeedModule) -> float:
    """The largest | a - b | / | b | of a parameter or buffer in norms; infinity where something is not finite."""
    worst = 0.0
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        if not a.is_floating_point() or not a.numel():
            continue
        a, b = a.cpu(), b.cpu()
        found = float((a - b).norm() / b.norm().clamp(min=1e-30))
        worst = max(worst, found if a.isfinite().all() else float("inf"))
    return worst


def on_cuda(repeats: int, rows: Sequence[str] = ROWS, modes: Sequence[str] = MODES) -> Iterator[Line]:
    """Per row and mode: the difference to the CPU, the update's time beside the written one, launches and memory."""
    for row in rows:
        case = of_row(row)
        on_cpu = trained(case, "none", "cpu")
        for mode in modes:
            began = time.perf_counter()
            module = trained(case, mode, "cuda")
            torch.cuda.synchronize()
            what = f"S=5 {mode}{_fallback(module)}"
            yield Line(
                "cuda", row, f"{what}, float64, {N_UPDATES} updates", difference(module, on_cpu), "to the CPU",
                target=f"{TOLERANCE:g}",
            )  # fmt: skip
            yield Line("cuda", row, f"{what}, preparing and {N_UPDATES} updates", time.perf_counter() - began, "s")
            del module
        yield from _times(case, repeats, modes)


def _times(case: Timed, repeats: int, modes: Sequence[str]) -> Iterator[Line]:
    made: dict[str, tuple[SeedModule, Callable[[], Any]]] = {}
    peaks, last = {}, modes[-1]
    for n_seeds, mode in [*((5, mode) for mode in modes), (20, last)]:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        made[f"S={n_seeds} {mode}"] = module, run = case.stacked(n_seeds, mode, "cuda")
        for _ in range(3):
            run()  # the first two compile and capture
        peaks[f"S={n_seeds} {mode}"] = torch.cuda.max_memory_allocated() - before
    times = medians({name: _finished(run) for name, (_, run) in made.items()}, repeats)
    for name, (module, run) in made.items():
        what = f"{name}{_fallback(module)}"
        reference, target = (f"S=5 {last}", "2.5") if name.startswith("S=20") else (f"S=5 {modes[0]}", "")
        yield Line(
            "cuda", case.name, what, times[name] / K * 1e3, "ms", times[name] / times[reference], reference, target
        )  # fmt: skip
        yield Line("cuda", case.name, what, _launches(run) / K, "launches per update")
        yield Line("cuda", case.name, what, peaks[name] / 2**20, "MiB at most")
    with Flops() as counter:
        case.stacked(5, "none", "cuda")[1]()
    x = torch.rand(8192, 8192, device="cuda")
    peak = 2 * 8192**3 / medians({"product": _finished(lambda: x @ x)}, 5)["product"]
    for mode in modes:
        rate = counter.total / times[f"S=5 {mode}"]
        yield Line("cuda", case.name, f"S=5 {mode}", rate / 1e12, "TFLOP/s", rate / peak, "a product of 8192 x 8192")


def _finished(run: Callable[[], Any]) -> Callable[[], Any]:
    def whole() -> None:
        run()
        torch.cuda.synchronize()

    return whole


def _launches(run: Callable[[], Any]) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        _finished(run)()
    return sum(e.count for e in trace.key_averages() if "LaunchKernel" in e.key or "GraphLaunch" in e.key)


def _fallback(module: SeedModule) -> str:
    return f" FELL BACK ({module.accelerator.fallback})" if module.accelerator.fallback else ""
