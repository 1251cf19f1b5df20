"""IDX files, and MNIST made of them: what is written is read, anything else is refused by name."""

import gzip
import struct

import numpy as np
import pytest
from data_files import (
    CODES,
    IMAGES,
    LABELS,
    idx_bytes,
    spent,
    write_mnist,
)

from fastconv import data
from fastconv.data import FileFormatError

random = np.random.default_rng(1)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_reads_what_was_written(tmp_path, dtype, packed):
    for shape in ((7,), (2, 3), (4, 5, 6), (1, 2, 1, 2)):
        array = (random.standard_normal(shape) * 50).astype(dtype)
        content = idx_bytes(array)
        (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
        got = data.idx(tmp_path / "a")
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("dots", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_reads_what_was_written(tmp_path, dots, packed):
    (x, y), (x_test, y_test) = data.mnist(write_mnist(tmp_path, dots, packed))
    assert {x.dtype, x_test.dtype} == {np.dtype(np.float32)}
    assert {y.dtype, y_test.dtype} == {np.dtype(np.int64)}
    np.testing.assert_array_equal(x, IMAGES[:, None].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(x_test, (IMAGES[:5] // 2)[:, None].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(y, LABELS)
    np.testing.assert_array_equal(y_test, LABELS[:5])


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
BAD_IDX = {
    "empty": (b"", r"not an IDX file, it begins with the bytes \(none\)"),
    "three bytes": (GOOD[:3], "not an IDX file, it begins with the bytes 00 00 08"),
    "magic": (b"\1" + GOOD[1:], "not an IDX file, it begins with the bytes 01 00 08 03"),
    "type": (GOOD[:2] + b"\x0a" + GOOD[3:], "not an IDX file"),
    "no dimensions": (GOOD[:3] + b"\0" + GOOD[4:], "not an IDX file"),
    "255 dimensions": (GOOD[:3] + b"\xff" + GOOD[4:] + bytes(2000), "not an IDX file"),
    "header cut": (GOOD[:12], "short, it ends inside its header"),
    "an extent of 0": (GOOD[:4] + bytes(4) + GOOD[8:], r"impossible extents \(0, 3, 4\)"),
    "a negative extent": (GOOD[:4] + b"\xff" + GOOD[5:], r"impossible extents \(-1677"),
    "a byte short": (GOOD[:-1], "short, "),
    "a byte long": (GOOD + b"\0", "long, "),
    "extents beyond 2**64": (GOOD[:4] + b"\x7f\xff\xff\xff" * 3 + GOOD[16:], "(short|claim to unpack)"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", BAD_IDX)
def test_a_bad_idx_file_is_refused_by_name(tmp_path, case, packed):
    """Bad magic, impossible sizes, short, long."""
    content, message = BAD_IDX[case]
    (tmp_path / "bad").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(FileFormatError, match=f"bad: .*{message}"):
        data.idx(tmp_path / "bad")
    assert issubclass(FileFormatError, ValueError)


@pytest.mark.parametrize("cut", [5, 12, 25, -9, -1])
def test_a_cut_or_damaged_gzip_file_is_refused(tmp_path, cut):
    content = gzip.compress(GOOD, mtime=0)
    (tmp_path / "bad").write_bytes(content[:cut])
    with pytest.raises(FileFormatError, match="bad: "):
        data.idx(tmp_path / "bad")
    if cut == 5:
        return  # the time at which the file was packed, which says nothing
    (tmp_path / "bad").write_bytes(content[:cut] + bytes([content[cut] ^ 0x55]) + content[cut:][1:])
    with pytest.raises(FileFormatError, match="bad: "):
        data.idx(tmp_path / "bad")


def test_a_gzip_bomb_is_refused_before_it_goes_off(tmp_path):
    """100 MB of zeros, honestly announced; announced as a few bytes; and a promise of 8 EB without them."""
    honest = bytes([0, 0, 8, 1]) + struct.pack(">i", 100 << 20) + bytes(100 << 20)
    small = bytes([0, 0, 8, 1]) + struct.pack(">i", 10) + bytes(100 << 20)
    liar = bytes([0, 0, 8, 3]) + struct.pack(">3i", 2**31 - 1, 2**31 - 1, 2) + bytes(10)
    for content, message in ((honest, "over 100 times as many"), (small, "long"), (liar, "over 100 times as many")):
        (tmp_path / "bomb.gz").write_bytes(gzip.compress(content, 1))
        with pytest.raises(FileFormatError, match=f"bomb.gz: .*{message}"):
            data.idx(tmp_path / "bomb.gz")
        assert spent(lambda: data.idx(tmp_path / "bomb.gz")) < 4 << 20


def test_a_promise_alone_allocates_nothing(tmp_path):
    (tmp_path / "a").write_bytes(bytes([0, 0, 8, 1]) + struct.pack(">i", 2**31 - 1) + bytes(100))
    assert spent(lambda: data.idx(tmp_path / "a")) < 1 << 20


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_labels": LABELS[:-1]}, r"train-labels-idx1-ubyte: .*one label for each of the 12 images, got \(11,\)"),
        ({"t10k_labels": np.array([0, 1, 2, 10, 3], np.uint8)}, "t10k-labels-idx1-ubyte: .*labels 0 to 9, got 0 to 10"),
        ({"train_images": IMAGES.astype(np.int16)}, "train-images-idx3-ubyte: must hold bytes in 3 dimensions, got int16"),
        ({"train_images": IMAGES[0]}, r"train-images-idx3-ubyte: must hold bytes in 3 dimensions, got uint8 \(5, 4\)"),
        ({"train_labels": IMAGES}, "train-labels-idx1-ubyte: must hold bytes in 1 dimensions"),
        ({"t10k_images": IMAGES[:5, :4]}, r"images to train on are \(5, 4\), those to test with \(4, 4\)"),
        ({"t10k_images": b"junk"}, "t10k-images-idx3-ubyte: not an IDX file"),
    ],
)
def test_mnist_files_must_fit_each_other(tmp_path, changed, message):
    """Wrong counts, label out of range."""
    write_mnist(tmp_path, **changed)
    with pytest.raises(FileFormatError, match=message):
        data.mnist(tmp_path)
