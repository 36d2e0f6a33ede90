"""Random numbers: one generator per seed and purpose."""

import hashlib
from enum import IntEnum

import torch


class Stream(IntEnum):
    """The purposes that random numbers are drawn for. The numbers enter the hash: never change one."""

    WEIGHTS = 0  # initial weights
    MINIBATCHES = 1  # indices of minibatches
    NOISE = 2  # noise of updates
    EVALUATION = 3  # start states and sampled actions of evaluations, per clock
    COLLECTION = 4  # start states and actions of regenerated data
    RANDOM_PLAY = 5  # uniform actions, for the reference returns of random play
    MEASUREMENT = 6  # returns of behavior policies, per snapshot
    TESTS = 9


def generator(seed: int, purpose: Stream, clock: int = 0) -> torch.Generator:
    """The CPU generator of one seed for one purpose, at `clock`.

    Its state is hashed from all three, since neighboring seeds must not share bits; torch's CPU engine uses 32 of them.
    """
    digest = hashlib.sha256(f"{seed} {int(purpose)} {clock}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
