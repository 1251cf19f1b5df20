"""Data sets and batches."""

from fastconv import reflexes
from fastconv.data.arrays import encode_labels
from fastconv.data.batches import Batches
from fastconv.data.cifar10 import cifar10
from fastconv.data.classes import class_names
from fastconv.data.digits import SPLITS, digits
from fastconv.data.idx import idx, mnist
from fastconv.data.image_folder import ImageFolder, image_folder
from fastconv.data.normalise import Normalise
from fastconv.data.npy import npz
from fastconv.data.npy_folder import npy_folder
from fastconv.data.pictures import images
from fastconv.data.split import stratified_split
from fastconv.files import FileFormatError

__all__ = [
    "SPLITS", "Batches", "FileFormatError", "ImageFolder", "Normalise", "cifar10", "class_names", "digits", "encode_labels", "idx", "image_folder",
    "images", "mnist", "npy_folder", "npz", "stratified_split",
]  # fmt: skip

__getattr__ = reflexes.of_module("data", __name__)
