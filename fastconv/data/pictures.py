"""Pictures in files, PNG, JPEG and what else Pillow reads, as arrays of one size (`pip install "fastconv[images]"`)."""

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastconv.data.reading import brief, contents
from fastconv.files import FileFormatError, as_path, opened
from fastconv.geometry import flag, integer
from fastconv.memory import spared

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # none that Pillow would hand to another program
LARGEST = 4096  # pixels of a side
EVERY = 2.0  # seconds, a long read says how far it is


class Form(NamedTuple):
    """What every picture becomes."""

    H: int
    W: int
    C: int

    @classmethod
    def of(cls, op: str, size: int | Sequence[int], grayscale: bool) -> "Form":
        """From the words of a caller. TypeError, ValueError."""
        sides = list(size) if isinstance(size, (tuple, list)) else [size, size]
        if len(sides) != 2:
            raise ValueError(f"{op}: size must be an integer or a pair (H, W), got {size}")
        H, W = (integer(op, "size", side, 1) for side in sides)
        if max(H, W) > LARGEST:
            raise ValueError(f"{op}: size must be at most {LARGEST} pixels, got {size}")
        return cls(H, W, 1 if flag(op, "grayscale", grayscale) else 3)


def images(paths, size: int | tuple[int, int] = 32, *, grayscale: bool = False) -> np.ndarray:
    """Pictures in files as (N, C, H, W) uint8 in 0..255, in the given order; C is 3, or 1 if grayscale.

    paths: a picture's file, a folder whose pictures are read by name, or a list of files. size: H = W, or (H, W): each picture is scaled until it
    covers this, and what stands out on both sides is cut off. It is turned as its EXIF data say; palettes, CMYK and 16 bits are converted,
    transparency is left out. `train.fit`, `train.predict`, `Batches` take uint8 as 0..1.
    FileNotFoundError; FileFormatError (a ValueError) where pictures cannot be read: how many, and the first of them; ImportError without Pillow.
    """
    form = Form.of("images", size, grayscale)
    if isinstance(paths, (list, tuple)):
        files = [as_path("images", "paths", path) for path in paths]
        if not files:
            raise ValueError("images: paths is empty: pass a picture's file, a folder of pictures, or a list of files")
    else:
        path = as_path("images", "paths", paths)
        files = picture_files(path) if path.is_dir() else [path]
    for path in files:
        if not path.exists():
            raise FileNotFoundError(f"no {path.name} in {path.parent}, {contents(path.parent)}")
    x, failed = read(files, form)
    if failed:
        raise FileFormatError(f"images: {told([*failed.values()], len(files))}" if len(files) > 1 else failed[0])
    return x


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder, by name; what else is there is passed over."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not files:
        raise FileNotFoundError(f"no pictures ({', '.join(SUFFIXES)}) in {folder}, {contents(folder)}")
    return files


@spared
def read(files: Sequence[Path], form: Form) -> tuple[np.ndarray, dict[int, str]]:
    """(N, C, H, W) uint8 of those that can be read, channels-last in memory, and by their numbers why the others cannot."""
    need_pillow()
    x, failed = np.empty((len(files), form.H, form.W, form.C), np.uint8), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about odd metadata
        for i, path in _counted(files):
            try:
                x[i - len(failed)] = _picture(path, form)
            except (FileFormatError, OSError) as error:
                failed[i] = str(error)
    return x[: len(files) - len(failed)].transpose(0, 3, 1, 2), failed


def told(failed: Sequence[str], count: int, shown: int = 3) -> str:
    """How many files of so many are no pictures, and what is wrong with the first of them."""
    more = f"; and {len(failed) - shown} more" if len(failed) > shown else ""
    return f"{len(failed)} of {count} files cannot be read as pictures: {'; '.join(failed[:shown])}{more}"


def need_pillow() -> None:
    try:
        import PIL  # noqa: F401  # is it there?
    except ImportError as error:
        raise ImportError('reading pictures needs Pillow: pip install "fastconv[images]"') from error


def _picture(path: Path, form: Form) -> np.ndarray:
    """(H, W, C) uint8. FileFormatError, OSError."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if path.suffix.lower() not in SUFFIXES:
        raise FileFormatError(f"{path}: not a picture by its name")
    with opened(path) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                image.draft(None, (2 * max(form.H, form.W),) * 2)  # a JPEG is decoded no larger than is of use
                ImageOps.exif_transpose(image, in_place=True)
                plain = _plain(image, "L" if form.C == 1 else "RGB")
                fitted = ImageOps.fit(plain, (form.W, form.H), Image.Resampling.BILINEAR)
        except UnidentifiedImageError:
            raise FileFormatError(f"{path}: not a picture of any of the formats {', '.join(FORMATS)}") from None
        except Exception as error:  # what readers of pictures raise is not documented
            raise FileFormatError(f"{path}: not a picture that can be read, {brief(error)}") from None
    return np.asarray(fitted).reshape(form.H, form.W, form.C)


def _plain(image, mode: str):
    """The picture in gray ("L") or colors ("RGB") of 8 bits."""
    from PIL import Image

    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are {'integers' if image.mode == 'I' else 'floats'} of 32 bits, whose range is not known")
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((pixels * 255 + 32767) // 65535).astype(np.uint8))
    return image.convert(mode)


def _counted(files: Sequence[Path]) -> Iterator[tuple[int, Path]]:
    """The files one after another with their numbers; where that takes long, stderr shows how far it is."""
    said, terminal, end = time.perf_counter(), sys.stderr is not None and sys.stderr.isatty(), ""
    for i, path in enumerate(files):
        yield i, path
        if time.perf_counter() - said > EVERY and sys.stderr is not None:
            said, end = time.perf_counter(), "\n" * terminal
            print(f"{chr(13) * terminal}reading pictures: {i + 1} of {len(files)}", end="" if terminal else "\n", file=sys.stderr, flush=True)
    print(end=end, file=sys.stderr)
