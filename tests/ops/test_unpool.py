"""Flat indices of a maximum, and unpooling by them."""

import numpy as np
import pytest
from geometries import DTYPES, POOLINGS, integers
from laws import assert_adjoint

from fastconv import ops

SMALL = [
    case for case in POOLINGS if case.name in ("2x2", "overlapping, ceil", "dilation", "asymmetric pairs", "1-D, causal, dilation", "3-D, pairs")
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_flat_indices_find_the_maximum(case):
    x = np.random.default_rng(0).permutation(np.prod(case.x)).reshape(case.x).astype(np.float32)
    y, argmax = case.max(x)
    indices = ops.flat_indices(argmax, case.x, case.kernel_size, **case.words)
    assert (indices.dtype, indices.shape) == (np.int64, y.shape)
    found = np.take_along_axis(x.reshape(*case.x[:2], -1), indices.reshape(*case.x[:2], -1), 2)
    np.testing.assert_array_equal(found.reshape(y.shape), y)


@pytest.mark.parametrize(("extent", "size"), [((7,), 3), ((6, 7), (4, 3)), ((8, 8), (4, 2)), ((2, 3, 4), (5, 2, 3))])
def test_adaptive_flat_indices_find_the_maximum(extent, size):
    x = np.random.default_rng(0).permutation(6 * np.prod(extent)).reshape(2, 3, *extent).astype(np.float32)
    y, argmax = getattr(ops, f"adaptive_max_pool{len(extent)}d")(x, size)
    indices = ops.adaptive_flat_indices(argmax, x.shape)
    found = np.take_along_axis(x.reshape(2, 3, -1), indices.reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(found.reshape(y.shape), y)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_unpooling_is_a_pooling_undone(rank, dtype, threads):
    """Each maximum is where it was, zeros elsewhere; the gradient is the adjoint; on any number of threads, of any layout."""
    rng = np.random.default_rng(0)
    x = integers(rng, (3, 5, *(7, 6, 4)[:rank]), dtype)
    y, argmax = getattr(ops, f"max_pool{rank}d")(x, 2)
    indices = ops.flat_indices(argmax, x.shape, 2)
    unpool, grad = getattr(ops, f"max_unpool{rank}d"), getattr(ops, f"max_unpool{rank}d_grad")
    for count in (1, 2):
        threads(count)
        back = unpool(np.asfortranarray(y), np.ascontiguousarray(indices), 2, output_size=x.shape)
        np.testing.assert_array_equal(back, np.where(np.isin(np.arange(x[0, 0].size), indices).reshape(x.shape[2:]) & (back != 0), x, 0))
        np.testing.assert_array_equal(grad(back, indices), y)
        assert (back != 0).sum() == (y != 0).sum()
    dy = integers(rng, x.shape, dtype)
    assert_adjoint((back, dy), (y, grad(dy, indices)))


def test_sizes_and_the_last_of_several():
    x, indices = np.array([[[1, 2, 3]]], np.float32), np.array([[[4, 4, 0]]])
    np.testing.assert_array_equal(ops.max_unpool1d(x, indices, 3, stride=2, padding=1), [[[3, 0, 0, 0, 2]]])  # (3 - 1) * 2 - 2 + 3
    np.testing.assert_array_equal(ops.max_unpool1d(x, indices, 2, output_size=7), [[[3, 0, 0, 0, 2, 0, 0]]])
    np.testing.assert_array_equal(ops.max_unpool1d(x, indices, 2, output_size=(1, 1, 5)), ops.max_unpool1d(x, indices, 2, output_size=(5,)))
    assert ops.max_unpool1d(x[:0], indices[:0], 2).shape == (0, 1, 6)
    assert ops.max_unpool1d_grad(np.zeros((0, 1, 6)), indices[:0]).shape == (0, 1, 3)


x = np.zeros((1, 2, 2, 2), np.float32)
indices = np.zeros(x.shape, np.int64)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.max_unpool2d(x, indices + 16, 2), ValueError, r"max_unpool2d: indices hold 16, but an image .* the pixels 0 to 15"),
        (lambda: ops.max_unpool2d(x, indices - 1, 2), ValueError, "max_unpool2d: indices hold -1"),
        (lambda: ops.max_unpool2d(x, indices.astype(np.int32), 2), TypeError, "max_unpool2d: indices must be an int64 array, .* got int32"),
        (lambda: ops.max_unpool2d(x, [0], 2), TypeError, "max_unpool2d: indices must be an int64 array, .* got list"),
        (lambda: ops.max_unpool2d(x, indices[:, :1], 2), ValueError, r"max_unpool2d: indices\(1, 1, 2, 2\) must have the shape of x, \(1, 2, 2, 2\)"),
        (lambda: ops.max_unpool2d(x, indices, 2, padding="same"), ValueError, "max_unpool2d: padding must be an integer or one for each dimension"),
        (lambda: ops.max_unpool2d(x, indices, 3, stride=1, padding=2), ValueError, "max_unpool2d: no output: its size would be"),
        (lambda: ops.max_unpool2d(x, indices, 2, output_size=(4, 4, 4)), ValueError, "max_unpool2d: output_size=.* has 3 entries"),
        (lambda: ops.max_unpool2d_grad(x, indices[0]), ValueError, r"max_unpool2d_grad: indices must have 4 axes"),
        (lambda: ops.max_unpool2d_grad(x, 3), TypeError, "max_unpool2d_grad: indices must be an int64 array, .* got int"),
        (lambda: ops.max_unpool2d_grad(x, indices + 4), ValueError, "max_unpool2d_grad: indices hold 4"),
        (lambda: ops.flat_indices(np.zeros((1, 2, 1, 1), np.uint8), (1, 2, 2), 2), ValueError, "flat_indices: argmax.* must have the output's shape"),
        (lambda: ops.flat_indices(np.full((1, 2, 1, 1), 4, np.uint8), x.shape, 2), ValueError, "flat_indices: argmax names tap 4"),
        (lambda: ops.flat_indices(np.zeros((1, 2, 1, 1), np.uint8), (2, 2), 2), ValueError, "flat_indices: input_shape must have 3 to 5 axes"),
        (lambda: ops.adaptive_flat_indices([1], x.shape), TypeError, "adaptive_flat_indices: argmax must be an array"),
        (lambda: ops.adaptive_flat_indices(np.full((1, 2, 1, 1), 4, np.uint8), x.shape), ValueError, "adaptive_flat_indices: argmax names tap 4"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
