"""Data sets and batches."""

from fastconv.data.batches import Batches
from fastconv.data.digits import SPLITS, digits

__all__ = ["SPLITS", "Batches", "digits"]
