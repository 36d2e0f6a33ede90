"""Importance resampling within a minibatch."""

import torch
from torch import Tensor


def importance_resample(log_rho: Tensor, uniform: Tensor) -> Tensor:
    """Draw B of M candidates with probability proportional to rho (Schlegel et al. 2019, importance resampling).

    log_rho [S, M], uniform [S, B] in [0, 1) -> index [S, B] int64 by inverse CDF.
    """
    cdf = log_rho.softmax(-1).cumsum(-1)  # (S, M)
    return torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True).clamp_(max=log_rho.shape[-1] - 1)


def effective_sample_size(log_rho: Tensor) -> Tensor:
    """(sum rho)^2 / sum rho^2 over the last axis, between 1 and M."""
    return (2 * log_rho.logsumexp(-1) - (2 * log_rho).logsumexp(-1)).exp()
