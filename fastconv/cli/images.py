"""The images that `predict` is given, as a run's model wants them."""

import sys
from pathlib import Path

import numpy as np

from fastconv import data
from fastconv.data import npy, pictures
from fastconv.data.arrays import in_unit, scaled
from fastconv.data.digits import BRIGHTEST
from fastconv.data.reading import contents

SUFFIXES = (*pictures.SUFFIXES, ".npy")


def shape(config: dict) -> tuple[int, ...]:
    """(C, H, W)"""
    return config["in_channels"], *config["size"]


def files(path: Path) -> list[Path]:
    """The file that is named, or the files of images in a folder, by name; what else is there is passed over."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file())
    if not found:
        raise FileNotFoundError(
            f"no images in {path}, {contents(path)}; pass a .npy file, a picture ({', '.join(pictures.SUFFIXES)}) or a folder with some"
        )
    return found


def readable_images(paths: list[Path], config: dict) -> dict[Path, np.ndarray]:
    """The `images` of each file; of several files those that cannot be read are told on stderr and left out."""
    found, failed = {}, []
    for path in paths:
        try:
            found[path] = images(path, config)
        except data.FileFormatError as error:
            failed.append(str(error))
    if not found:
        raise data.FileFormatError(failed[0] if len(failed) == 1 else pictures.told(failed, len(failed)))
    if failed:
        print(f"fastconv: warning: {pictures.told(failed, len(paths))}", file=sys.stderr)
    return found


def images(path: Path, config: dict) -> np.ndarray:
    """(N, C, H, W) float32 in 0..1. ValueError names the file and what is wrong with it, OSError."""
    if path.exists() and path.suffix.lower() not in SUFFIXES:
        raise data.FileFormatError(f"{path}: not a picture by its name, nor a .npy file")
    if path.suffix.lower() not in pictures.SUFFIXES:
        return _arrays(path, config)
    C, H, W = shape(config)
    if C not in (1, 3):
        raise ValueError(f"{path} is a picture, but the model wants {C} channels: save an array ({C}, {H}, {W}) by np.save")
    return scaled(data.images([path], (H, W), grayscale=C == 1))


def _arrays(path: Path, config: dict) -> np.ndarray:
    stored = npy.array(path)
    C, H, W = shape(config)
    if stored.ndim in (3, 4) and stored.shape[-3:] == (H, W, C) != (C, H, W):
        stored = np.moveaxis(stored, -1, -3)
    several = stored.shape[-3:] == (C, H, W) and stored.ndim in (3, 4)
    if not stored.size or not (several or (C == 1 and stored.shape[-2:] == (H, W) and stored.ndim in (2, 3))):
        plain = f"({H}, {W}), (N, {H}, {W})" if C == 1 else f"({C}, {H}, {W})"
        raise ValueError(f"{path} must hold {plain}, (N, {C}, {H}, {W}) or (N, {H}, {W}, {C}), got {stored.shape}")
    stored = stored.reshape(-1, C, H, W)
    if not config["data"].startswith("digits:"):
        return in_unit(path, "the file", stored)
    if not ((stored >= 0) & (stored <= BRIGHTEST)).all():
        raise ValueError(f"{path} must hold values from 0 (paper) to {BRIGHTEST} (ink)")
    return (stored / BRIGHTEST).astype(np.float32)
