"""Data sets and batches."""

from fastconv.data.batches import Batches
from fastconv.data.cifar10 import cifar10
from fastconv.data.digits import SPLITS, digits
from fastconv.data.idx import idx, mnist
from fastconv.data.normalise import Normalise
from fastconv.data.npy import npz
from fastconv.data.npy_folder import class_names, npy_folder
from fastconv.files import FileFormatError

__all__ = [
    "SPLITS", "Batches", "FileFormatError", "Normalise", "cifar10", "class_names", "digits", "idx", "mnist", "npy_folder", "npz",
]  # fmt: skip
