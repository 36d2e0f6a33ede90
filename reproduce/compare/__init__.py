"""Algorithms beside each other: arms of one row on the same data and seeds."""

from reproduce.compare.arms import OWN, Arm, composed, read_arms
from reproduce.compare.differences import LEVEL, METHOD, compared

__all__ = ["LEVEL", "METHOD", "OWN", "Arm", "compared", "composed", "read_arms"]
