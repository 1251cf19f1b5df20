"""The embedded digits, and batches of any data set."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, streams


@pytest.fixture
def images():
    return np.random.default_rng(1).uniform(1, 2, (23, 3, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("split", data.SPLITS)
def test_digits_have_their_shapes_types_and_ranges(split):
    parts = data.digits(split)
    assert sum(len(y) for _, y in parts) == 1797
    for x, y in parts:
        assert x.shape == (len(y), 1, 8, 8)
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        assert (x.min(), x.max()) == (0, 1)
        np.testing.assert_array_equal(x * 16, np.round(x * 16))
        assert set(y) == set(range(10))


def test_both_splits_are_disjoint_and_complete():
    """Train and test together are the same 1797 images with the same labels, whichever way they are split."""
    rows = []
    for split in data.SPLITS:
        (x, y), (x_test, y_test) = data.digits(split)
        both = np.concatenate([np.c_[x.reshape(len(x), 64), y], np.c_[x_test.reshape(len(x_test), 64), y_test]])
        rows.append(both[np.lexsort(both.T)])
    np.testing.assert_array_equal(*rows)
    assert len(np.unique(rows[0], axis=0)) == 1797


def test_stratified_test_is_a_fifth_of_each_digit():
    (_, y), (_, y_test) = data.digits("stratified")
    in_test, in_all = np.bincount(y_test), np.bincount(np.concatenate([y, y_test]))
    assert (np.abs(in_test - in_all / 5) < 1).all()


@pytest.mark.parametrize("form", [np.array, lambda y: np.array(["cat", "dog"])[y], lambda y: np.eye(2)[y], lambda y: y[:, None]])
def test_a_split_takes_the_same_share_of_each_class(form):
    labels = np.repeat([0, 1], (20, 10))
    x, y = np.arange(30), form(labels)
    (x_left, y_left), (x_held, y_held) = data.stratified_split(x, y, 0.3)
    np.testing.assert_array_equal(np.bincount(labels[x_held]), [6, 3])
    np.testing.assert_array_equal(np.sort(np.r_[x_left, x_held]), x)
    for indices, part in ((x_left, y_left), (x_held, y_held)):
        assert (np.diff(indices) > 0).all()
        np.testing.assert_array_equal(part, y[indices])
    np.testing.assert_array_equal(data.stratified_split(x, labels, 0.3)[1][0], x_held)


@pytest.mark.parametrize(
    ("y", "share", "message"),
    [
        ([0, 0, 1, 1], 0, "share must be above 0 and below 1, got 0"),
        ([0, 0, 1], 0.3, r"x and y must have the same length N, got x\(4,\), y\(3,\)"),
        ([0, 0, 0, 1], 0.6, "share 0.6 leaves none of class 1, 1 in all: write a smaller one"),
        ([0, 0, 1, 1], 0.2, "share 0.2 of at most 2 examples of a class is none: write a larger one"),
        ([0.5, 0, 1, 1], 0.2, "y must hold integers"),
    ],
)
def test_a_split_that_cannot_be(y, share, message):
    with pytest.raises((ValueError, TypeError), match=f"^stratified_split: {message}"):
        data.stratified_split(np.arange(4), y, share)


def test_writers_test_is_the_last_fifth_in_file_order():
    """Train and test one after the other are the file."""
    (x, y), (x_test, y_test) = data.digits("writers")
    assert len(y) == 1797 * 4 // 5
    stored = data.digits.__globals__["_arrays"]()
    np.testing.assert_array_equal(np.concatenate([y, y_test]), stored[1])
    np.testing.assert_array_equal(np.concatenate([x, x_test])[:, 0] * 16, stored[0])


def test_digits_are_the_callers_own():
    first, _ = data.digits()
    first[0].fill(0)
    assert data.digits()[0][0].max() == 1


def test_unknown_split_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="split must be one of 'stratified', 'writers', got 'random'"):
        data.digits("random")


@pytest.mark.parametrize("shape", [(23, 3, 5, 4), (23, 1, 8, 8), (23, 6), (23, 2, 7), (23, 2, 3, 4, 5)])
@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_every_example_comes_once_per_pass_with_its_label(shape, batch_size):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    batches = data.Batches(x, np.arange(23), batch_size)
    assert len(batches) == -(-23 // batch_size)
    passes = [list(batches) for _ in range(2)]
    for batch_list in passes:
        sizes = [len(y) for _, y in batch_list]
        assert len(sizes) == len(batches)
        assert set(sizes[:-1]) <= {batch_size}
        order = np.concatenate([y for _, y in batch_list])
        np.testing.assert_array_equal(np.sort(order), np.arange(23))
        np.testing.assert_array_equal(np.concatenate([x_batch for x_batch, _ in batch_list]), x[order])
    assert [y.tolist() for _, y in passes[0]] != [y.tolist() for _, y in passes[1]], "each pass is a new order"


def test_without_shuffle_the_order_is_the_files(images):
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([x for x, _ in data.Batches(images, np.arange(23), 4, shuffle=False)]), images)


def moved(image, down, right):
    """The image rolled, and zeros where pixels came round the edge."""
    H, W = image.shape[-2:]
    result = np.roll(image, (down, right), axis=(-2, -1))
    h, w = np.arange(H)[:, None] - down, np.arange(W) - right
    return np.where((h >= 0) & (h < H) & (w >= 0) & (w < W), result, 0)


def test_shift_moves_each_image_by_at_most_shift_pixels_and_zeros_move_in(images):
    shift, seen = 2, set()
    batches = data.Batches(images, np.arange(23), 6, shift=shift)
    for _ in range(30):
        for x, y in batches:
            for image, number in zip(x, y, strict=True):
                moves = [
                    (down, right)
                    for down in range(-shift, shift + 1)
                    for right in range(-shift, shift + 1)
                    if np.array_equal(image, moved(images[number], down, right))
                ]
                assert len(moves) == 1, "images of random pixels tell their shift"
                seen.update(moves)
    assert len(seen) == 25, "690 draws meet each of the 25 shifts"


def test_a_shift_beyond_the_image_leaves_zeros(images):
    values = np.concatenate([x for x, _ in data.Batches(images, np.arange(23), 6, shift=1000)])
    assert (values == 0).mean() > 0.9


def test_same_seed_same_batches(images):
    def run():
        return [np.concatenate([x.ravel() for x, _ in data.Batches(images, np.arange(23), 6, shift=1)])]

    fc.seed(5)
    first = run()
    second = run()
    fc.seed(5)
    np.testing.assert_array_equal(run(), first)
    assert not np.array_equal(first, second)


def test_a_restored_stream_repeats_the_passes(images):
    """Resuming gives the same bits as never having stopped (data order)."""
    batches = data.Batches(images, np.arange(23), 6, shift=1, stream=streams.Stream(3))
    list(batches)
    state = batches.stream.state()
    expected = [x for x, _ in batches]
    other = data.Batches(images, np.arange(23), 6, shift=1, stream=streams.Stream(99))
    other.stream.restore(state)
    for (x, _), same in zip(other, expected, strict=True):
        np.testing.assert_array_equal(x, same)


def test_batches_keep_dtype_and_do_not_write_the_data(images):
    """Inputs in any memory layout, read-only: same values, never written."""
    for x in (images.astype(np.float64), np.asfortranarray(images), images[::-1], np.broadcast_to(images[:1], images.shape)):
        before = x.copy()
        x = x.view()
        x.flags.writeable = False
        got = np.concatenate([batch for batch, _ in data.Batches(x, np.arange(23), 6, shuffle=False)])
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(got, before)
        next(iter(data.Batches(x, np.arange(23), 6)))[0].fill(9)
        np.testing.assert_array_equal(x, before)


def test_what_batches_are_made_of_is_checked(images):
    labels = np.arange(23)
    with pytest.raises(ValueError, match=r"the same length N >= 1, got x\(23, 3, 5, 4\), y\(22,\)"):
        data.Batches(images, labels[1:], 4)
    with pytest.raises(ValueError, match="the same length N >= 1"):
        data.Batches(images[:0], labels[:0], 4)
    with pytest.raises(ValueError, match="shift needs images"):
        data.Batches(images.reshape(23, -1), labels, 4, shift=1)
    with pytest.raises(TypeError, match=r"x has dtype int64.*write np\.asarray\(x\)\.astype\(np\.float32\)"):
        data.Batches(images.astype(np.int64), labels, 4)
    for name, words in (("batch_size", (0,)), ("batch_size", (-1,)), ("shift", (4, -1)), ("batch_size", (2**31,))):
        with pytest.raises(ValueError, match=f"{name} must be between"):
            data.Batches(images, labels, words[0], shift=words[-1] if len(words) > 1 else 0)
    for words, message in [
        ({"stream": 5}, r"Batches: stream must be a streams\.Stream, such as streams\.Stream\(5\), or None, got 5"),
        ({"stream": streams.Stream}, r"Batches: stream must be .*, got the class Stream: call it, Stream\(\.\.\.\)"),
        ({"shuffle": "no"}, "Batches: shuffle must be True or False, got 'no'"),
        ({"shuffle": 0}, "Batches: shuffle must be True or False, got 0"),
        ({"normalise": data.Normalise}, r"Batches: normalise must be a data\.Normalise, got the class Normalise: call it"),
        ({"flip": "x"}, "Batches: flip must be a number, got 'x'"),
        ({"noise": None}, "Batches: noise must be a number, got None"),
        ({"shift": 1.5}, "Batches: shift must be an integer, got 1.5"),
    ]:
        with pytest.raises(TypeError, match=f"^{message}"):
            data.Batches(images, labels, 4, **words)
    for nothing in (None, 3):
        with pytest.raises(ValueError, match=r"^Batches: x and y must have the same length N >= 1, got x\(23, 3, 5, 4\), y\(\)"):
            data.Batches(images, nothing, 4)
    for size in (2.0, True, None):
        with pytest.raises(TypeError, match="batch_size must be an integer"):
            data.Batches(images, labels, size)
