"""Functions of elements and softmax: their formulas in float64, slopes, ends of the range, bits."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, ops


@pytest.fixture
def rng():
    return np.random.default_rng(6)


X = np.concatenate([np.linspace(-30, 30, 1201), [0.0, 1e-30, -1e-30, 3, -3, 88, -88]])
phi = np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2)
tanh_inner = lambda x: np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)  # noqa: E731
FORMULAS = {  # layer, formula in float64, ulp of float32 that it may be off
    "ELU": (layers.ELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0))), 4),
    "GELU": (layers.GELU(), lambda x: x * phi(x), 5),
    "GELU tanh": (layers.GELU("tanh"), lambda x: x / (1 + np.exp(-2 * tanh_inner(x))), 200),  # rounding the exponent, up to 50, is most of it
    "Hardswish": (layers.Hardswish(), lambda x: x * np.clip(x + 3, 0, 6) / 6, 200),  # near -3
    "LeakyReLU": (layers.LeakyReLU(0.1), lambda x: np.where(x > 0, x, 0.1 * x), 1),
    "ReLU": (layers.ReLU(), lambda x: np.maximum(x, 0), 0),
    "SiLU": (layers.SiLU(), lambda x: x / (1 + np.exp(-x)), 4),
    "Sigmoid": (layers.Sigmoid(), lambda x: 1 / (1 + np.exp(-x)), 4),
    "Softplus": (layers.Softplus(1.5, 10), lambda x: np.where(1.5 * x > 10, x, np.log1p(np.exp(np.minimum(1.5 * x, 50))) / 1.5), 40),
    "Tanh": (layers.Tanh(), np.tanh, 4),
}
every_function = pytest.mark.parametrize("name", FORMULAS)


@every_function
def test_a_function_is_its_formula(name):
    layer, formula, ulp = FORMULAS[name]
    x = X.astype(np.float32)
    y = layer(x)
    with np.errstate(over="ignore"):
        exact = formula(x.astype(np.float64))
    off = np.abs(y - exact) / np.spacing(np.maximum(np.abs(exact), 1e-37).astype(np.float32))
    assert y.dtype == np.float32
    assert off.max() <= ulp, f"{off.max()} ulp at {x[off.argmax()]}"


@every_function
def test_a_gradient_is_the_slope(name):
    """Away from corners; the slope of the formula in float64, by the fourth-order difference."""
    layer, formula, _ = FORMULAS[name]
    x = np.linspace(-8, 8, 331).astype(np.float32)
    _, backward = layer.forward(x)
    h, wide = 1e-3, x.astype(np.float64)
    with np.errstate(over="ignore"):
        slope = (8 * (formula(wide + h) - formula(wide - h)) - formula(wide + 2 * h) + formula(wide - 2 * h)) / (12 * h)
    smooth = np.abs(wide[:, None] - [0, 3, -3, 10 / 1.5]).min(axis=1) > 3 * h
    dx = backward(np.full_like(x, 2))
    np.testing.assert_allclose(dx[smooth], 2 * slope[smooth], rtol=3e-6, atol=3e-6)


@every_function
def test_ends_of_the_range(name):
    """NaN stays NaN, also in the gradient; what is large is not NaN."""
    layer, _, _ = FORMULAS[name]
    x = np.array([[np.nan, 1e30, -1e30, 3e38, -3e38, 1e-45, 0]], np.float32)
    y, backward = layer.forward(x)
    dx = backward(np.ones_like(x))
    assert np.isnan(y[0]).tolist() == [True] + [False] * 6
    assert np.isfinite(dx[0, 1:]).all()
    assert layer(np.array([np.inf], np.float32)) in (1, np.inf)


@every_function
def test_bits_depend_on_nothing_but_the_element(name, rng, threads):
    """Threads, places in a vector or behind the last one, memory layouts."""
    layer, _, _ = FORMULAS[name]
    x = rng.standard_normal((3, 17, 41, 11)).astype(np.float32) * 4
    dy = rng.standard_normal(x.shape).astype(np.float32)
    threads(1)
    y, backward = layer.forward(x)
    dx = backward(dy)
    threads(2)
    again, backward = layer.forward(np.asfortranarray(x))
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(backward(dy[::-1].copy()[::-1]), dx)
    for n, c, h in ((0, 0, 0), (1, 5, 7), (2, 16, 40)):
        part, backward = layer.forward(x[n : n + 1, c : c + 1, h : h + 1])
        np.testing.assert_array_equal(part, y[n : n + 1, c : c + 1, h : h + 1])
        np.testing.assert_array_equal(backward(dy[n : n + 1, c : c + 1, h : h + 1]), dx[n : n + 1, c : c + 1, h : h + 1])
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert dx.transpose(0, 2, 3, 1).flags.c_contiguous


SHAPES = [((5, 7), 1), ((5, 7), 0), ((4, 6, 3, 300), 1), ((4, 6, 3, 300), 2), ((2, 3, 5), -1), ((6,), 0), ((3, 1), 1)]


@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=repr)
@pytest.mark.parametrize("log", [False, True])
def test_softmax_is_its_formula(shape, dim, log, rng, threads):
    x, dy = (rng.standard_normal(shape).astype(np.float32) * 5 for _ in range(2))
    layer, op = (layers.LogSoftmax(dim), ops.log_softmax) if log else (layers.Softmax(dim), ops.softmax)
    y, backward = layer.forward(x)
    wide = x.astype(np.float64) - x.max(axis=dim, keepdims=True)
    p = np.exp(wide) / np.exp(wide).sum(axis=dim, keepdims=True)
    np.testing.assert_allclose(y, np.log(p) if log else p, rtol=2e-6)
    exact = dy - p * dy.sum(axis=dim, keepdims=True) if log else p * (dy - (dy * p).sum(axis=dim, keepdims=True))
    np.testing.assert_allclose(backward(dy), exact, rtol=1e-5, atol=2e-6 * np.abs(dy).sum(axis=dim).max())
    np.testing.assert_array_equal(op(x, dim), y)
    threads(1)
    np.testing.assert_array_equal(op(x[:1] if dim % x.ndim else x, dim), y[:1] if dim % x.ndim else y)


@pytest.mark.parametrize("axis", [1, 2])
def test_softmax_at_the_ends_of_the_range(axis):
    rows = np.array([[1e30, 0, -1e30], [-np.inf, 0, 0], [np.nan, 0, 0], [np.inf, 0, 0], [-np.inf, -np.inf, -np.inf]], np.float32)
    x = rows[:, :, None] if axis == 1 else rows[:, None]
    p, log = (np.squeeze(op(np.broadcast_to(x, (5, 3, 2) if axis == 1 else (5, 2, 3)), axis)[:, :, 0] if axis == 1 else op(x, axis)[:, 0])
              for op in (ops.softmax, ops.log_softmax))  # fmt: skip
    np.testing.assert_array_equal(p[:2], [[1, 0, 0], [0, 0.5, 0.5]])
    np.testing.assert_array_equal(log[0], np.float32([0, -1e30, -2e30]))
    assert np.isnan(p[2:]).all()
    assert np.isnan(log[2:]).all()


def test_probabilities_of_an_empty_batch():
    assert ops.softmax(np.empty((0, 3), np.float32)).shape == (0, 3)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.GELU("erf"), ValueError, "GELU: approximate must be 'none' or 'tanh', got 'erf'"),
        (lambda: layers.GELU(None), ValueError, "GELU: approximate must be 'none' or 'tanh', got None"),
        (lambda: layers.ELU(-1), ValueError, "ELU: alpha must be finite and >= 0, got -1"),
        (lambda: layers.ELU("1"), TypeError, "ELU: alpha must be a number, got '1'"),
        (lambda: layers.Softplus(0), ValueError, "Softplus: beta must be above 0, got 0"),
        (lambda: layers.Softplus(1, np.inf), ValueError, "Softplus: threshold must be finite and >= 0, got inf"),
        (lambda: layers.Softmax(1.0), TypeError, r"Softmax: dim must be an integer, got 1.0 \(float\)"),
        (lambda: layers.Softmax(2)(np.ones((2, 3), np.float32)), ValueError, r"Softmax: dim=2 is not an axis of x\(2, 3\)"),
        (lambda: layers.LogSoftmax(-3).output_shape((2, 3)), ValueError, r"LogSoftmax: dim=-3 is not an axis of x\(2, 3\)"),
        (lambda: ops.softmax(np.ones((2, 3), int)), TypeError, "softmax: x has dtype int64, float32 or float64 is needed"),
        (lambda: layers.SiLU()([[1, 2]]), TypeError, "SiLU: x has dtype int64, float32 or float64 is needed"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


def test_options_are_shown():
    made = layers.ELU(0.5), layers.GELU(), layers.GELU("tanh"), layers.Softplus(2), layers.Softmax(-1), layers.Hardswish()
    assert ", ".join(map(repr, made)) == (
        "ELU(0.5), GELU(), GELU(approximate='tanh'), Softplus(beta=2.0, threshold=20.0), Softmax(dim=-1), Hardswish()"
    )


def test_gradients_in_float64():
    fc.gradcheck(layers.GELU(), np.linspace(-4, 4, 9).reshape(3, 3))
    fc.gradcheck(layers.LogSoftmax(), np.linspace(-4, 4, 9).reshape(3, 3))
