"""Layers around a function of one's own, or none."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers

X = np.linspace(-2, 3, 12, dtype=np.float32).reshape(2, 2, 3)
square = layers.Lambda(lambda x: x * x, lambda dy, x, y: 2 * x * dy)
halves = layers.Lambda(lambda x: x[:, :, ::2], output_shape=lambda shape: (*shape[:2], -(-shape[2] // 2)))


def test_identity_is_nothing():
    layer = layers.Identity()
    y, backward = layer.forward(X)
    np.testing.assert_array_equal(y, X)
    assert backward(y) is y
    assert layer.output_shape((2, 3)) == (2, 3)
    net = layers.Sequential(layers.Identity(), layers.Tanh())
    np.testing.assert_array_equal(fc.compile(net, X.shape)(X), net(X))


def test_a_function_and_its_gradient_are_a_layer():
    y, backward = square.forward(X)
    np.testing.assert_array_equal(y, X * X)
    np.testing.assert_array_equal(backward(np.ones_like(X)), 2 * X)
    fc.gradcheck(square, X.astype(np.float64))
    net = layers.Sequential(layers.Tanh(), square, halves)
    assert net.output_shape((2, 2, 3)) == (2, 2, 2)
    np.testing.assert_array_equal(net(X), (np.asarray(layers.Tanh()(X)) ** 2)[:, :, ::2])
    np.testing.assert_array_equal(fc.compile(net, X.shape)(X), net(X))


def test_without_a_gradient_a_function_may_stand_first():
    """What comes after it is trained; what comes before it cannot be, and says so."""
    linear = layers.Linear(3, 2)
    first = layers.Sequential(layers.Lambda(np.sin), layers.Flatten(), layers.Linear(6, 2))
    fc.train.step(first, X, np.array([0, 1]), fc.losses.cross_entropy, fc.optim.SGD(first.parameters(), 0.1))
    _, backward = layers.Sequential(linear, layers.Lambda(np.sin)).forward(X[0])
    before = linear.weight.value.copy()
    with pytest.raises(
        RuntimeError, match=r"^Lambda: has no backward, which the layers before it need .*: write layers\.Lambda\(function, backward\)$"
    ):
        backward(np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(linear.weight.value, before)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (
            layers.Lambda(lambda x: x[:1]),
            ValueError,
            r"function must return an array \(2, 2, 3\), got \(1, 2, 3\): write output_shape=lambda shape: \.\.\.",
        ),
        (
            layers.Lambda(lambda x: x.astype(np.float64)),
            TypeError,
            r"function must return an array of x's dtype float32, got float64: write \.astype",
        ),
        (layers.Lambda(lambda x: None), TypeError, r"function must return an array of x's dtype float32, got object"),
        (layers.Lambda(np.sin, lambda dy, x, y: dy[:1]), ValueError, r"backward must return an array \(2, 2, 3\), got \(1, 2, 3\)"),
        (layers.Lambda(np.sin, lambda dy, x, y: None), TypeError, r"backward must return an array of x's dtype float32, got object"),
        (layers.Lambda(np.sin, output_shape=lambda shape: 3), TypeError, r"what output_shape returns must be a shape \(N, C, \.\.\.\), got 3"),
    ],
)
def test_what_a_function_returns_is_checked(layer, error, message):
    with pytest.raises(error, match=f"^Lambda: {message}"):
        layer.forward(X)[1](X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Lambda(3), "function must be a function of x, got 3"),
        (lambda: layers.Lambda(layers.ReLU), r"function must be a function of x, got the class ReLU: call it, ReLU\(\.\.\.\)"),
        (lambda: layers.Lambda(np.sin, 1), "backward must be a function of dy, x and y, or None, got 1"),
        (lambda: layers.Lambda(np.sin, None, (3,)), "output_shape must be a function of a shape, or None, got tuple"),
    ],
)
def test_what_is_no_function_is_refused(make, message):
    with pytest.raises(TypeError, match=f"^Lambda: {message}$"):
        make()
