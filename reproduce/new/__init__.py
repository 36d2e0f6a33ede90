"""Beginnings: the files of a new algorithm or of a new paper, which run and load as they are written."""

from reproduce.new.algorithms import algorithm
from reproduce.new.papers import paper

__all__ = ["algorithm", "paper"]
