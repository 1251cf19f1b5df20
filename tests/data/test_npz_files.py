"""Data sets in .npz files: what is written is read, anything else is refused by name; the fifth to test with."""

import pickle
import struct
import zipfile

import numpy as np
import pytest
from data_files import BAD_NPY, GOOD_NPY, PICKLED, X, Y, npy_bytes, npy_head, spent, zipped

from fastconv import data
from fastconv.data import FileFormatError, reading
from fastconv.data.split import stratified

random = np.random.default_rng(1)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_reads_what_was_written(tmp_path, save):
    save(tmp_path / "a.npz", x=X, y=Y, x_test=X[:4] // 2, y_test=Y[:4].astype(np.uint8), more="ignored")
    (x, y), (x_test, y_test) = data.npz(tmp_path / "a.npz")
    assert (x.dtype, y.dtype, x_test.dtype, y_test.dtype) == (np.float32, np.int64) * 2
    np.testing.assert_array_equal(x, X.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(x_test, (X[:4] // 2).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(y_test, Y[:4])


@pytest.mark.parametrize("form", [
    lambda a: a.astype(np.float16), lambda a: a.astype(">f8"), lambda a: np.asfortranarray(a, np.float32), lambda a: (a * 255).astype(np.int64),
    lambda a: (a * 255).astype(">u2"),
])  # fmt: skip
def test_npz_takes_any_numbers_of_the_range(tmp_path, form):
    """Zeros and ones are exact in all of them; images without channels get one."""
    x = random.integers(0, 2, (30, 6, 5))
    np.savez(tmp_path / "a.npz", x=form(x.astype(np.float64)), y=Y)
    parts = data.npz(tmp_path / "a.npz")
    test = stratified(Y, 0.2)
    for (got, labels), part in zip(parts, (~test, test)):
        np.testing.assert_array_equal(got, x[part][:, None])
        np.testing.assert_array_equal(labels, Y[part])
        assert got.dtype == np.float32


def test_the_fifth_is_stratified_random_and_fixed():
    y = random.permutation(np.repeat([5, 0, 9, 2], [100, 53, 7, 1]))
    test = stratified(y, 0.2)
    for label, count in ((5, 100), (0, 53), (9, 7), (2, 1)):
        assert abs(test[y == label].sum() - count / 5) < 1
    np.testing.assert_array_equal(test, stratified(y, 0.2))
    assert set(np.diff(np.flatnonzero(test))) > {1, 2, 3, 4, 5}, "neither the last nor each fifth"
    np.testing.assert_array_equal(np.flatnonzero(stratified(np.zeros(30, np.int64), 0.2)), [2, 10, 13, 24, 26, 28])


BAD_NPZ = {
    "no y": ({"x": X}, "must hold arrays x, y, got x"),
    "half a test part": ({"x": X, "y": Y, "x_test": X}, "must hold arrays x, y, x_test, y_test, got x, y, x_test"),
    "objects": ({"x": X.astype(object), "y": Y}, f"x.npy: .*{PICKLED}"),
    "object labels": ({"x": X, "y": Y.astype(object)}, f"y.npy: .*{PICKLED}"),
    "text": ({"x": X.astype(str), "y": Y}, "x must hold integers or floats, got <U"),
    "bools": ({"x": X > 9, "y": Y}, "x must hold integers or floats, got bool"),
    "complex": ({"x": X * 1j, "y": Y}, "x.npy: must hold integers or floats, got complex"),
    "dates": ({"x": X, "y": Y.astype("M8[s]")}, "y.npy: must hold integers or floats"),
    "fields": ({"x": np.zeros(30, [("a", "f4"), ("b", "f4")]), "y": Y}, "x.npy: must hold integers or floats"),
    "a scalar": ({"x": np.float32(1), "y": Y}, r"x must be \(N, C, H, W\), \(N, H, W, C\) or \(N, H, W\), got \(\)"),
    "no images": ({"x": X[:0], "y": Y[:0]}, r"x.npy: impossible shape \(0, 2, 6, 5\)"),
    "flat images": ({"x": X.reshape(30, -1), "y": Y}, r"x must be \(N, C, H, W\).*, got \(30, 60\)$"),
    "channels last": ({"x": X.transpose(0, 2, 3, 1), "y": Y}, r"looks like \(N, H, W, C\).*write x.transpose\(0, 3, 1, 2\)"),
    "NaN": ({"x": np.where(X == 7, np.nan, 0.5), "y": Y}, "x holds NaN or Inf"),
    "Inf": ({"x": np.where(X == 7, -np.inf, 0.5), "y": Y}, "x holds NaN or Inf"),
    "floats to 255": ({"x": X.astype(np.float32), "y": Y}, "x must hold integers 0 to 255 or floats 0 to 1, got float32 from 0.0 to 255.0"),
    "negative": ({"x": X.astype(np.int16) - 1, "y": Y}, "x must hold integers 0 to 255 or floats 0 to 1, got int16 from -1 to 254"),
    "16 bits": ({"x": X.astype(np.uint16) * 2, "y": Y}, "x must hold integers 0 to 255"),
    "float labels": ({"x": X, "y": Y * 1.0}, r"y must hold integers, the numbers of the classes, or texts, got float64: write y.astype\(np.int64\)"),
    "a label short": ({"x": X, "y": Y[1:]}, r"y must hold one label for each of the 30 images, got \(29,\)"),
    "colors in rows": ({"x": np.zeros((30, 48), "u1"), "y": Y}, r"write x.reshape\(-1, 3, 4, 4\), or x.reshape\(-1, 4, 4, 3\) where"),
    "channels first or last": ({"x": np.zeros((30, 3, 5, 4), "u1"), "y": Y}, r"may be \(N, C, H, W\) or .*: write x.transpose\(0, 3, 1, 2\) if"),
    "two ones in a row": ({"x": X, "y": np.ones((30, 2), int)}, r"y must be labels \(N,\), \(N, 1\), or .*, got \(30, 2\)"),
    "an unknown text": ({"x": X, "y": Y.astype(str), "x_test": X, "y_test": (Y + 1).astype(str)}, "y_test holds '3', which is none of .* 0, 1, 2"),
    "a negative label": ({"x": X, "y": Y - 1}, "y must hold labels 0 to 29, got -1 to 1"),
    "a label of 2**63": ({"x": X, "y": Y.astype(np.uint64) + np.uint64(2**63)}, "y must hold labels 0 to 29"),
    "a class unknown": ({"x": X, "y": Y, "x_test": X, "y_test": Y + 1}, "y_test must hold labels 0 to 2, got 1 to 3"),
    "another shape": ({"x": X, "y": Y, "x_test": X[:, :1], "y_test": Y}, r"images of x are \(2, 6, 5\), those of x_test \(1, 6, 5\)"),
    "no fifth": ({"x": X[:4], "y": np.array([0, 0, 1, 1])}, "no class has the 3 examples"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_arrays_in_an_npz_are_refused_by_name(tmp_path, case):
    """Wrong counts, label out of range, pickled inputs, NaN."""
    arrays, message = BAD_NPZ[case]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(FileFormatError, match=f"bad.npz.*{message}"):
        data.npz(tmp_path / "bad.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("case", BAD_NPY)
def test_a_bad_member_of_an_npz_is_refused_by_name(tmp_path, case, method):
    """Bad magic, impossible sizes, short, long, pickled."""
    content, message = BAD_NPY[case]
    zipped(tmp_path / "bad.npz", method, x=content, y=npy_bytes(Y))
    with pytest.raises(FileFormatError, match=f"bad.npz/x.npy: .*{message}"):
        data.npz(tmp_path / "bad.npz")


def test_what_is_no_zip_archive_is_refused(tmp_path):
    for content, message in ((b"", "broken, File is not a zip file"), (GOOD_NPY, "broken"), (pickle.dumps([X, Y]), PICKLED)):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(FileFormatError, match=f"bad.npz: .*{message}"):
            data.npz(tmp_path / "bad.npz")
    zipped(tmp_path / "bad.npz", zipfile.ZIP_LZMA, x=GOOD_NPY, y=npy_bytes(Y))
    with pytest.raises(FileFormatError, match=r"packed by a method that np.savez_compressed does not use"):
        data.npz(tmp_path / "bad.npz")


def test_a_zip_bomb_is_refused_before_it_goes_off(tmp_path):
    """100 MB of zeros, honestly announced; the size in the archive's directory made small, or large for nothing."""
    bomb = npy_head("|u1", (1, 100 << 10, 1 << 10)) + bytes(100 << 20)
    zipped(tmp_path / "bomb.npz", zipfile.ZIP_DEFLATED, x=bomb, y=npy_bytes(Y))
    content = (tmp_path / "bomb.npz").read_bytes()
    size = struct.pack("<I", len(bomb))
    assert content.count(size) == 2, "in the member's header and in the directory"
    for claim, message in ((len(bomb), "over 100 times as many"), (2000, "Bad CRC"), (2**32 - 2, "over 100 times as many")):
        (tmp_path / "bomb.npz").write_bytes(content.replace(size, struct.pack("<I", claim)))
        with pytest.raises(FileFormatError, match=f"bomb.npz.*: .*{message}"):
            data.npz(tmp_path / "bomb.npz")
        assert spent(lambda: data.npz(tmp_path / "bomb.npz")) < 4 << 20


def test_large_files_that_are_no_bombs_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGE", 100)
    np.savez_compressed(tmp_path / "a.npz", x=X, y=random.permutation(Y))
    assert len(data.npz(tmp_path / "a.npz")[0][0]) == 24
