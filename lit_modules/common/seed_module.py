"""The base of every paper: stacked seeds, the update clock, named optimizers, per-seed clipping, targets, resume.

All seeds of a row train in one module. Parameters carry the leading axes (S,) or (S, N), each loss returns [S] and its
sum is differentiated, clipping and statistics are per seed, and every seed draws from its own generators: seed k of a
batch of S computes what seed k computes alone.

`n_updates` (gradient updates) is the only clock. Lightning's global_step counts optimizer steps instead, so training
stops by the number of batches, and one batch is a chunk of K updates.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from typing import Any, ClassVar

import lightning as L
import torch
from tensordict import TensorDict
from torch import Tensor

from data.common.rng import Stream, generator
from data.common.spec import Box, Discrete, WorldSpec
from lit_modules.common.accelerate import Accelerator
from lit_modules.common.distributions import sample_categorical
from lit_modules.common.optim import clip_per_member
from lit_modules.common.schedule import Chunk, Phase, make_plan


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads())


class SeedModule(L.LightningModule):
    """A paper's algorithm for S seeds at once.

    A subclass sets its networks, `keys` (what its updates read from the buffer) and `phases()`, returns
    its optimizers by name from `named_optimizers()`, and has one `update_<phase>(batch, noise)` per phase: batch a
    TensorDict [S, B], or [S, B, T] where the phase draws sequences; noise what `draw` gave for that update. It returns
    a dict of [S] diagnostics. A policy with memory has `initial_carry` and hands its carry on in `act`.
    """

    keys: tuple[Any, ...] = ()
    actions: ClassVar[type[Discrete | Box]] = Discrete  # the kind that it is for
    modes: tuple[str, ...] = ("greedy", "sampled")  # how evaluation lets it act
    starts_cloned = False  # whether the last phase starts from clones of the data, which its first evaluation shows
    obs_middle: Tensor
    obs_half_range: Tensor

    def __init__(
        self,
        seeds: Sequence[int],
        spec: WorldSpec,
        chunk_size: int = 100,
        eval_every: int = 10**9,
        accelerate: str = "none",
    ):
        super().__init__()
        self.automatic_optimization = False
        self.accelerator = Accelerator(accelerate)
        self.seeds, self.spec = list(seeds), spec
        self.weight_rngs = [generator(seed, Stream.WEIGHTS) for seed in seeds]
        self.noise_rngs = [generator(seed, Stream.NOISE) for seed in seeds]
        low, high = (torch.tensor(bound) for bound in spec.obs_bounds or ((), ()))
        self.register_buffer("obs_middle", (high + low) / 2)
        self.register_buffer("obs_half_range", torch.where(high > low, (high - low) / 2, torch.ones_like(low)))
        self.chunk_size, self.eval_every = chunk_size, eval_every
        self.n_updates = 0
        self.train_seconds = 0.0
        self.crashed: dict[int, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.quantities: dict[str, list[str]] = {}  # of each phase: what its updates report
        self.diagnostics: dict[str, dict[str, list[float]]] = {}  # of each phase: the means of its last chunk, per seed
        self.reused_phases: list[str] = []  # phases whose result was trained before

    # ---- a paper fills these in

    def phases(self) -> list[Phase]:
        raise NotImplementedError

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        raise NotImplementedError

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Noise and schedules of a chunk's updates, each [K, ...], drawn at once from `noise_rngs`."""
        return {}

    def policy_log_probs(self, obs: Tensor, legal: Tensor | None) -> Tensor:
        """obs [S, N, B, O] scaled -> [S, N, B, A]: what evaluation acts by."""
        raise NotImplementedError

    # ---- what papers use

    def scale_obs(self, obs: Tensor) -> Tensor:
        """obs [.., O] in [-1, 1], or raw where the world states no bounds."""
        return obs if self.spec.obs_bounds is None else (obs - self.obs_middle) / self.obs_half_range

    def normalize_obs(self, obs: Tensor) -> Tensor:
        """[S, B, N, O] raw -> [S, N, B, O] scaled: agents lead, as in the stacked networks."""
        return self.scale_obs(obs).transpose(1, 2)

    def uniform(self, *shape: int, shared: bool = False) -> Tensor:
        """[shape[0], S, *shape[1:]] in [0, 1): each seed's slice from its own generator; `shared`: the first seed's."""
        return self._drawn(shape, shared, lambda own, g: own.uniform_(generator=g))

    def normal(self, *shape: int, shared: bool = False) -> Tensor:
        """[shape[0], S, *shape[1:]] standard normal, drawn as `uniform` draws."""
        return self._drawn(shape, shared, lambda own, g: own.normal_(generator=g))

    def bernoulli(self, p: float, *shape: int, shared: bool = False) -> Tensor:
        """[shape[0], S, *shape[1:]] bool, True with probability p, drawn as `uniform` draws: a byte each."""
        return self._drawn(shape, shared, lambda own, g: own.bernoulli_(p, generator=g), torch.bool)

    def _drawn(
        self,
        shape: Sequence[int],
        shared: bool,
        draw: Callable[[Tensor, torch.Generator], Tensor],
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Drawn on the CPU whatever the device, the seeds side by side where torch has several threads."""
        rngs = self.noise_rngs[:1] if shared else self.noise_rngs
        drawn = torch.empty(len(rngs), *shape, dtype=dtype, pin_memory=self.device.type == "cuda")
        list((map if torch.get_num_threads() == 1 else _threads().map)(draw, drawn.unbind(0), rngs))
        return drawn.to(self.device, non_blocking=True).transpose(0, 1).contiguous()

    def descend(self, name: str, loss: Tensor, max_norm: float, lr_scale: Tensor | None = None) -> None:
        """One step of a whole group: differentiate the sum over seeds, clip per leading row, step."""
        self.descend_all({name: loss}, max_norm, lr_scale)

    def descend_all(self, losses: dict[str, Tensor], max_norm: float, lr_scale: Tensor | None = None) -> None:
        """One step of several groups, whose losses [S] reach their own parameters only, by one backward."""
        groups = [self.optimizer[name].param_groups[0]["params"] for name in losses]
        total = torch.stack(list(losses.values())).sum()
        grads = iter(torch.autograd.grad(total, [param for group in groups for param in group]))
        for name, group in zip(losses, groups, strict=True):
            self.optimizer[name].step_with(  # type: ignore[attr-defined]
                clip_per_member([next(grads) for _ in group], max_norm), lr_scale
            )

    # ---- plumbing

    @cached_property
    def plan(self) -> list[Chunk]:
        return make_plan(self.phases(), self.chunk_size, self.reused_phases)

    @property
    def next_chunk(self) -> Chunk:
        return self.plan[bisect_left(self.plan, self.n_updates, key=lambda chunk: chunk.start)]

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:  # type: ignore[override]
        self.optimizer = self.named_optimizers()
        return list(self.optimizer.values())

    def training_step(self, chunk: TensorDict, batch_idx: int) -> None:
        """K updates: chunk [K, S, B]. The diagnostics of all of them are looked at once, at the end."""
        planned = self.next_chunk
        started = time.perf_counter()
        if planned.streams is not None:
            self.noise_rngs = [generator(seed, Stream.NOISE, planned.streams) for seed in self.seeds]
        values = self.accelerator(self, planned.phase, chunk, self.draw(planned))  # (K, quantities, S)
        self.n_updates = planned.start + planned.n_updates
        names = self.quantities[planned.phase]
        self._look_for_divergence(names, values, planned.start)
        self.train_seconds += time.perf_counter() - started
        self.diagnostics[planned.phase] = dict(zip(names, values.mean(0).tolist(), strict=True))
        means = dict(zip(names, values.mean((0, 2)), strict=True))
        self.log_dict({**means, "n_updates": float(self.n_updates), "time/train_s": self.train_seconds}, batch_size=1)

    def updates(self, phase: str, chunk: TensorDict, noise: dict[str, Tensor]) -> Tensor:
        """The K updates of a chunk [K, S, B] as written -> their diagnostics [K, quantities, S]."""
        update, drawn, rows = getattr(self, f"update_{phase}"), {k: v.unbind(0) for k, v in noise.items()}, []
        for k, batch in enumerate(chunk.unbind(0)):
            diagnostics = update(batch, {name: values[k] for name, values in drawn.items()})
            rows.append(torch.stack([value.detach() for value in diagnostics.values()]))  # (quantities, S)
        self.quantities[phase] = list(diagnostics)
        return torch.stack(rows)

    @property
    def compile_targets(self) -> list[str]:
        """The methods that accelerate=compile compiles, each into one graph: the whole updates."""
        return [f"update_{phase.name}" for phase in self.phases()]

    def tensors(self) -> list[Tensor]:
        """Whatever an update may change: parameters, buffers, optimizer states."""
        states = (state for optimizer in self.optimizer.values() for state in optimizer.state.values())
        return [*self.parameters(), *self.buffers(), *(value for state in states for value in state.values())]

    def _look_for_divergence(self, names: list[str], values: Tensor, start: int) -> None:
        """values [K, quantities, S]: note per seed the first update and quantity that is not finite."""
        broken = ~values.isfinite()
        if not broken.any():
            return
        for s, seed in enumerate(self.seeds):
            hits = broken[:, :, s].nonzero()
            if len(hits) and seed not in self.crashed:
                k, quantity = hits[0].tolist()
                self.crashed[seed] = {"seed": seed, "n_updates": start + k + 1, "quantity": names[quantity]}
        if len(self.crashed) == len(self.seeds):
            self.trainer.should_stop = True

    def broken_weights(self) -> dict[int, str]:
        """{seed: its first parameter that is not finite}: the gradient of a last update shows in no diagnostic."""
        found: dict[int, str] = {}
        for name, parameter in self.named_parameters():  # (S, ..), or (1, ..) of all seeds
            finite = parameter.detach().isfinite().flatten(1).all(1).expand(len(self.seeds))
            for seed, good in zip(self.seeds, finite.tolist(), strict=True):
                if not good:
                    found.setdefault(seed, name)
        return found

    def initial_carry(self, n_seeds: int, n_episodes: int) -> Any:
        """What `act` remembers at the start of S x E episodes; None for policies without memory."""
        return None

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None, carry: Any = None) -> tuple[Tensor, Any]:
        """obs [S, E, N, O] raw -> action [S, E, N]: the most likely ones, or drawn with `uniform` [S, E, N].

        `carry` is what the step before returned beside its action.
        """
        legal = None if legal is None else legal.transpose(1, 2)
        log_probs = self.policy_log_probs(self.normalize_obs(obs), legal).transpose(1, 2)  # (S, E, N, A)
        action = log_probs.argmax(-1) if uniform is None else sample_categorical(log_probs, uniform)
        return action, carry

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seed_module"] = {
            "n_updates": self.n_updates,
            "train_seconds": self.train_seconds,
            "noise_streams": [g.get_state() for g in self.noise_rngs],
            "crashed": self.crashed,
            "diagnostics": self.diagnostics,
            "history": self.history,
            "restored": self.reused_phases,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["seed_module"]
        self.n_updates, self.train_seconds = saved["n_updates"], saved["train_seconds"]
        self.crashed, self.diagnostics, self.history = saved["crashed"], saved["diagnostics"], saved["history"]
        for rng, state in zip(self.noise_rngs, saved["noise_streams"], strict=True):
            rng.set_state(state)
