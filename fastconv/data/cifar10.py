"""CIFAR-10: 60,000 small colour photographs of ten classes (A. Krizhevsky: "Learning Multiple Layers of Features from Tiny Images", 2009).

The binary version, cifar-10-binary.tar.gz from www.cs.toronto.edu/~kriz/cifar.html: an image is a byte of label and 3 x 32 x 32 bytes
of red, green and blue, row by row.
"""

import os
from pathlib import Path

import numpy as np

from fastconv.data.reading import as_labels, check_size, exactly, find, is_pickle
from fastconv.files import FileFormatError, as_path, opened
from fastconv.memory import spared

TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
IMAGES = 10_000  # per file
SHAPE = (3, 32, 32)
BINARY = (
    "get the binary version, www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz, or convert these files, if you trust them, as "
    "help(fastconv.data.cifar10) shows"
)
BYTES = 1 + 3 * 32 * 32


def cifar10(folder: str | os.PathLike) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(x, y) to train on and (x, y) to test with. x: (50000, 3, 32, 32) and (10000, 3, 32, 32) float32 in 0..1, y: int64 in 0..9.

    folder: holds data_batch_1.bin to data_batch_5.bin and test_batch.bin (or the folder cifar-10-batches-bin with them).
    FileNotFoundError; FileFormatError (a ValueError), also for the Python version, whose files are pickled: unpickling a file runs what is in it.
    Who trusts the files makes a .npz of them for `npz`, in their folder:

        import pickle, numpy as np
        names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
        parts = [pickle.load(open(name, "rb"), encoding="bytes") for name in names]
        x, y = [part[b"data"].reshape(-1, 3, 32, 32) for part in parts], [part[b"labels"] for part in parts]
        np.savez("cifar10.npz", x=np.concatenate(x[:5]), y=np.concatenate(y[:5]), x_test=x[5], y_test=y[5])
    """
    folder = as_path("cifar10", "folder", folder)
    if (folder / "cifar-10-batches-bin").is_dir():
        folder = folder / "cifar-10-batches-bin"
    parts = [[_file(folder, name) for name in names] for names in (TRAIN, TEST)]
    for path in (path for paths in parts for path in paths):
        _check(path)
    train, test = (_read(paths) for paths in parts)
    return train, test


def _file(folder: Path, name: str) -> Path:
    for pickled in (folder / name.removesuffix(".bin"), folder / "cifar-10-batches-py"):
        if pickled.exists() and not (folder / name).exists():
            raise FileFormatError(f"{pickled}: CIFAR-10's Python version is pickled and will not be read; {BINARY}")
    return find(folder, [name])


def _check(path: Path) -> None:
    with opened(path) as file:
        if is_pickle(file.read(2)):
            raise FileFormatError(f"{path}: pickled, and will not be read; {BINARY}")
        check_size(path, IMAGES * BYTES, os.fstat(file.fileno()).st_size)


@spared
def _read(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    x = np.empty((len(paths), IMAGES, *SHAPE), np.float32)
    y = np.empty((len(paths), IMAGES), np.int64)
    for i, path in enumerate(paths):
        with opened(path) as file:
            records = np.frombuffer(exactly(file, IMAGES * BYTES, path), np.uint8).reshape(-1, BYTES)
        y[i] = as_labels(path, "the file", records[:, 0], IMAGES, 10)
        np.divide(records[:, 1:].reshape(-1, *SHAPE), np.float32(255), out=x[i])
    return x.reshape(-1, *SHAPE), y.reshape(-1)
