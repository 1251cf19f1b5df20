"""Layouts: flat memory in the order that kernels read, of arrays of any strides, copied only where they must be."""

import numpy as np
import pytest

from fastconv.ops import layout

SHAPES = ((2, 3), (2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 4, 5))
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def numbered(shape, axes) -> np.ndarray:
    """An array of this shape, whose memory is 0, 1, 2, ... where its axes lie in this order."""
    last = np.arange(np.prod(shape), dtype=np.float32).reshape([shape[axis] for axis in axes])
    return last.transpose(np.argsort(axes))


@every_shape
def test_channels_of_a_pixel_and_of_a_tap_are_neighbors(shape):
    """Activations (N, spatial..., C), weights (taps..., IC, OC), and of Linear (I, O)."""
    a = np.random.default_rng(0).normal(size=shape)
    spatial = range(2, len(shape))
    np.testing.assert_array_equal(layout.activation(shape, a.dtype).flat(a), a.transpose(0, *spatial, 1).ravel())
    np.testing.assert_array_equal(layout.weight(shape, a.dtype).flat(a), a.transpose(*spatial, 1, 0).ravel())


def test_planes_of_an_argmax_are_taken():
    a = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(layout.activation(a.shape, a.dtype).flat(a), a.transpose(0, 2, 3, 1).ravel())


@every_shape
@pytest.mark.parametrize("kind", [layout.activation, layout.weight])
def test_memory_that_lies_right_is_not_copied(shape, kind):
    found = kind(shape, np.dtype(np.float32))
    a = numbered(shape, found.axes)
    flat = found.flat(a)
    assert np.shares_memory(flat, a)
    assert flat.tolist() == list(range(a.size))
    np.testing.assert_array_equal(found.view(flat), a)
    assert found.view(flat).strides == a.strides == found.strides


@pytest.mark.parametrize("shape", [(1, 3, 1, 5), (1, 3, 4, 1), (2, 1, 4, 5), (0, 3, 4, 5)], ids=str)
def test_an_axis_with_a_single_index_may_have_any_stride(shape):
    found = layout.activation(shape, np.dtype(np.float32))
    a = numbered(shape, found.axes)
    strided = np.lib.stride_tricks.as_strided(a, strides=[999 * 4 if extent < 2 else step for extent, step in zip(shape, a.strides)])
    flat = found.flat(strided)
    assert a.size == 0 or np.shares_memory(flat, a)
    assert flat.tolist() == list(range(a.size))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(2, 3, 41, 43), (3, 4, 2, 5), (1, 17, 9, 8), (2, 64, 5, 13), (2, 70, 67), (1, 2, 3, 37, 41), (2, 1, 4, 5), (0, 3, 4, 5)], ids=str
)
def test_planes_become_pixels_and_pixels_planes(shape, dtype):
    """(N, C, H, W) as other libraries have it, to channels-last memory and back: the same values, whatever fills no vector."""
    found, a = layout.activation(shape, dtype), np.random.default_rng(0).normal(size=shape).astype(dtype)
    laid = found.laid(a)
    np.testing.assert_array_equal(laid, a)
    assert laid.strides == found.strides or not a.size
    assert found.laid(laid) is laid or not a.size
    rows = found.rows(laid)
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, a.reshape(len(a), int(np.prod(shape[1:]))))
    np.testing.assert_array_equal(found.rows(a[..., ::-1]), rows.reshape(shape)[..., ::-1].reshape(rows.shape))


def others(a: np.ndarray):
    """The same numbers in other memory."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    last = np.moveaxis(a, 1, -1)  # as it should lie, but for the first byte
    raw = np.moveaxis(np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(last.shape), -1, 1)
    raw[...] = a
    return {
        "C": np.ascontiguousarray(a),
        "F": np.asfortranarray(a),
        "every second": wide[..., ::2],
        "backwards": a[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": raw,
    }


@pytest.mark.parametrize("name", ["C", "F", "every second", "backwards", "unaligned"])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_other_memory_is_copied_and_left_alone(shape, name):
    a = numbered(shape, layout.activation_axes(len(shape)))
    other = others(a)[name]
    other.flags.writeable = False
    flat = layout.activation(shape, a.dtype).flat(other)
    assert (flat.flags.aligned, flat.flags.c_contiguous, flat.ndim) == (True, True, 1)
    assert flat.tolist() == list(range(a.size))
    assert not np.shares_memory(flat, other)


def test_broadcast_arrays_have_memory_of_their_own():
    a = np.broadcast_to(np.float32(3), (2, 3, 4, 5))
    assert layout.activation(a.shape, a.dtype).flat(a).tolist() == [3] * 120


@every_shape
def test_a_new_array_and_its_memory_are_one(shape):
    found = layout.activation(shape, np.dtype(np.float64))
    a, flat = found.empty()
    flat[...] = np.arange(flat.size)
    np.testing.assert_array_equal(a, numbered(shape, found.axes))
    assert (a.shape, a.dtype, a.strides) == (shape, np.float64, found.strides)
    assert found.flat(a).__array_interface__["data"] == flat.__array_interface__["data"]
