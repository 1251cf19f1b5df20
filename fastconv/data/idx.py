"""IDX files, and MNIST, which comes in four of them (Y. LeCun, C. Cortes, C. Burges: "The MNIST database of handwritten digits",
yann.lecun.com/exdb/mnist, where the format is described, too). Fashion-MNIST and KMNIST are made alike.
"""

import gzip
import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastconv.data.arrays import as_images
from fastconv.data.reading import as_labels, check_size, exactly, find, readable, refuse_bomb, there
from fastconv.files import FileFormatError, as_path
from fastconv.memory import spared

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 32  # that NumPy 1.26 can have


@spared
def idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, plain or packed by gzip: its shape and numbers, in this machine's byte order.

    The file: two zero bytes, the type's code, the number of dimensions, each extent as a big-endian int32, the numbers in row-major order.
    FileFormatError (a ValueError) for anything else, before memory is allocated for it; FileNotFoundError.
    """
    path = as_path("idx", "path", path)
    with there(path) as file, readable(path):
        size = os.fstat(file.fileno()).st_size
        if file.read(2) == b"\x1f\x8b":
            file.seek(0)
            with gzip.GzipFile(fileobj=file) as unpacked:
                dtype, shape = _header(unpacked, path)
                promised = math.prod(shape) * dtype.itemsize
                refuse_bomb(path, promised, size)
                content = exactly(unpacked, promised, path)
        else:
            file.seek(0)
            dtype, shape = _header(file, path)
            promised = math.prod(shape) * dtype.itemsize
            check_size(path, promised, size - file.tell())
            content = exactly(file, promised, path)
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(file: BinaryIO, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= MOST_DIMENSIONS:
        raise FileFormatError(f"{path}: not an IDX file, it begins with the bytes {magic.hex(' ') or '(none)'}")
    extents = file.read(4 * magic[3])
    if len(extents) < 4 * magic[3]:
        raise FileFormatError(f"{path}: short, it ends inside its header")
    shape = struct.unpack(f">{magic[3]}i", extents)
    if min(shape) < 1:
        raise FileFormatError(f"{path}: impossible extents {shape}")
    return np.dtype(TYPES[magic[2]]), shape


def mnist(folder: str | os.PathLike) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(x, y) to train on and (x, y) to test with. x: (N, 1, H, W) float32 in 0..1 (28x28 in MNIST), y: (N,) int64 in 0..9.

    folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each as it is or
    with .gz at its end, also as train-images.idx3-ubyte and so on. FileNotFoundError, FileFormatError (a ValueError).
    """
    folder = as_path("mnist", "folder", folder)
    (x, y), (x_test, y_test) = (_part(folder, part) for part in ("train", "t10k"))
    if x.shape[1:] != x_test.shape[1:]:
        raise FileFormatError(f"{folder}: images to train on are {x.shape[2:]}, those to test with {x_test.shape[2:]}")
    return (x, y), (x_test, y_test)


def _part(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    names = [(f"{part}-{kind}-idx{rank}-ubyte", f"{part}-{kind}.idx{rank}-ubyte") for kind, rank in (("images", 3), ("labels", 1))]
    image_path, label_path = (find(folder, (dash, dash + ".gz", dot, dot + ".gz")) for dash, dot in names)
    images, labels = idx(image_path), idx(label_path)
    for path, array, rank in ((image_path, images, 3), (label_path, labels, 1)):
        if array.dtype != np.uint8 or array.ndim != rank:
            raise FileFormatError(f"{path}: must hold bytes in {rank} dimensions, got {array.dtype} {array.shape}")
    return as_images(image_path, "the file", images), as_labels(label_path, "the file", labels, len(images), 10)
