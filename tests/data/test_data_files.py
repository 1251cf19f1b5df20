"""Data sets as folders of .npy images, and what all readers of files promise."""

import gzip
import io
import os
import pickle

import numpy as np
import pytest
from data_files import (
    BAD_NPY,
    IMAGES,
    LABELS,
    PICKLED,
    X,
    Y,
    idx_bytes,
    npy_bytes,
    write_folder,
    write_mnist,
)

from fastconv import data
from fastconv.data import FileFormatError, npy
from fastconv.data.split import stratified

random = np.random.default_rng(1)


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize("rank", [2, 3])
def test_a_folder_reads_what_was_written(tmp_path, rank):
    images = X if rank == 3 else X[:, 0]
    write_folder(tmp_path, images, **{".hidden": images[:1]})
    (tmp_path / "notes.txt").touch()
    (tmp_path / "cat" / "notes.txt").touch()
    assert data.class_names(tmp_path) == ["ant", "bee", "cat"]
    in_order = np.concatenate([images[10:20], images[20:], images[:10]]).reshape(30, -1, 6, 5).astype(np.float32) / np.float32(255)
    test = stratified(Y, 0.2)
    for (x, y), part in zip(data.npy_folder(str(tmp_path)), (~test, test)):
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(x, in_order[part])
        np.testing.assert_array_equal(y, Y[part])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((content, message) for content, message in BAD_NPY.values()),
        (npy_bytes(X[0, :, :3]), r"must have one shape, got \(2, 3, 5\) here and \(2, 6, 5\) in .*000.npy"),
        (npy_bytes(X), r"must be \(H, W\) or \(C, H, W\), got \(30, 2, 6, 5\)"),
        (npy_bytes(X[0].astype(object)), PICKLED),
        (npy_bytes(X[0].astype(str)), "must hold integers or floats"),
        (npy_bytes(np.full((2, 6, 5), np.nan)), "the image holds NaN or Inf"),
        (npy_bytes(np.full((2, 6, 5), 300)), "the image must hold integers 0 to 255"),
    ],
)
def test_a_bad_image_in_a_folder_is_refused_by_name(tmp_path, content, message):
    """As in an npz; images of different shapes."""
    write_folder(tmp_path, X)
    (tmp_path / "bee" / "bad.npy").write_bytes(content)
    with pytest.raises(FileFormatError, match=f"bad.npy: .*{message}"):
        data.npy_folder(tmp_path)


def test_pictures_with_their_channels_last_tell_what_to_save(tmp_path):
    """And that, followed, is read."""
    write_folder(tmp_path, X.transpose(0, 2, 3, 1))
    with pytest.raises(
        FileFormatError, match=r"npy: the image \(6, 5, 2\) looks like \(H, W, C\); .* is needed: np.save\(path, image.transpose\(2, 0, 1\)\)$"
    ):
        data.npy_folder(tmp_path)
    for path in tmp_path.glob("*/*.npy"):
        image = np.load(path)
        np.save(path, image.transpose(2, 0, 1).astype(np.float32))
    with pytest.raises(FileFormatError, match=r"must hold integers 0 to 255 or floats 0 to 1, got float32 from .*; divide by 255 before saving$"):
        data.npy_folder(tmp_path)
    for path in tmp_path.glob("*/*.npy"):
        np.save(path, np.load(path) / np.float32(255))
    (x, _), _ = data.npy_folder(tmp_path)
    assert x.shape[1:] == (2, 6, 5)


def test_missing_files_are_listed_with_what_is_there(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    for read, message in (
        (data.mnist, r"no train-images-idx3-ubyte or train-images-idx3-ubyte.gz or train-images.idx3-ubyte or .* in .*, which holds holiday.jpg"),
        (data.cifar10, "no data_batch_1.bin in .*, which holds holiday.jpg"),
        (data.npy_folder, "no sub-folders, one for each class, in .*, which holds holiday.jpg"),
        (lambda folder: data.npz(folder / "a.npz"), "no a.npz in .*, which holds holiday.jpg"),
        (lambda folder: data.idx(folder / "a"), "no a in .*, which holds holiday.jpg"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            read(tmp_path)
        with pytest.raises(FileNotFoundError, match="which does not exist"):
            read(tmp_path / "nowhere")
    (tmp_path / "class").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no .npy files in .*class, which is empty"):
        data.npy_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="which is a file, not a folder"):
        data.mnist(tmp_path / "holiday.jpg")
    for i in range(20):
        (tmp_path / f"{i}.jpg").touch()
    with pytest.raises(FileNotFoundError, match=r"14.jpg, 15.jpg and 14 more"):
        data.cifar10(tmp_path)


class Trap:
    """Unpickled, it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled(tmp_path):
    trap = Trap(tmp_path / "sprung")
    objects = np.array([trap] * 12, object)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(trap))
    np.savez(tmp_path / "objects.npz", x=objects, y=LABELS)
    np.savez(tmp_path / "labels.npz", x=IMAGES, y=objects)
    (tmp_path / "data_batch_1.bin").write_bytes(pickle.dumps(trap))
    write_mnist(tmp_path, train_labels=pickle.dumps(trap))
    write_folder(tmp_path / ".", X[:0])
    np.save(tmp_path / "ant" / "0.npy", objects)
    for read in (
        *(lambda folder, name=name: data.npz(folder / f"{name}.npz") for name in ("pickle", "objects", "labels")),
        data.mnist, data.cifar10, data.npy_folder,
    ):  # fmt: skip
        with pytest.raises((FileFormatError, FileNotFoundError)):
            read(tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["idx", "idx.gz", "plain.npz", "packed.npz"])
def test_any_damage_is_a_format_error_or_harmless(tmp_path, kind):
    """400 files with a byte changed, cut or doubled somewhere: never another error."""
    path = tmp_path / kind
    if kind.startswith("idx"):
        path.write_bytes(GOOD if kind == "idx" else gzip.compress(GOOD, mtime=0))
    else:
        (np.savez_compressed if kind == "packed.npz" else np.savez)(path, x=X[:9] // 200, y=np.zeros(9, np.int64))
    content = path.read_bytes()
    read = data.idx if kind.startswith("idx") else data.npz
    read(path)
    refused = 0
    for i in range(400):
        at = int(random.integers(len(content)))
        middle = (bytes([content[at] ^ int(random.integers(1, 256))]), b"", content[at : at + 1] * 2)[i % 3]
        path.write_bytes(content[:at] + middle + content[at + 1 :])
        try:
            read(path)
        except FileFormatError:
            refused += 1
    assert refused > 100


def test_headers_say_the_order_of_memory():
    for array in (X, np.asfortranarray(X)):
        stream = io.BytesIO(npy_bytes(array))
        np.testing.assert_array_equal(npy.read(stream, npy.header(stream, len(stream.getvalue()), None), None), X)
