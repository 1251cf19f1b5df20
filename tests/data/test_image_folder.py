"""Folders with a sub-folder of pictures per class: what is found, how it is split, what is named."""

import re

import numpy as np
import pytest

from fastconv import data
from fastconv.data import FileFormatError
from fastconv.data.split import stratified

Image = pytest.importorskip("PIL.Image")


def write(folder, **classes):
    """Gray pictures of 4x4 pixels: a list of brightnesses for each class."""
    for name, values in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, value in enumerate(values):
            Image.new("L", (4, 4), value).save(folder / name / f"{i:03}.png")
    return folder


def values(pair):
    """(label, brightness) of each picture of one brightness."""
    x, y = pair
    assert (x.dtype, y.dtype, x.shape[1:]) == (np.uint8, np.int64, (1, 4, 4))
    assert (x == x[:, :1, :1, :1]).all()
    return list(zip(y.tolist(), x[:, 0, 0, 0].tolist()))


def test_sub_folders_are_classes_and_a_fifth_is_to_test_with(tmp_path):
    write(tmp_path, dog=range(10), ant=range(100, 110), cat=range(200, 205), **{".hidden": [7]})
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / "ant" / name).touch()
    (tmp_path / "notes.txt").touch()
    found = data.image_folder(tmp_path, 4, grayscale=True)
    assert found.class_names == data.class_names(tmp_path) == ["ant", "cat", "dog"]
    everything = [(0, value) for value in range(100, 110)] + [(1, value) for value in range(200, 205)] + [(2, value) for value in range(10)]
    test = stratified(np.array([label for label, _ in everything]), 0.2)
    (x, y), (x_test, y_test) = found
    assert values((x, y)) == [pair for pair, held in zip(everything, test) if not held]
    assert values((x_test, y_test)) == [pair for pair, held in zip(everything, test) if held]
    assert found.validation is None
    assert repr(found) == "ImageFolder(20 pictures (1, 4, 4) to train on (ant 8, cat 4, dog 8), 5 to test with)"


def test_folders_below_a_class_belong_to_it(tmp_path):
    write(tmp_path, a=[1, 2, 3])
    write(tmp_path / "a", deep=[4, 5], **{".hidden": [9]})
    (x, _), (x_test, _) = data.image_folder(tmp_path, 4, grayscale=True)
    assert sorted([*x[:, 0, 0, 0], *x_test[:, 0, 0, 0]]) == [1, 2, 3, 4, 5]


def test_train_val_and_test_folders_are_each_for_its_purpose(tmp_path):
    write(tmp_path / "train", a=[1, 2], b=[3])
    write(tmp_path / "val", a=[], b=[4])
    only = data.image_folder(tmp_path, 4, grayscale=True)
    assert only.validation is None
    assert (values(only.train), values(only.test)) == ([(0, 1), (0, 2), (1, 3)], [(1, 4)])
    write(tmp_path / "test", a=[5, 6])
    found = data.image_folder(tmp_path, 4, grayscale=True)
    assert [values(pair) for pair in (found.train, found.validation, found.test)] == [[(0, 1), (0, 2), (1, 3)], [(1, 4)], [(0, 5), (0, 6)]]
    assert repr(found) == "ImageFolder(3 pictures (1, 4, 4) to train on (a 2, b 1), 1 to validate with, 2 to test with)"
    assert data.class_names(tmp_path) == ["a", "b"]
    (tmp_path / "valid").mkdir()
    with pytest.raises(FileFormatError, match=r"has more than one folder to validate with: val, valid$"):
        data.image_folder(tmp_path, 4)
    (tmp_path / "valid").rmdir()
    write(tmp_path / "test", c=[7])
    with pytest.raises(FileNotFoundError, match=r"test holds c, which is none of the classes to train on: a, b$"):
        data.image_folder(tmp_path, 4)


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path, train=[1, 2, 3], test=[4, 5, 6])
    assert data.image_folder(tmp_path, 4).class_names == ["test", "train"]
    write(tmp_path, bus=[1, 2, 3])
    write(tmp_path / "train", old=[1])
    assert data.image_folder(tmp_path, 4).class_names == ["bus", "test", "train"]


def test_files_that_cannot_be_read_are_counted_and_named(tmp_path):
    """One warning for all, and the labels of the others are theirs."""
    write(tmp_path, a=range(5), b=range(100, 105))
    for name in ("a/001.png", "a/notes.txt", "b/000.png", "b/004.png"):
        (tmp_path / name).write_text("no picture")
    (tmp_path / "b" / "gone.png").symlink_to("nowhere")
    with pytest.warns(UserWarning, match=r"^image_folder: .*: 5 of 12 files cannot be read as pictures: .*001\.png: .*; .*notes\.txt: .*and 2 more$"):
        found = data.image_folder(tmp_path, 4, grayscale=True)
    assert sorted(values(found.train) + values(found.test)) == [(0, 0), (0, 2), (0, 3), (0, 4), (1, 101), (1, 102), (1, 103)]
    assert [re.search(r"[\w.]+\.(png|txt)", reason)[0] for reason in found.skipped] == ["001.png", "notes.txt", "000.png", "004.png", "gone.png"]
    for path in (tmp_path / "b").iterdir():
        path.unlink()
        path.touch()
    with pytest.raises(FileFormatError, match=r"^image_folder: .*: no picture is left of class b: 6 of 6 files .*and 3 more$"):
        data.image_folder(tmp_path, 4)


def test_a_class_may_be_missing_from_what_is_tested_with(tmp_path):
    """Not there, or not to be read; but something must be there."""
    write(tmp_path / "train", a=[1, 2], b=[3], c=[4])
    write(tmp_path / "test", a=[5], b=[6])
    bad = tmp_path / "test" / "a" / "000.png"
    bad.write_text("no picture")
    with pytest.warns(UserWarning, match=r"1 of 6 files cannot be read"):
        assert values(data.image_folder(tmp_path, 4, grayscale=True).test) == [(1, 6)]
    (tmp_path / "test" / "b" / "000.png").write_text("no picture")
    with pytest.raises(FileFormatError, match=r"^image_folder: .*test: no picture is left: 2 of 2 files"):
        data.image_folder(tmp_path, 4)
    for name in ("a", "b"):
        (tmp_path / "test" / name / "000.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"^no pictures below .*test: delete it, or put pictures into the folders of its classes$"):
        data.image_folder(tmp_path, 4)


def test_a_class_without_pictures_is_named(tmp_path):
    write(tmp_path, a=range(5), empty=[])
    with pytest.raises(FileNotFoundError, match=r"^no pictures of class empty: .*empty has none; delete it, or put pictures into it$"):
        data.image_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no sub-folders, one for each class, in .*, which holds 000\.png"):
        data.image_folder(tmp_path / "a")


def test_more_classes_than_a_byte_counts(tmp_path):
    write(tmp_path / "train", **{f"c{i:03}": [i % 256] for i in range(300)})
    write(tmp_path / "test", c299=[43])
    found = data.image_folder(tmp_path, 4, grayscale=True)
    assert found.train[1].tolist() == list(range(300))
    assert "(c000 1, c001 1, c002 1, c003 1, c004 1, c005 1, c006 1, c007 1, c008 1, c009 1, and 290 classes more)" in repr(found)
    assert values(found.test) == [(299, 43)]


def test_pictures_stay_bytes_until_they_are_batches(tmp_path):
    write(tmp_path, a=range(0, 250, 25), b=range(5, 255, 25))
    (x, y), _ = data.image_folder(tmp_path, 4, grayscale=True)
    assert np.moveaxis(x, 1, -1).flags.c_contiguous, "as kernels want them: no second copy"
    for x_batch, _ in data.Batches(x, y, 7):
        assert x_batch.dtype == np.float32
        assert 0 <= x_batch.min() <= x_batch.max() <= 1
