"""Distributions of policies: masked categorical, squashed Gaussian. The noise is always the caller's."""

import math

from torch import Tensor, nn


def masked_log_softmax(logits: Tensor, legal: Tensor | None) -> Tensor:
    """log-probabilities over the last axis with illegal actions (`legal` False) at a finite -1e8.

    Finite, so that 0 * log 0 is 0 and a difference of two masked log-probabilities is never NaN.
    """
    return (logits if legal is None else logits.masked_fill(~legal, -1e8)).log_softmax(-1)


def sample_categorical(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-CDF draws: log_probs [..., A], uniform [...] in [0, 1) -> int64 [...]. The noise is the caller's.

    An action of probability 0 is never drawn, where uniform is 0 or its product rounds to the whole either.
    """
    cdf = log_probs.exp().cumsum(-1)
    draw = (cdf <= (uniform * cdf[..., -1]).unsqueeze(-1)).sum(-1)
    last = (cdf < cdf[..., -1:]).sum(-1)  # of positive probability
    return draw.minimum(last)


def _tanh_normal(out: Tensor) -> tuple[Tensor, Tensor]:
    """Network outputs [..., 2 A] -> mean and log-deviation before squashing, each [..., A], clamped as OMIGA does."""
    mean, log_std = out.chunk(2, -1)
    return mean.clamp(-9.0, 9.0), log_std.clamp(-5.0, 2.0)


def tanh_normal_log_prob(out: Tensor, action: Tensor) -> Tensor:
    """log-density of a = tanh(u), u normal, summed over action dimensions: out [..., 2 A], action [..., A] -> [...].

    Actions are first clipped to +-(1 - 1e-7), where the density is finite.
    """
    mean, log_std = _tanh_normal(out)
    u = action.clamp(-1 + 1e-7, 1 - 1e-7).atanh()
    log_normal = -0.5 * ((u - mean) * (-log_std).exp()).square() - log_std - 0.5 * math.log(2 * math.pi)
    return (log_normal - 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))).sum(-1)


def tanh_normal_sample(out: Tensor, noise: Tensor) -> Tensor:
    """tanh(mean + deviation * noise): out [..., 2 A], noise [..., A] standard normal -> [..., A], with a gradient.

    The mean is not clamped here, as in OMIGA's code.
    """
    mean, log_std = out.chunk(2, -1)
    return (mean + log_std.clamp(-5.0, 2.0).exp() * noise).tanh()


def tanh_normal_mode(out: Tensor) -> Tensor:
    """The squashed mean, [..., A]: what evaluation acts by."""
    return _tanh_normal(out)[0].tanh()
