"""NumPy's own files, without the part that unpickles: one array (.npy), or a zip archive of them (.npz).

The format: numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from fastconv.data.arrays import as_images, numbered
from fastconv.data.reading import brief, check_size, exactly, is_pickle, readable, refuse_bomb, there
from fastconv.data.split import stratified
from fastconv.files import FileFormatError, as_path
from fastconv.memory import spared

MOST_DIMENSIONS = 32  # that NumPy 1.26 can have
NAMES = (  # of the images and labels to train on, then of those to test with
    ("x", "y", "x_test", "y_test"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X", "y", "X_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
    ("images", "labels", "test_images", "test_labels"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("images", "target", "test_images", "test_target"),
    ("data", "target", "data_test", "target_test"),
)
Header = tuple[tuple[int, ...], bool, np.dtype]  # shape, whether Fortran's order, dtype
PICKLED = "holds pickled Python objects, which will not be read; save arrays of numbers: np.asarray(a, np.float32), or texts: a.astype(str)"


def npz(path: str | os.PathLike) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(x, y) to train on and (x, y) to test with. x: (N, C, H, W) float32 in 0..1, y: (N,) int64.

    path: a file of `np.savez` or `np.savez_compressed` with arrays x, y, and to test with x_test, y_test; or under Keras's names x_train, y_train,
    x_test, y_test, scikit-learn's X, y or data, target, or images, labels. Without arrays to test with, a fixed random fifth of each class serves.
    x: (N, C, H, W), (N, H, W), square gray images in rows (N, H * H), or (N, H, W, C) where C is 1, 3 or 4 and H is none of these; integers 0..255 or
    floats 0..1. y: what `encode_labels` takes, texts too; `class_names(path)` tells what the classes are called.
    FileNotFoundError; FileFormatError (a ValueError), also for arrays of Python objects, which are pickled.
    """
    path = as_path("npz", "path", path)
    found = _parts(path, lambda names: names)
    x = as_images(path, found[0].name, found[0].value)
    y, names = _labels(path, found[1], len(x))
    if len(found) == 2:
        return split(path, x, y)
    x_test = as_images(path, found[2].name, found[2].value)
    if x_test.shape[1:] != x.shape[1:]:
        raise FileFormatError(f"{path}: images of {found[0].name} are {x.shape[1:]}, those of {found[2].name} {x_test.shape[1:]}")
    return (x, y), (x_test, _labels(path, found[3], len(x_test), names)[0])


def label_names(path: Path) -> list[str]:
    """What the classes of an `npz` file are called."""
    (y,) = _parts(path, lambda names: names[1:2])
    return _labels(path, y, len(np.atleast_1d(y.value)))[1]


class Member(NamedTuple):
    """An array of an archive."""

    name: str
    value: np.ndarray


@spared
def _parts(path: Path, wanted: Callable[[list[str]], list[str]]) -> list[Member]:
    """The arrays of a data set that `wanted` chooses from the names x, y and perhaps x_test, y_test have in this file."""

    def chosen(held: list[str]) -> list[str]:
        form = next((form for form in NAMES if set(form[:2]) <= set(held)), NAMES[0])
        names = list(form if {*form[2:]} & set(held) else form[:2])
        if not set(names) <= set(held):
            raise FileFormatError(f"{path}: must hold arrays {', '.join(names)}, got {', '.join(held) or 'none'}")
        return wanted(names)

    return [Member(*item) for item in arrays(path, chosen, kinds="iufbUS").items()]


def _labels(path: Path, y: Member, count: int, names: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """What `encode_labels` makes of the member, one for each of so many images."""
    if y.value.shape[:1] != (count,):
        raise FileFormatError(f"{path}: {y.name} must hold one label for each of the {count} images, got {y.value.shape}")
    try:
        return numbered(path, y.name, y.value, names)
    except (TypeError, ValueError) as error:
        raise FileFormatError(str(error)) from None


def arrays(path: Path, wanted: Callable[[list[str]], list[str]], kinds: str = "iuf") -> dict[str, np.ndarray]:
    """The arrays of a .npz file that `wanted` names of all that it holds."""
    with there(path) as file, readable(path):
        if is_pickle(file.read(2)):
            raise FileFormatError(f"{path}: {PICKLED}")
        size = os.fstat(file.fileno()).st_size
        with zipfile.ZipFile(file) as archive:
            held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = {name: held[name] for name in wanted(list(held))}
            for info in chosen.values():
                _check_member(info, size, path / info.filename)
            packed = min(sum(info.compress_size for info in chosen.values()), size)  # members may claim the same bytes
            refuse_bomb(path, sum(info.file_size for info in chosen.values()), packed)
            return {name: _member(archive, info, path / info.filename, kinds) for name, info in chosen.items()}


@spared
def array(path: Path) -> np.ndarray:
    """The array of a .npy file."""
    with there(path) as file:
        return read(file, header(file, os.fstat(file.fileno()).st_size, path), path)


def split(path: Path, x: np.ndarray, y: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(x, y) to train on, and a fixed random fifth of each class to test with."""
    test = stratified(y, 0.2)
    if not test.any():
        raise FileFormatError(f"{path}: no class has the 3 examples of which one could be there to test with; {len(y)} in all")
    return (x[~test], y[~test]), (x[test], y[test])


def _check_member(info: zipfile.ZipInfo, size: int, where: Path) -> None:
    """Of an archive of `size` bytes, before anything is unpacked."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack in steps of any size
        raise FileFormatError(f"{where}: packed by a method that np.savez_compressed does not use")
    if not 0 <= info.header_offset < size:
        raise FileFormatError(f"{where}: broken, said to begin at byte {info.header_offset} of {size}")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: Path, kinds: str) -> np.ndarray:
    with archive.open(info) as stream:
        return read(stream, header(stream, info.file_size, where, kinds), where)


def header(file: BinaryIO, size: int, path: Path, kinds: str = "iuf") -> Header:
    """What a .npy file of `size` bytes says of itself; the numbers it promises must be as many bytes as are left.

    kinds: of dtype that it may have.
    """
    start = file.read(10)  # magic, version, length of the rest: at most 64 KB
    if is_pickle(start):
        raise FileFormatError(f"{path}: {PICKLED}")
    stream = io.BytesIO(start + file.read(int.from_bytes(start[8:], "little")))
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # 2.0 and 3.0 are for long lists of named fields
            raise ValueError(f"version {version} of the format, 1.0 is needed")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # the header is a Python literal, and what its parser raises is not documented
        raise FileFormatError(f"{path}: not a .npy file, {brief(error)}") from None
    if dtype.hasobject:
        raise FileFormatError(f"{path}: {PICKLED}")
    if dtype.kind not in kinds or dtype.subdtype:
        raise FileFormatError(f"{path}: must hold integers or floats, got {dtype}")
    if len(shape) > MOST_DIMENSIONS or not all(type(extent) is int and 1 <= extent < 2**63 for extent in shape):
        told = ", ".join("over 2**63" if extent >= 2**63 else str(max(extent, -1)) if type(extent) is int else repr(extent) for extent in shape[:8])
        raise FileFormatError(f"{path}: impossible shape ({told}{', ...' if len(shape) > 8 else ''}{',' if len(shape) == 1 else ''})")
    check_size(path, math.prod(shape) * dtype.itemsize, size - file.tell())
    return shape, fortran, dtype


def read(file: BinaryIO, head: Header, path: Path) -> np.ndarray:
    """The array behind its header."""
    shape, fortran, dtype = head
    content = exactly(file, math.prod(shape) * dtype.itemsize, path)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
