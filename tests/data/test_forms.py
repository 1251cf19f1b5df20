"""Images and labels in the forms and under the names that people have them in."""

import numpy as np
import pytest
from data_files import X, Y

from fastconv import data, streams
from fastconv.data import FileFormatError

random = np.random.default_rng(4)
TEXTS = np.array(["dog", "ant", "über"])[Y]  # in sorted order ant, dog, über: Y's 1, 0, 2
NUMBERS = np.array([1, 0, 2])[Y]


@pytest.mark.parametrize(
    ("y", "labels", "names"),
    [
        (TEXTS, NUMBERS, ["ant", "dog", "über"]),
        (TEXTS.astype(object), NUMBERS, ["ant", "dog", "über"]),
        (TEXTS[:, None], NUMBERS, ["ant", "dog", "über"]),
        (np.array([b"b", b"a"]), [1, 0], ["a", "b"]),
        (["10", "9", "10"], [0, 1, 0], ["10", "9"]),
        (Y.astype(np.uint8), Y, ["0", "1", "2"]),
        (Y[:, None], Y, ["0", "1", "2"]),
        (np.eye(3)[Y], Y, ["0", "1", "2"]),
        (np.eye(3, dtype=bool)[Y], Y, ["0", "1", "2"]),
        (np.eye(4, dtype=np.int8)[Y], Y, ["0", "1", "2", "3"]),
        ([True, False], [1, 0], ["0", "1"]),
        ([[1], [0]], [1, 0], ["0", "1"]),
    ],
)
def test_labels_of_any_form_become_integers_with_names(y, labels, names):
    got, found = data.encode_labels(y)
    assert (got.dtype, found) == (np.int64, names)
    np.testing.assert_array_equal(got, labels)


def test_labels_to_test_with_are_numbered_as_those_of_training():
    _, names = data.encode_labels(TEXTS)
    assert data.encode_labels(["über", "dog"], names)[0].tolist() == [2, 1]
    assert data.encode_labels([2, 0], names) == (pytest.approx([2, 0]), names)
    with pytest.raises(ValueError, match=r"^encode_labels: y holds 'cow', which is none of the classes ant, dog, über$"):
        data.encode_labels(["dog", "cow"], names)
    with pytest.raises(ValueError, match=r"^encode_labels: y must hold labels 0 to 2, got 1 to 3$"):
        data.encode_labels([1, 3], names)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0.0, 1.0], TypeError, r"y must hold integers, the numbers of the classes, or texts, got float64: write y\.astype\(np\.int64\)$"),
        ([None, "a"], TypeError, "y must hold integers, .*, got object"),
        (np.ones((3, 2)), ValueError, r"y must be labels \(N,\), \(N, 1\), or \(N, K\) of zeros and a one in each row, got \(3, 2\)"),
        (np.full((3, 2), 0.5), ValueError, "y must be labels"),
        ([], ValueError, r"y must be labels .*, got \(0,\)"),
        (3, ValueError, r"y must be labels .*, got \(\)"),
        ([-1, 0], ValueError, "y must hold labels 0 to 1, got -1 to 0"),
        (["a", ""], ValueError, "y holds the text '', which cannot be the name of a class"),
        (["a\0b"], ValueError, r"y holds the text 'a\\x00b', which cannot"),
        ([2**62], ValueError, "y must hold labels 0 to 0, got 4611686018427387904 to 4611686018427387904"),
    ],
)
def test_what_are_no_labels_is_refused(y, error, message):
    with pytest.raises(error, match=f"^encode_labels: {message}"):
        data.encode_labels(y)


@pytest.mark.parametrize("names", ["ab", [1], [], 3])
def test_class_names_are_texts(names):
    with pytest.raises(TypeError, match=r"^encode_labels: class_names must be a list of texts, got "):
        data.encode_labels(Y, names)


@pytest.mark.parametrize(
    "names", [
        ("x", "y", "x_test", "y_test"), ("x_train", "y_train", "x_test", "y_test"), ("X", "y", "X_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"), ("data", "target", "data_test", "target_test"),
        ("train_images", "train_labels", "test_images", "test_labels"), ("images", "labels", "test_images", "test_labels"),
    ],
)  # fmt: skip
def test_arrays_are_known_by_keras_and_scikit_learns_names(tmp_path, names):
    arrays = dict(zip(names, (X, TEXTS, X[:4] // 2, TEXTS[:4])))
    np.savez(tmp_path / "a.npz", **arrays, val_images=X[:1], feature_names=["a"])
    (x, y), (x_test, y_test) = data.npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(np.round(255 * x), X)
    np.testing.assert_array_equal(np.round(255 * x_test), X[:4] // 2)
    np.testing.assert_array_equal(y, NUMBERS)
    np.testing.assert_array_equal(y_test, NUMBERS[:4])
    assert data.class_names(tmp_path / "a.npz") == ["ant", "dog", "über"]
    np.savez(tmp_path / "a.npz", **dict(list(arrays.items())[:2]))
    assert [len(y) for _, y in data.npz(tmp_path / "a.npz")] == [24, 6]


def test_a_name_that_is_missing_is_told_in_the_same_words(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X)
    with pytest.raises(FileFormatError, match=r"a\.npz: must hold arrays x_train, y_train, x_test, y_test, got x_train, y_train, x_test$"):
        data.npz(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", X_train=X.astype(float), y_train=Y)
    with pytest.raises(FileFormatError, match=r"a\.npz: X_train must hold integers 0 to 255 or floats 0 to 1, got float64"):
        data.npz(tmp_path / "a.npz")


@pytest.mark.parametrize("C", [1, 3, 4])
def test_channels_may_be_last_in_a_file(tmp_path, C):
    x = random.integers(0, 256, (30, C, 6, 5), np.uint8)
    np.savez(tmp_path / "a.npz", x=x.transpose(0, 2, 3, 1), y=np.eye(3)[Y], x_test=x, y_test=Y[:, None])
    (found, y), (x_test, y_test) = data.npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(found, x_test)
    np.testing.assert_array_equal(y, y_test)


def test_square_gray_images_may_be_rows(tmp_path):
    x = random.integers(0, 256, (30, 7, 7), np.uint8)
    np.savez(tmp_path / "a.npz", x=x.reshape(30, 49), y=Y, x_test=x, y_test=Y)
    (found, _), (x_test, _) = data.npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(found, x_test)


def test_small_square_images_are_not_taken_for_others(tmp_path):
    """(N, 1, 4, 4) and (N, 3, 3, 3) stay what they are."""
    for shape in ((30, 1, 4, 4), (30, 3, 3, 3), (30, 16, 8, 8)):
        x = random.integers(0, 256, shape, np.uint8)
        np.savez(tmp_path / "a.npz", x=x, y=Y, x_test=x, y_test=Y)
        np.testing.assert_array_equal(np.round(255 * data.npz(tmp_path / "a.npz")[0][0]), x)


@pytest.mark.parametrize("words", [{}, {"shift": 1, "flip": 0.5, "noise": 0.1}, {"normalise": True}])
def test_batches_of_bytes_are_those_of_floats(words):
    """To the bit, whatever is done to them; and so are the mean and standard deviation."""
    floats = X / np.float32(255)
    words = words | ({"normalise": data.Normalise.of(floats)} if "normalise" in words else {})
    pairs = [list(data.Batches(x, Y, 7, stream=streams.Stream(3), **words)) for x in (X, floats)]
    for (x, y), (expected, labels) in zip(*pairs, strict=True):
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(y, labels)
    assert vars(data.Normalise.of(X)) == vars(data.Normalise.of(floats))
    np.testing.assert_array_equal(data.Normalise.of(X)(X), data.Normalise.of(X)(floats))


def test_a_transform_comes_before_all_else():
    """It gets the chosen images in 0..1, and may change their size."""

    def crop(x):
        x[:, :, 0] = 0  # its own copy
        return x[:, :, :, 1:].astype(np.float64)

    normalise = data.Normalise.of(X)
    ((x, y),) = data.Batches(X, Y, 30, transform=crop, normalise=normalise, flip=1, stream=streams.Stream(3))
    ((_, order),) = data.Batches(X, np.arange(30), 30, flip=1, stream=streams.Stream(3))
    expected = X[order] / np.float32(255)
    expected[:, :, 0] = 0
    np.testing.assert_array_equal(x, normalise(expected[:, :, :, 1:])[..., ::-1])
    np.testing.assert_array_equal(y, Y[order])
    assert X[:, :, 0].any()
    assert "transform=crop" in repr(data.Batches(X, Y, 30, transform=crop))


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        (3, TypeError, r"transform must be a function of images \(n, C, H, W\), got 3"),
        (np.ndarray, TypeError, "transform must be a function .*, got the class ndarray"),
        (lambda x: None, TypeError, "transform must return images of float32, got None"),
        (lambda x: x[:1], ValueError, r"transform must return as many images as it is given, \(30, 2, 6, 5\), got \(1, 2, 6, 5\)"),
        (lambda x: x[0], ValueError, "transform must return as many images"),
        (lambda x: x > 0, TypeError, "transform must return images of float32, got bool"),
        (lambda x: x[:, :1], ValueError, "normalise has 2 channels"),
    ],
)
def test_a_wrong_transform_is_named(transform, error, message):
    with pytest.raises(error, match=f"^Batches: {message}"):
        list(data.Batches(X, Y, 30, transform=transform, normalise=data.Normalise.of(X)))
