"""What every paper shares: stacked seeds, the update clock, named optimizers, per-seed clipping, targets, resume.

All seeds of a row train in one module. Parameters carry the leading axes (S,) or (S, N), each loss returns [S] and its
sum is differentiated, clipping and statistics are per seed, and every seed draws from its own generators: seed k of a
batch of S computes what seed k computes alone.

`n_updates` (gradient updates) is the only clock. Lightning's global_step counts optimizer steps instead, so training
stops by the number of batches, and one batch is a chunk of K updates.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import lightning as L
import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.optim.adam import adam

from data.sampling import stream
from lit_modules.accelerate import Accelerator
from lit_modules.nets import sample_categorical

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Dims:
    """What a world tells a network: sizes, and the bounds by which observations are scaled to [-1, 1].

    Discrete worlds have `n_actions` and bounds; continuous ones `action_size` numbers per agent, no bounds, and a state
    per agent.
    """

    n_agents: int
    obs_size: int
    n_actions: int = 0
    obs_low: tuple[float, ...] = ()
    obs_high: tuple[float, ...] = ()
    action_size: int = 0
    state_size: int = 0


@dataclass(frozen=True)
class Phase:
    """`n_updates` calls of the module's `update_<name>`, each on a minibatch of `batch_size` transitions per seed.

    A phase with `result`, the networks that it trains, can be kept and used again by a run that agrees in `decided_by`,
    data and seeds (reproduce.kept). A module that has such a phase starts every phase with random streams of the
    phase's own, so that what a phase draws does not depend on whether those before it ran.
    """

    name: str
    n_updates: int
    batch_size: int
    shared: bool = False  # trained once, by the first seed's streams, for all seeds
    keys: tuple[Any, ...] = ()  # what its updates read, where that is not all of the module's keys
    result: tuple[str, ...] = ()
    decided_by: dict[str, Any] = field(default_factory=dict)  # settings by name


@dataclass(frozen=True)
class Chunk:
    """The updates [start, start + n_updates) of the clock, all of one phase."""

    phase: str
    start: int
    n_updates: int
    batch_size: int
    shared: bool = False
    keys: tuple[Any, ...] = ()
    streams: int | None = None  # the phase's number, where its streams start here


def make_plan(phases: Sequence[Phase], chunk_size: int, restored: Iterable[str] = ()) -> list[Chunk]:
    """Cut the phases into chunks of at most `chunk_size` updates that end at phase ends.

    Evaluations cut nothing: a chunk draws its minibatches and noise at once, so its length decides what is drawn. The
    clock passes over phases that are `restored`.
    """
    plan, clock, apart = [], 0, any(phase.result for phase in phases)
    for number, phase in enumerate(phases):
        done = 0
        while done < phase.n_updates and phase.name not in restored:
            n = min(chunk_size, phase.n_updates - done)
            streams = number if apart and not done else None
            plan.append(Chunk(phase.name, clock + done, n, phase.batch_size, phase.shared, phase.keys, streams))
            done += n
        clock += phase.n_updates
    return plan


class Adam(torch.optim.Adam):
    """torch's fused Adam, with a step that can be compiled and captured: its state exists from the start."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0):
        """`weight_decay` is decoupled, as in AdamW."""
        params = list(params)
        super().__init__(
            params, lr=lr, weight_decay=weight_decay, decoupled_weight_decay=weight_decay > 0,
            fused=True, capturable=params[0].is_cuda,
        )  # fmt: skip
        for param in params:
            self.state[param] = {
                "step": torch.zeros((), dtype=torch.float32, device=param.device),
                "exp_avg": torch.zeros_like(param),
                "exp_avg_sq": torch.zeros_like(param),
            }

    @torch.no_grad()
    def step_with(self, grads: Sequence[Tensor], lr_scale: Tensor | None = None) -> None:
        """One step along `grads`, one per parameter, at lr or at the fraction lr_scale [] of it."""
        params = self.param_groups[0]["params"]
        before = [] if lr_scale is None else [param.clone() for param in params]
        self._step_with(grads)
        for param, start in zip(params, before, strict=False):  # what a step changes, decay too, is in proportion to lr
            param.copy_(torch.lerp(start, param, lr_scale))  # type: ignore[arg-type]

    def _step_with(self, grads: Sequence[Tensor]) -> None:
        group = self.param_groups[0]
        params, (beta1, beta2) = group["params"], group["betas"]
        if not torch.compiler.is_compiling():
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad
            self.step()
            return
        # torch's own formula, without the hooks around `step` that break a graph in two; powers of beta in float64.
        steps, m, v = ([self.state[p][name] for p in params] for name in ("step", "exp_avg", "exp_avg_sq"))
        exact = [step.double() for step in steps]
        adam(
            params, list(grads), m, v, [], exact, foreach=False, capturable=True, amsgrad=False, maximize=False,
            beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=group["weight_decay"], eps=group["eps"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
        )  # fmt: skip
        for step, value in zip(steps, exact, strict=True):
            step.copy_(value)


class TurnAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) on chosen rows of one stacked parameter [*lead, P].

    Agents that update one after another in an order of their own per seed are rows whose turn comes one after another:
    rows that wait keep parameters, moments and step counts. Equal to one torch.optim.Adam per row.
    """

    def __init__(self, theta: nn.Parameter, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        super().__init__([theta], {"lr": lr, "betas": betas, "eps": eps})
        self.state[theta] = {
            "step": theta.new_zeros(theta.shape[:-1].numel(), 1),
            "exp_avg": torch.zeros_like(theta).flatten(0, -2),
            "exp_avg_sq": torch.zeros_like(theta).flatten(0, -2),
        }

    @torch.no_grad()
    def step_rows(self, rows: Tensor, grad: Tensor, lr_scale: Tensor | float = 1.0) -> None:
        """rows [R] indexes the flattened leading axes, each at most once; grad [R, P]; lr_scale multiplies lr."""
        group = self.param_groups[0]
        theta, (b1, b2) = group["params"][0], group["betas"]
        state = self.state[theta]
        step = state["step"].index_select(0, rows).add_(1)
        m = state["exp_avg"].index_select(0, rows).lerp_(grad, 1 - b1)
        v = state["exp_avg_sq"].index_select(0, rows).mul_(b2).addcmul_(grad, grad, value=1 - b2)
        denominator = (v / (1 - b2**step)).sqrt_().add_(group["eps"])
        change = (m / (1 - b1**step)).div_(denominator)
        theta.flatten(0, -2).index_add_(0, rows, change.mul_(lr_scale), alpha=-group["lr"])
        for name, value in (("step", step), ("exp_avg", m), ("exp_avg_sq", v)):
            state[name].index_copy_(0, rows, value)


def clip_rows(grads: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """torch's clip_grad_norm_ per leading row: grads [*lead_k, P_k] of one group share one norm per seed (and agent,
    where all of them have that axis)."""
    lead = min(g.ndim for g in grads) - 1
    norm = torch.stack([g.square().flatten(lead).sum(-1) for g in grads]).sum(0).sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp_(max=1.0)
    return [g * scale.view(*scale.shape, *(1,) * (g.ndim - lead)) for g in grads]


def agent_major(x: Tensor) -> Tensor:
    """[S, B, N, ...] -> [S, N, B, ...]."""
    return x.transpose(1, 2)


def with_agent_id(obs: Tensor) -> Tensor:
    """obs [S, N, B, O] -> [S, N, B, O + N]: a one-hot of the agent, for networks that agents share."""
    n = obs.shape[1]
    ids = torch.eye(n, dtype=obs.dtype, device=obs.device).unsqueeze(1)  # (N, 1, N)
    return torch.cat([obs, ids.expand(*obs.shape[:3], n)], -1)


def rows_of(net: nn.Module, rows: Tensor) -> Tensor:
    """A differentiable copy [R, P] of the rows whose turn it is."""
    return net.theta.detach().flatten(0, -2).index_select(0, rows).requires_grad_()  # type: ignore[union-attr,operator]


def target_of(net: Net) -> Net:
    """A target network: a copy that no optimizer moves."""
    return deepcopy(net).requires_grad_(False)


@torch.no_grad()
def polyak(target: nn.Module, net: nn.Module, tau: float) -> None:
    """target <- (1 - tau) target + tau net."""
    for slow, fast in zip(target.parameters(), net.parameters(), strict=True):
        slow.lerp_(fast, tau)


class SeedModule(L.LightningModule):
    """A paper's algorithm for S seeds at once.

    A subclass sets its networks, `keys` (what its updates read from the buffer) and `phases()`, returns
    its optimizers by name from `named_optimizers()`, and has one `update_<phase>(batch, noise)` per phase: batch a
    TensorDict [S, B], noise what `draw` gave for that update; it returns a dict of [S] diagnostics.
    """

    keys: tuple[Any, ...] = ()
    discrete = True  # the kind of actions it is for
    modes: tuple[str, ...] = ("greedy", "sampled")  # how evaluation lets it act
    starts_cloned = False  # whether the last phase starts from clones of the data, which its first evaluation shows
    obs_middle: Tensor
    obs_half_range: Tensor

    def __init__(
        self,
        seeds: Sequence[int],
        dims: Dims,
        chunk_size: int = 100,
        eval_every: int = 10**9,
        accelerate: str = "none",
    ):
        super().__init__()
        self.automatic_optimization = False
        self.accelerator = Accelerator(accelerate)
        self.seeds, self.dims = list(seeds), dims
        self.weight_streams = [stream(seed, 0) for seed in seeds]
        self.noise_streams = [stream(seed, 2) for seed in seeds]
        low, high = torch.tensor(dims.obs_low), torch.tensor(dims.obs_high)
        self.register_buffer("obs_middle", (high + low) / 2)
        self.register_buffer("obs_half_range", torch.where(high > low, (high - low) / 2, torch.ones_like(low)))
        self.chunk_size, self.eval_every = chunk_size, eval_every
        self.n_updates = 0
        self.train_seconds = 0.0
        self.crashed: dict[int, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.quantities: dict[str, list[str]] = {}  # of each phase: what its updates report
        self.restored: list[str] = []  # phases whose result was trained before

    # ---- a paper fills these in

    def phases(self) -> list[Phase]:
        raise NotImplementedError

    def named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        raise NotImplementedError

    def draw(self, chunk: Chunk) -> dict[str, Tensor]:
        """Noise and schedules of a chunk's updates, each [K, ...], drawn at once from `noise_streams`."""
        return {}

    def policy_log_probs(self, obs: Tensor, legal: Tensor | None) -> Tensor:
        """obs [S, N, B, O] scaled -> [S, N, B, A]: what evaluation acts by."""
        raise NotImplementedError

    # ---- what papers use

    def scaled(self, obs: Tensor) -> Tensor:
        """[S, B, N, O] raw -> [S, N, B, O] in [-1, 1]: agents lead, as in the stacked networks."""
        return ((obs - self.obs_middle) / self.obs_half_range).transpose(1, 2)

    def uniform(self, *shape: int, shared: bool = False) -> Tensor:
        """[shape[0], S, *shape[1:]] in [0, 1): each seed's slice from its own stream; `shared`: the first seed's."""
        streams = self.noise_streams[:1] if shared else self.noise_streams
        return torch.stack([torch.rand(*shape, generator=g) for g in streams], dim=1).to(self.device)

    def normal(self, *shape: int, shared: bool = False) -> Tensor:
        """[shape[0], S, *shape[1:]] standard normal, drawn as `uniform` draws."""
        streams = self.noise_streams[:1] if shared else self.noise_streams
        return torch.stack([torch.randn(*shape, generator=g) for g in streams], dim=1).to(self.device)

    def bernoulli(self, p: float, *shape: int, shared: bool = False) -> Tensor:
        """[shape[0], S, *shape[1:]] bool, True with probability p, drawn as `uniform` draws: a byte each."""
        streams = self.noise_streams[:1] if shared else self.noise_streams
        drawn = [torch.empty(shape, dtype=torch.bool).bernoulli_(p, generator=g) for g in streams]
        return torch.stack(drawn, dim=1).to(self.device)

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
                clip_rows([next(grads) for _ in group], max_norm), lr_scale
            )

    # ---- plumbing

    @cached_property
    def plan(self) -> list[Chunk]:
        return make_plan(self.phases(), self.chunk_size, self.restored)

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
            self.noise_streams = [stream(seed, 2, planned.streams) for seed in self.seeds]
        values = self.accelerator(self, planned.phase, chunk, self.draw(planned))  # (K, quantities, S)
        self.n_updates = planned.start + planned.n_updates
        names = self.quantities[planned.phase]
        self._look_for_divergence(names, values, planned.start)
        self.train_seconds += time.perf_counter() - started
        means = dict(zip(names, values.mean((0, 2)), strict=True))
        self.log_dict({**means, "n_updates": float(self.n_updates), "time/train_s": self.train_seconds}, batch_size=1)

    def updates(self, phase: str, chunk: TensorDict, noise: dict[str, Tensor]) -> Tensor:
        """The K updates of a chunk [K, S, B] as written -> their diagnostics [K, quantities, S]."""
        update, drawn, rows = getattr(self, f"update_{phase}"), {k: v.unbind(0) for k, v in noise.items()}, []
        for k, batch in enumerate(chunk.unbind(0)):
            diagnostics = update(batch, {name: values[k] for name, values in drawn.items()})
            rows.append(torch.stack(list(diagnostics.values())))  # (quantities, S)
        self.quantities[phase] = list(diagnostics)
        return torch.stack(rows)

    @property
    def regions(self) -> list[str]:
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

    def act(self, obs: Tensor, legal: Tensor | None, uniform: Tensor | None) -> Tensor:
        """obs [S, E, N, O] raw -> action [S, E, N]: the most likely ones, or drawn with `uniform` [S, E, N]."""
        legal = None if legal is None else legal.transpose(1, 2)
        log_probs = self.policy_log_probs(self.scaled(obs), legal).transpose(1, 2)  # (S, E, N, A)
        return log_probs.argmax(-1) if uniform is None else sample_categorical(log_probs, uniform)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seed_module"] = {
            "n_updates": self.n_updates,
            "train_seconds": self.train_seconds,
            "noise_streams": [g.get_state() for g in self.noise_streams],
            "crashed": self.crashed,
            "history": self.history,
            "restored": self.restored,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["seed_module"]
        self.n_updates, self.train_seconds = saved["n_updates"], saved["train_seconds"]
        self.crashed, self.history = saved["crashed"], saved["history"]
        for generator, state in zip(self.noise_streams, saved["noise_streams"], strict=True):
            generator.set_state(state)
