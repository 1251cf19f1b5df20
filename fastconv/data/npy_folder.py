"""A folder with a sub-folder per class, each image a .npy file: for one's own images, saved by `np.save`."""

import os
from pathlib import Path

import numpy as np

from fastconv.data import npy
from fastconv.data.arrays import as_images
from fastconv.data.classes import class_names
from fastconv.data.reading import contents
from fastconv.files import FileFormatError, as_path, opened
from fastconv.memory import spared


@spared
def npy_folder(folder: str | os.PathLike) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(x, y) to train on and (x, y) to test with, a fixed random fifth of each class. x: (N, C, H, W) float32 in 0..1, y: (N,) int64.

    folder: its sub-folders are the classes (`class_names`), and each of their .npy files is an image, (H, W) or (C, H, W), integers 0..255 or
    floats 0..1, all of one shape. FileNotFoundError; FileFormatError (a ValueError), also for pickled objects.
    """
    folder = as_path("npy_folder", "folder", folder)
    files = [(path, label) for label, name in enumerate(class_names(folder)) for path in _files(folder / name)]
    shapes = [_shape(path) for path, _ in files]  # all headers, before anything is allocated
    for (path, _), shape in zip(files, shapes):
        if shape != shapes[0]:
            raise FileFormatError(f"{path}: all images must have one shape, got {shape} here and {shapes[0]} in {files[0][0]}")
    x = np.concatenate([_image(path) for path, _ in files])
    return npy.split(folder, x, np.array([label for _, label in files], np.int64))


def _files(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.npy"))
    if not paths:
        raise FileNotFoundError(f"no .npy files in {folder}, {contents(folder)}")
    return paths


def _shape(path: Path) -> tuple[int, ...]:
    with opened(path) as file:
        shape, _, _ = npy.header(file, os.fstat(file.fileno()).st_size, path)
    if len(shape) not in (2, 3):
        raise FileFormatError(f"{path}: an image must be (H, W) or (C, H, W), got {shape}")
    if len(shape) == 3 and shape[0] > 4 >= shape[2]:
        raise FileFormatError(f"{path}: the image {shape} looks like (H, W, C); (C, H, W) is needed: np.save(path, image.transpose(2, 0, 1))")
    return shape


def _image(path: Path) -> np.ndarray:
    """(1, C, H, W) float32 in 0..1"""
    return as_images(path, "the image", npy.array(path)[None])
