"""Adaptive pooling: windows that share the input out, against plain NumPy and PyTorch."""

import math

import numpy as np
import pytest
from geometries import DTYPES, integers, normals
from laws import ROUNDOFF

from fastconv import layers, ops

# Input extents and output size: even, uneven, more outputs than inputs, one window, 1-D to 3-D.
CASES = (
    ((7,), (3,)), ((5,), (8,)), ((6,), (4,)), ((6, 7), (4, 3)), ((3, 4), (7, 5)), ((8, 8), (4, 2)), ((8, 8), (4, 3)),
    ((1, 1), (3, 3)), ((20, 17), (1, 2)), ((5, 6, 7), (2, 3, 4)), ((2, 3, 4), (5, 2, 7)),
)  # fmt: skip
every_case = pytest.mark.parametrize(("extent", "size"), CASES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def op(kind, extent, end=""):
    return getattr(ops, f"adaptive_{kind}_pool{len(extent)}d{end}")


def windows(extent, size):
    """Each output's position and the slices of its window."""
    for o in np.ndindex(*size):
        yield o, tuple(slice(i * I // O, math.ceil((i + 1) * I / O)) for i, I, O in zip(o, extent, size))


@every_case
@every_dtype
def test_max_equals_plain_numpy(extent, size, dtype):
    rng = np.random.default_rng(0)
    x = integers(rng, (2, 3, *extent), dtype)
    dy = integers(rng, (2, 3, *size), dtype)
    y, argmax = op("max", extent)(x, size)
    dx = op("max", extent, "_grad")(dy, argmax, x.shape)
    widest = [max(span.stop - span.start for span in axis) for axis in zip(*(window for _, window in windows(extent, size)))]
    expected, taps, gradient = np.empty_like(dy), np.empty(dy.shape, int), np.zeros_like(x)
    for o, window in windows(extent, size):
        for n, c in np.ndindex(2, 3):
            inside = x[n, c][window]
            tap = np.unravel_index(inside.argmax(), inside.shape)  # the first wins a tie
            expected[(n, c, *o)], taps[(n, c, *o)] = inside[tap], np.ravel_multi_index(tap, widest)
            gradient[n, c][window][tap] += dy[(n, c, *o)]
    np.testing.assert_array_equal(y, expected, strict=True)
    np.testing.assert_array_equal(argmax, taps)
    assert argmax.dtype == np.uint8
    np.testing.assert_array_equal(dx, gradient, strict=True)


@every_case
@every_dtype
def test_average_error_bound(extent, size, dtype):
    """|y - y64| <= c u S with c from the table's row, forward and backward."""
    rng = np.random.default_rng(0)
    x, dy = normals(rng, (2, 3, *extent), dtype), normals(rng, (2, 3, *size), dtype)
    y, dx = op("avg", extent)(x, size), op("avg", extent, "_grad")(dy, x.shape)
    (exact, S), (gradient, G) = np.zeros((2, *y.shape)), np.zeros((2, *x.shape))
    for o, window in windows(extent, size):
        inside, at = (slice(None), slice(None), *window), (slice(None), slice(None), *o)
        cells = math.prod(x[inside].shape[2:])
        part = dy[at].astype(np.float64).reshape(2, 3, *(1,) * len(size)) / cells
        for total, share, a in ((exact, gradient, np.asarray), (S, G, abs)):
            total[at] = a(x[inside].astype(np.float64)).sum(tuple(range(2, x.ndim))) / cells
            share[inside] += a(part)
    most = math.prod(-(-I // O) + 1 for I, O in zip(extent, size)) * math.prod(-(-O // I) + 1 for I, O in zip(extent, size))
    c = (2 if dtype == np.float32 else most + 2) * ROUNDOFF[dtype] + most * ROUNDOFF[np.float64]
    assert (y.dtype, dx.dtype) == (dtype, dtype)
    assert (abs(y - exact) <= c * S).all()
    assert (abs(dx - gradient) <= c * G).all()


@every_case
def test_the_same_as_pytorch(extent, size):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x, dy = integers(rng, (2, 3, *extent), np.float64), integers(rng, (2, 3, *size), np.float64)
    for kind in ("avg", "max"):
        t = torch.tensor(x, requires_grad=True)
        theirs = getattr(torch.nn.functional, f"adaptive_{kind}_pool{len(extent)}d")(t, size)
        theirs.backward(torch.tensor(dy))
        layer = getattr(layers, f"Adaptive{kind.title()}Pool{len(extent)}d")(size)
        y, backward = layer.forward(x)
        assert y.shape == layer.output_shape(x.shape)
        np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-14)
        np.testing.assert_allclose(backward(dy), t.grad.numpy(), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("fill", [-np.inf, np.nan])
def test_who_wins_among_equals(fill):
    """An all -inf window answers with its first tap; NaN wins, the first stays."""
    y, argmax = ops.adaptive_max_pool1d(np.full((1, 2, 5), fill), 3)
    np.testing.assert_array_equal(y, np.full((1, 2, 3), fill))
    assert (argmax == 0).all()
    x = np.array([[[1, np.nan, 3, np.nan, 9]]])
    np.testing.assert_array_equal(ops.adaptive_max_pool1d(x, 3)[1], [[[1, 0, 0]]])  # windows 0..1, 1..3, 3..4


def test_the_same_bits_for_any_threads_layout_and_batch(threads):
    x = np.random.default_rng(0).standard_normal((5, 4, 9, 10)).astype(np.float32)
    found = []
    for n in (1, 2):
        threads(n)
        for given in (x, np.asfortranarray(x), x[::-1, :, ::-1].copy()[::-1, :, ::-1]):
            y, argmax = ops.adaptive_max_pool2d(given, (4, 3))
            found.append((y, argmax, ops.adaptive_max_pool2d_grad(y, argmax, x.shape), ops.adaptive_avg_pool2d(given, (4, 3))))
            found[-1] += (ops.adaptive_avg_pool2d_grad(found[-1][3], x.shape),)
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(ops.adaptive_avg_pool2d(x[3:4], (4, 3))[0], found[0][3][3])


def test_few_windows_over_a_long_signal():
    """Tables grow with the input, not with the input times the window."""
    x = np.arange(100_003.0).reshape(1, 1, -1)
    y, argmax = ops.adaptive_max_pool1d(x, 3)
    ends = [33_335, 66_669, 100_003]
    np.testing.assert_array_equal(y.ravel(), np.subtract(ends, 1.0))
    dx = ops.adaptive_max_pool1d_grad(np.ones_like(y), argmax, x.shape)
    np.testing.assert_array_equal(np.flatnonzero(dx), np.subtract(ends, 1))
    np.testing.assert_allclose(ops.adaptive_avg_pool1d_grad(np.ones_like(y), x.shape).sum(), 3)


def test_an_empty_batch_and_the_layers_words():
    assert ops.adaptive_avg_pool2d(np.zeros((0, 3, 7, 7)), 2).shape == (0, 3, 2, 2)
    y, argmax = ops.adaptive_max_pool2d(np.zeros((0, 3, 7, 7)), 2)
    assert ops.adaptive_max_pool2d_grad(y, argmax, (0, 3, 7, 7)).shape == (0, 3, 7, 7)
    assert repr(layers.AdaptiveAvgPool3d(2)) == "AdaptiveAvgPool3d((2, 2, 2))"


GOOD = np.zeros((1, 1, 2), np.uint8)


def routed(argmax):
    return ops.adaptive_max_pool1d_grad(np.zeros((1, 1, 2)), argmax, (1, 1, 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: layers.AdaptiveAvgPool2d(0), ValueError, "AdaptiveAvgPool2d: output_size must be between 1 and"),
        (lambda: layers.AdaptiveAvgPool2d((2, None)), TypeError, r"AdaptiveAvgPool2d: output_size\[1\] must be an integer, got None"),
        (lambda: layers.AdaptiveMaxPool2d((1, 2, 3)), ValueError, r"AdaptiveMaxPool2d: output_size=\(1, 2, 3\) has 3 entries for 2"),
        (lambda: layers.AdaptiveMaxPool2d(3).output_shape((1, 2, 3)), ValueError, "AdaptiveMaxPool2d: x must have 4 axes"),
        (lambda: ops.adaptive_avg_pool2d(np.zeros((3, 4, 4)), 2), ValueError, r"adaptive_avg_pool2d: x must have 4 axes .* x\[None\]"),
        (lambda: ops.adaptive_avg_pool2d(np.zeros((1, 3, 0, 4)), 2), ValueError, "adaptive_avg_pool2d: x has IH=0"),
        (lambda: ops.adaptive_avg_pool2d(np.zeros((1, 3, 4, 4), int), 2), TypeError, "adaptive_avg_pool2d: x has dtype int64"),
        (lambda: ops.adaptive_max_pool2d(np.zeros((1, 1, 4, 4)), 2**31 - 1), ValueError, "adaptive_max_pool2d: the output .* more elements"),
        (lambda: ops.adaptive_avg_pool1d_grad(np.zeros((2, 1, 2)), (1, 1, 5)), ValueError, "adaptive_avg_pool1d_grad: input has N=1, but dy has N=2"),
        (lambda: ops.adaptive_avg_pool1d_grad(np.zeros((1, 1, 2)), 5), TypeError, "adaptive_avg_pool1d_grad: input_shape must be a shape"),
        (lambda: routed(GOOD + 3), ValueError, r".*argmax names tap 3 at \(0, 0, 0, 0, 0\)"),
        (lambda: routed(GOOD.astype(int)), TypeError, ".*argmax must be a uint8 array, got int64"),
        (lambda: routed(GOOD[:, :, :1]), ValueError, r".*argmax\(1, 1, 1\) must have the output's shape"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
