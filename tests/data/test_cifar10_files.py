"""CIFAR-10's binary files: what is written is read, anything else is refused by name."""

import inspect
import io
import pickle

import numpy as np
import pytest

from fastconv import data
from fastconv.data import FileFormatError

random = np.random.default_rng(1)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Files of 20 images instead of 10,000; (folder, the images, the labels), a row per file."""
    monkeypatch.setitem(data.cifar10.__globals__, "IMAGES", 20)
    x, y = random.integers(0, 256, (6, 20, 3, 32, 32), np.uint8), random.integers(0, 10, (6, 20), np.uint8)
    for i, name in enumerate((*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")):
        (tmp_path / f"{name}.bin").write_bytes(np.concatenate([y[i, :, None], x[i].reshape(20, -1)], axis=1).tobytes())
    return tmp_path, x, y


def test_cifar10_reads_what_was_written(cifar):
    folder, images, labels = cifar
    for _ in range(2):
        (x, y), (x_test, y_test) = data.cifar10(folder)
        assert (x.dtype, y.dtype, x_test.dtype, y_test.dtype) == (np.float32, np.int64) * 2
        np.testing.assert_array_equal(x, images[:5].reshape(100, 3, 32, 32).astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(x_test, images[5].astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(y, labels[:5].reshape(100))
        np.testing.assert_array_equal(y_test, labels[5])
        (folder / "cifar-10-batches-bin").mkdir(exist_ok=True)
        for path in list(folder.glob("*.bin")):  # and once more from inside the folder that the archive makes
            path.rename(folder / "cifar-10-batches-bin" / path.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "short, 61460 bytes of data are wanted and 61459 are there"),
        (lambda content: content + b"\0", "long, 61460 bytes of data are wanted and 61461"),
        (lambda content: content[:-3073], "short"),
        (lambda content: b"\x0a" + content[1:], "the file must hold labels 0 to 9, got 0 to 10"),
        (lambda content: b"", "short"),
        (lambda content: pickle.dumps({"data": content}, 2), "pickled.*binary version"),
    ],
)
def test_a_bad_cifar10_file_is_refused_by_name(cifar, change, message):
    folder, *_ = cifar
    path = folder / "data_batch_4.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FileFormatError, match=f"data_batch_4.bin: {message}"):
        data.cifar10(folder)


def test_cifar10s_real_files_have_30_megabytes(tmp_path):
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (tmp_path / name).write_bytes(b"\0")
    with pytest.raises(FileFormatError, match="short, 30730000 bytes of data are wanted and 1 are there"):
        data.cifar10(tmp_path)


@pytest.mark.parametrize("name", ["data_batch_1", "cifar-10-batches-py/data_batch_1"])
def test_cifar10s_pickled_version_is_refused_with_a_pointer(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(pickle.dumps({b"data": 1}, 2))
    with pytest.raises(
        FileFormatError,
        match=r"version is pickled and will not be read; get the binary version, www\.cs.*/cifar-10-binary\.tar\.gz, or convert",
    ):
        data.cifar10(tmp_path)


def test_the_lines_that_convert_the_pickled_version_do_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = random.integers(0, 256, (60, 3, 32, 32), np.uint8), np.arange(60) % 10
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(10 * i, 10 * i + 10)
        (tmp_path / name).write_bytes(pickle.dumps({b"data": x[part].reshape(10, -1), b"labels": y[part].tolist()}, 2))
    lines = inspect.getdoc(data.cifar10).partition("in their folder:\n\n")[2]
    assert len(lines.splitlines()) == 5, "with the imports"
    exec(inspect.cleandoc(lines), {"open": lambda name, mode: io.BytesIO((tmp_path / name).read_bytes())})
    for (images, labels), part in zip(data.npz("cifar10.npz"), (slice(0, 50), slice(50, 60))):
        np.testing.assert_array_equal(np.round(images * 255), x[part])
        np.testing.assert_array_equal(labels, y[part])
