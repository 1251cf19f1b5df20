"""Data files made byte by byte, right and wrong."""

import gzip
import io
import json
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastconv.data import FileFormatError

random = np.random.default_rng(0)
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array) -> bytes:
    head = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npy_bytes(array, **words) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **words)
    return stream.getvalue()


def npy_head(descr: str, shape: tuple) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def spent(function) -> int:
    """The most bytes that were allocated at once meanwhile; the call must end in a FileFormatError."""
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


IMAGES = random.integers(0, 256, (12, 5, 4), np.uint8)
LABELS = random.integers(0, 10, 12, np.uint8)
MNIST = {
    "train-images-idx3-ubyte": IMAGES, "train-labels-idx1-ubyte": LABELS,
    "t10k-images-idx3-ubyte": IMAGES[:5] // 2, "t10k-labels-idx1-ubyte": LABELS[:5],
}  # fmt: skip


def write_mnist(folder, dots=False, packed=False, **changed):
    for name, array in MNIST.items():
        array = changed.get(name.rpartition("-idx")[0].replace("-", "_"), array)
        content = array if isinstance(array, bytes) else idx_bytes(array)
        name = name.replace("-idx", ".idx") if dots else name
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return folder


PICKLED = "pickled Python objects, which will not be read; save arrays of numbers"
X, Y = random.integers(0, 256, (30, 2, 6, 5), np.uint8), np.repeat(np.arange(3), 10)

GOOD_NPY = npy_bytes(X)
BAD_NPY = {
    "empty": (b"", "not a .npy file"),
    "magic": (b"x" + GOOD_NPY[1:], "not a .npy file, the magic string is not correct"),
    "pickle": (pickle.dumps(X), PICKLED),
    "version": (npy_bytes(X, version=(2, 0)), r"version \(2, 0\)"),
    "header cut": (GOOD_NPY[:40], "not a .npy file"),
    "header of code": (GOOD_NPY.replace(b"{'descr'", b"print( 1"), "not a .npy file"),
    "header of minus signs": (GOOD_NPY[:8] + struct.pack("<H", 9000) + b"-" * 9000, "not a .npy file"),
    "short": (GOOD_NPY[:-1], "short, 1800 bytes of data are wanted and 1799 are there"),
    "long": (GOOD_NPY + b"\0", "long, 1800 bytes of data are wanted and 1801"),
    "a negative extent": (npy_head("|u1", (-1, 5)) + bytes(5), r"impossible shape \(-1, 5\)"),
    "33 dimensions": (npy_head("|u1", (1,) * 33) + bytes(1), "impossible shape"),
    "2**80 bytes": (npy_head("|u1", (2**40, 2**40)) + bytes(5), "short, 1208925819614629174706176 bytes"),
}


def zipped(path, method=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def write_folder(folder, images, **more):
    for name, batch in ({"cat": images[:10], "ant": images[10:20], "bee": images[20:]} | more).items():
        (folder / name).mkdir(exist_ok=True)
        for i, image in enumerate(batch):
            np.save(folder / name / f"{i:03}.npy", image)
    return folder


def safetensors_bytes(header, data: bytes = bytes(8)) -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data
