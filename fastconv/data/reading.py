"""What the readers of data files share: sizes are compared before anything large is allocated, and nothing is unpickled."""

import gzip
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastconv.files import FileFormatError, opened

PIECE = 1 << 20  # bytes read at a time: memory grows with what is there, not with what a header claims
LARGE, DENSEST = 64 << 20, 100  # bytes, and the most that packed images may grow by beyond them (MNIST grows by 5)

# What gzip and zipfile raise; the last ones for an encrypted or future member, and for a damaged directory.
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, RuntimeError, UnicodeDecodeError, struct.error, OverflowError)


def find(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that the folder holds; FileNotFoundError lists what was looked for and what is there."""
    for name in names:
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(f"no {' or '.join(names)} in {folder}, {contents(folder)}")


def contents(folder: Path, shown: int = 8) -> str:
    """What a folder holds, in words."""
    if not folder.is_dir():
        return "which is a file, not a folder" if folder.exists() else "which does not exist"
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "which is empty"
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"which holds {', '.join(names[:shown])}{more}"


def there(path: Path) -> BinaryIO:
    """`opened`; FileNotFoundError says what else the folder holds."""
    try:
        return opened(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no {path.name} in {path.parent}, {contents(path.parent)}") from None


def brief(error: Exception) -> str:
    """What another library says, in a line that fits on a screen."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What gzip and zipfile say of a broken file becomes a FileFormatError with its name."""
    try:
        yield
    except BROKEN as error:
        raise FileFormatError(f"{path}: broken, {brief(error)}") from None


def exactly(stream: BinaryIO, size: int, path: Path) -> bytearray:
    """The next `size` bytes, which must be the last ones."""
    content = bytearray()
    while piece := stream.read(min(PIECE, size - len(content) + 1)):  # the 1 is for a byte too many
        content += piece
        if len(content) > size:
            raise FileFormatError(f"{path}: long, its header promises {size} bytes of data and more follow")
    if len(content) < size:
        raise FileFormatError(f"{path}: short, its header promises {size} bytes of data and {len(content)} are there")
    return content


def check_size(path: Path, promised: int, there: int) -> None:
    """Both in bytes, before anything is read."""
    if promised != there:
        raise FileFormatError(f"{path}: {'short' if there < promised else 'long'}, {promised} bytes of data are wanted and {there} are there")


def refuse_bomb(path: Path, promised: int, packed: int) -> None:
    """No packed file of images is that dense: it would fill the memory with nothing. Both in bytes, of all that is read at once."""
    if promised > max(LARGE, DENSEST * packed):
        raise FileFormatError(f"{path}: {packed} bytes claim to unpack to {promised}, over {DENSEST} times as many; if so, unpack it first")


def is_pickle(start: bytes) -> bool:
    """Protocols 2 to 5, from the first two bytes."""
    return start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def as_labels(path: Path, name: str, y: np.ndarray, count: int, classes: int) -> np.ndarray:
    """(count,) integers 0..classes-1 as int64."""
    if y.dtype.kind not in "iu":
        raise FileFormatError(f"{path}: {name} must hold integers, the numbers of the classes, got {y.dtype}")
    if y.shape != (count,):
        raise FileFormatError(f"{path}: {name} must hold one label for each of the {count} images, got {y.shape}")
    if y.min() < 0 or y.max() >= classes:
        raise FileFormatError(f"{path}: {name} must hold labels 0 to {classes - 1}, got {y.min()} to {y.max()}")
    return y.astype(np.int64)
