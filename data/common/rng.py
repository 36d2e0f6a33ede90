"""Random numbers: one generator per seed and purpose."""

import hashlib

import torch


def stream(seed: int, purpose: int, clock: int = 0) -> torch.Generator:
    """The generator of one seed for one purpose (0 weights, 1 minibatches, 2 update noise, 3 evaluation at `clock`).

    Hashed, since neighboring seeds must not share bits; torch's CPU engine uses 32 of them.
    """
    digest = hashlib.sha256(f"{seed} {purpose} {clock}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
