"""The images that `predict` is given, as a run's model wants them."""

from pathlib import Path

import numpy as np

from fastconv.data import npy
from fastconv.data.digits import BRIGHTEST
from fastconv.data.reading import as_images, brief, contents
from fastconv.files import FileFormatError, opened
from fastconv.plot import need_matplotlib

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
SUFFIXES = (*PICTURES, ".npy")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue: ITU-R BT.601


def shape(config: dict) -> tuple[int, ...]:
    """(C, H, W)"""
    return config["in_channels"], *config["size"]


def files(path: Path) -> list[Path]:
    """The file that is named, or the files of images in a folder, by name; what else is there is passed over."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file())
    if not found:
        raise FileNotFoundError(f"no images in {path}, {contents(path)}; pass a .npy file, a picture ({', '.join(PICTURES)}) or a folder with some")
    return found


def images(path: Path, config: dict) -> np.ndarray:
    """(N, C, H, W) float32 in 0..1. ValueError names the file and what is wrong with it, OSError."""
    return _picture(path, *shape(config)) if path.suffix.lower() in PICTURES else _arrays(path, config)


def _arrays(path: Path, config: dict) -> np.ndarray:
    stored = npy.array(path)
    C, H, W = shape(config)
    several = stored.shape[-3:] == (C, H, W) and stored.ndim in (3, 4)
    if not stored.size or not (several or (C == 1 and stored.shape[-2:] == (H, W) and stored.ndim in (2, 3))):
        plain = f"({H}, {W}), (N, {H}, {W})" if C == 1 else f"({C}, {H}, {W})"
        last = stored.shape[-3:] == (H, W, C) and stored.ndim in (3, 4)
        axes = "2, 0, 1" if stored.ndim == 3 else "0, 3, 1, 2"
        hint = f", the channels last: np.save(path, image.transpose({axes}))" if last else ""
        raise ValueError(f"{path} must hold {plain} or (N, {C}, {H}, {W}), got {stored.shape}{hint}")
    stored = stored.reshape(-1, C, H, W)
    if not config["data"].startswith("digits:"):
        return as_images(path, "the file", stored)
    if not ((stored >= 0) & (stored <= BRIGHTEST)).all():
        raise ValueError(f"{path} must hold values from 0 (paper) to {BRIGHTEST} (ink)")
    return (stored / BRIGHTEST).astype(np.float32)


def _picture(path: Path, C: int, H: int, W: int) -> np.ndarray:
    """One picture in colours or grey, as bright as it is; transparency does not count."""
    need_matplotlib()
    from matplotlib.image import imread

    with opened(path) as file:
        try:
            pixels = imread(file)
        except Exception as error:  # what readers of pictures raise is not documented
            raise FileFormatError(f"{path} is not a picture that can be read: {brief(error)}") from None
    if pixels.shape[:2] != (H, W):
        raise ValueError(f"{path} must be {H} pixels high and {W} wide, as the images of training, got {pixels.shape[0]} and {pixels.shape[1]}")
    if C not in (1, 3):
        raise ValueError(f"{path} is a picture, but the model wants {C} channels: save an array ({C}, {H}, {W}) by np.save")
    bright = pixels.astype(np.float32) / (1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max)
    colours = bright[..., :3] if bright.ndim == 3 and bright.shape[2] >= 3 else np.repeat(bright.reshape(H, W, -1)[..., :1], 3, axis=2)
    return colours.transpose(2, 0, 1)[None] if C == 3 else (colours @ LUMA)[None, None]
