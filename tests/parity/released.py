"""Vectors recorded from released code: the file, and released layers as a row of a stack."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Golden = dict[str, Tensor]
Layers = Sequence[str | tuple[str, ...]]  # by name, "" the place itself; heads that stand side by side as a tuple


def golden_of(name: str) -> Golden:
    """The vectors of tests/parity/<name>.npz."""
    with np.load(Path(__file__).with_name(f"{name}.npz"), allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def theta(golden: Golden, place: str, layers: Layers) -> Tensor:
    """The layers below `place` as one row of a stack: weight transposed, then bias, layer by layer."""
    parts = []
    for layer in layers:
        heads = [f"{place}/{head}".rstrip("/") for head in ((layer,) if isinstance(layer, str) else layer)]
        parts.append(torch.cat([golden[f"{head}/weight"] for head in heads]).T.flatten())  # (out, in) each
        parts.append(torch.cat([golden[f"{head}/bias"] for head in heads]))
    return torch.cat(parts)
