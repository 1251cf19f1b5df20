"""Data sets and batches."""

from fastconv.data.batches import Batches
from fastconv.data.digits import SPLITS, digits
from fastconv.data.normalise import Normalise

__all__ = ["SPLITS", "Batches", "Normalise", "digits"]
