"""Gradients of the input alone: `backward(dy, param_grad=False)`, and the map that is made of them."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import explain, layers, ops
from fastconv import functional as F

X = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)


class Own(layers.Layer):
    """As a user writes one: `add_grad`, and no word of param_grad."""

    def __init__(self):
        self.scale = layers.Parameter(np.full(3, 2, np.float32))

    def forward(self, x, training=True):
        y = x * self.scale.value

        def backward(dy, input_grad=True):
            self.scale.add_grad((dy * x).sum(axis=0))
            return dy * self.scale.value if input_grad else None

        return y, layers.once(backward, y, self.scale)

    def output_shape(self, input_shape):
        return input_shape


class Net(fc.Module):
    def __init__(self):
        self.conv, self.norm = layers.Conv2d(2, 2, 3, padding=1), layers.BatchNorm2d(2)
        self.back = layers.ConvTranspose2d(2, 2, 1)
        self.fc, self.own = layers.Linear(72, 3), Own()

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)) + x)
        return self.own(self.fc(self.back(x).flatten(1)))


def nets():
    conv = layers.Conv2d(2, 2, 3, padding=1)
    residual = layers.Residual(layers.Sequential(conv, layers.BatchNorm2d(2)))
    parallel = layers.Concat(layers.Conv2d(2, 1, 1), layers.Conv2d(2, 1, 1))
    return [Net(), layers.Sequential(residual, layers.ReLU(), parallel, layers.Flatten(), layers.Linear(72, 3), Own()), conv]


@pytest.mark.parametrize("which", range(3))
def test_the_gradients_of_parameters_stay(which):
    model = nets()[which]
    y, backward = model.forward(X, training=False)
    dy = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
    dx = backward(dy)
    before = [p.grad.copy() for p in model.parameters()]
    assert all(p.has_grad for p in model.parameters())
    y, backward = model.forward(X, training=False)
    np.testing.assert_array_equal(backward(dy, param_grad=False), dx)
    for p, grad in zip(model.parameters(), before):
        np.testing.assert_array_equal(p.grad, grad)
    assert model.forward(X, training=False)[1](dy, input_grad=False, param_grad=False) is None
    assert not model.frozen
    model.forward(X, training=False)[1](dy)
    np.testing.assert_allclose(model.parameters()[0].grad, 2 * before[0], rtol=1e-5)


def test_param_grad_is_a_flag_and_an_error_leaves_nothing_behind():
    model = nets()[2]
    y, backward = model.forward(X)
    with pytest.raises(TypeError, match="backward: param_grad must be True or False, got 0"):
        backward(y, param_grad=0)
    with pytest.raises(ValueError, match="dy"):
        backward(y[:1], param_grad=False)
    backward(y)
    assert model.weight.has_grad


def test_a_map_is_the_largest_derivative_of_a_pixels_channels():
    model = Net()
    whole = explain.derivative(model, X[:1]).reshape(3, 2, 6, 6)
    for label in range(3):
        np.testing.assert_allclose(fc.saliency(model, X[:1], label)[0], abs(whole[label]).max(axis=0), rtol=1e-5, atol=1e-7)
    answers = model(X).argmax(axis=1)
    np.testing.assert_array_equal(fc.saliency(model, X), fc.saliency(model, X, answers))
    assert not any(p.has_grad for p in model.parameters())


def test_a_pixel_that_nobody_reads_does_not_count():
    model = layers.Sequential(layers.Conv2d(2, 2, 2, stride=3), layers.Flatten())
    maps = fc.saliency(model, X, 1)
    assert maps.shape == (3, 6, 6)
    read = ops.conv_transpose2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), stride=3, output_size=(6, 6))[0, 0] > 0
    assert (maps[:, ~read] == 0).all()


def test_what_cannot_be_is_told():
    model = Net()
    for call, error, message in (
        (lambda: fc.saliency(F, X), TypeError, "saliency: model must be a Layer"),
        (lambda: fc.saliency(model, X[0, 0]), ValueError, r"saliency: x must be images \(N, C, spatial...\), got \(6, 6\)"),
        (lambda: fc.saliency(model.conv, X), ValueError, r"saliency: model must give scores \(N, classes\), got \(3, 2, 6, 6\)"),
        (lambda: fc.saliency(model, X, 3), ValueError, r"saliency: classes: targets\[0\] = 3 is not a class 0..2"),
        (lambda: fc.saliency(model, X, [0, 1]), ValueError, r"saliency: classes: targets must be \(3,\)"),
        (lambda: fc.saliency(model, X, 0.5), TypeError, "saliency: classes must be an integer, got 0.5"),
    ):
        with pytest.raises(error, match=message):
            call()
