"""Optimizers whose steps can be compiled and captured, and clipping per member of a stack."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


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


class IndexedAdam(torch.optim.Optimizer):
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
    def step_index(self, rows: Tensor, grad: Tensor, lr_scale: Tensor | float = 1.0) -> None:
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


class RMSprop(torch.optim.Optimizer):
    """torch's RMSprop on stacks [S, ..], whose seeds may sit a step out: those keep parameters and averages."""

    def __init__(self, params: Iterable[Tensor], lr: float, alpha: float, eps: float):
        params = list(params)
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})
        for param in params:
            self.state[param] = {"square_avg": torch.zeros_like(param)}

    @torch.no_grad()
    def step_with(self, grads: Sequence[Tensor], lr_scale: Tensor | None = None, active: Tensor | None = None) -> None:
        """One step along `grads`, one per parameter, of all seeds or of those that are `active` [S]."""
        group = self.param_groups[0]
        lr = group["lr"] if lr_scale is None else group["lr"] * lr_scale
        for param, grad in zip(group["params"], grads, strict=True):
            average: Tensor = self.state[param]["square_avg"]
            square = average * group["alpha"] + (1 - group["alpha"]) * grad.square()
            moved = param - lr * (grad / (square.sqrt() + group["eps"]))
            for old, new in ((average, square), (param, moved)):
                old.copy_(new if active is None else torch.where(active.view(-1, *(1,) * (old.ndim - 1)), new, old))


def clip_per_member(grads: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """torch's clip_grad_norm_ per leading row: grads [*lead_k, P_k] of one group share one norm per seed (and agent,
    where all of them have that axis)."""
    lead = min(g.ndim for g in grads) - 1
    norm = torch.stack([g.square().flatten(lead).sum(-1) for g in grads]).sum(0).sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp_(max=1.0)
    return [g * scale.view(*scale.shape, *(1,) * (g.ndim - lead)) for g in grads]
