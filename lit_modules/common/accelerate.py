"""How the updates of any module are carried out: as written, compiled, captured as a CUDA graph, or both.

    none           K calls of the module's update
    compile        torch.compile of the module's `compile_targets`, by default the whole update with its optimizer steps
    graph          the K updates of a chunk captured once per chunk length and replayed as one launch
    compile+graph  compiled regions inside a captured chunk

What is computed is the same, up to rounding. Random numbers enter a chunk as inputs, drawn from each seed's own
generator before it, so neither mode changes which ones an update sees.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import torch
from tensordict import TensorDict
from tensordict.nn import CudaGraphModule
from torch import Tensor

MODES = ("none", "compile", "graph", "compile+graph")
WARM_UP = 2  # chunks of a kind until nothing more is compiled or captured: CudaGraphModule captures in its second call


class Accelerated(Protocol):
    """The parts of a module that an accelerator works with: lit_modules.common.seed_module.SeedModule has them."""

    device: Any
    compile_targets: Any  # names of the methods that are compiled

    def updates(self, phase: str, chunk: TensorDict, noise: dict[str, Tensor]) -> Tensor: ...

    def tensors(self) -> list[Tensor]: ...


class Accelerator:
    """Runs chunks of updates in one of `MODES`. When that fails, the chunk is undone and repeated as written.

    `used` is what runs in fact, `fallback` why that is not what was asked for (or None); a record holds both.
    """

    def __init__(self, mode: str):
        if mode not in MODES:
            raise ValueError(f"accelerate={mode!r}: choose one of {', '.join(MODES)}")
        if "compile" in mode:
            torch.compiler.reset()  # what was compiled for another module counts towards torch's limit of variants
        self.used = mode
        self.fallback: str | None = None
        self.prepared: dict[tuple[str, int], Callable] = {}
        self.done: Counter[tuple[str, int]] = Counter()  # chunks of a phase and length

    def __call__(self, module: Accelerated, phase: str, chunk: TensorDict, noise: dict[str, Tensor]) -> Tensor:
        """The diagnostics [K, quantities, S] of the K updates of `chunk` [K, S, B]; noise: tensors [K, ..]."""
        if self.used == "none":
            return module.updates(phase, chunk, noise)
        drawn = TensorDict(noise, batch_size=[len(chunk)])
        key = (phase, len(chunk))
        if self.done[key] >= WARM_UP:
            return self.prepared[key](chunk, drawn)
        # Detached: a clone in autograd's graph would tie its parameter to this stream, and no other could be captured.
        before = [(tensor, tensor.detach().clone()) for tensor in module.tensors()]
        stream = torch.cuda.current_stream() if module.device.type == "cuda" else None
        try:
            if key not in self.prepared:
                self.prepared[key] = self._prepare(module, phase)
            values = self.prepared[key](chunk, drawn)
            self.done[key] += 1
            return values
        except Exception as error:  # compilers and captures raise whatever they like
            self._give_up(module, error)
        if stream is not None:  # a failed capture leaves its own behind
            torch.cuda.set_stream(stream)
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
        return module.updates(phase, chunk, noise)

    def _prepare(self, module: Accelerated, phase: str) -> Callable:
        if "compile" in self.used and not self.prepared:
            torch._dynamo.config.trace_autograd_ops = True  # type: ignore[attr-defined]
            for name in module.compile_targets:
                setattr(module, name, torch.compile(getattr(module, name), fullgraph=True, dynamic=False))

        def run(chunk: TensorDict, noise: TensorDict) -> Tensor:
            return module.updates(phase, chunk, dict(noise.items()))

        if "graph" not in self.used:
            return run
        if module.device.type != "cuda":
            raise RuntimeError(f"CUDA graphs need run.device=cuda, this run is on {module.device.type}")
        return CudaGraphModule(run)  # type: ignore[arg-type]

    def _give_up(self, module: Accelerated, error: Exception) -> None:
        cause = getattr(error, "inner_exception", error)
        first = next((line for line in str(cause).splitlines() if line.strip()), "")
        self.used, self.fallback = "none", f"{type(cause).__name__}: {first}"
        self.prepared.clear()
        for name in module.compile_targets:
            module.__dict__.pop(name, None)  # the compiled one; the class still has the method as written
