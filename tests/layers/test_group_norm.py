"""Normalization by each image's own statistics: its definition in float64, gradients, bits, what is refused."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers


@pytest.fixture
def rng():
    return np.random.default_rng(4)


KINDS = {  # a layer of float32, x, and the axes of x.reshape(...) that share statistics
    "group": (lambda: layers.GroupNorm(3, 12), (5, 12, 9, 7), (5, 3, 4, 9, 7), (2, 3, 4)),
    "group of one position": (lambda: layers.GroupNorm(2, 10, 1e-3), (3, 10), (3, 2, 5), (2,)),
    "instance 1d": (lambda: layers.InstanceNorm1d(5, affine=True), (4, 5, 33), (4, 5, 33), (2,)),
    "instance 2d": (lambda: layers.InstanceNorm2d(5), (2, 5, 6, 40), (2, 5, 6, 40), (2, 3)),
    "instance 3d": (lambda: layers.InstanceNorm3d(3, affine=True), (2, 3, 2, 5, 4), (2, 3, 2, 5, 4), (2, 3, 4)),
    "layer, rows": (lambda: layers.LayerNorm(77), (70, 77), (70, 77), (1,)),
    "layer, images": (lambda: layers.LayerNorm((6, 5, 8)), (3, 6, 5, 8), (3, 6, 5, 8), (1, 2, 3)),
    "layer, maps": (lambda: layers.LayerNorm((5, 8), bias=False), (3, 6, 5, 8), (3, 6, 5, 8), (2, 3)),
    "layer, last axis": (lambda: layers.LayerNorm([8]), (3, 6, 5, 8), (3, 6, 5, 8), (3,)),
    "layer without parameters": (lambda: layers.LayerNorm(9, 0.1, False), (4, 9), (4, 9), (1,)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: str, rng) -> layers.Layer:
    layer = KINDS[kind][0]()
    for p in layer.parameters():
        p.value = rng.standard_normal(p.shape, np.float32) + 1
    return layer


def exact(kind: str, layer, x, dy):
    """y and the gradients of x, weight and bias in float64."""
    _, _, cut, axes = KINDS[kind]
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    per_channel = lambda p: p.value.astype(np.float64).reshape(-1, *(1,) * (x.ndim - 2)) if p.value.ndim == 1 and kind[:5] != "layer" else p.value  # noqa: E731
    w = 1 if layer.weight is None else per_channel(layer.weight)
    b = 0 if layer.bias is None else per_channel(layer.bias)
    parts = x.reshape(cut)
    rate = 1 / np.sqrt(parts.var(axes, keepdims=True) + layer.eps)
    xhat = (parts - parts.mean(axes, keepdims=True)) * rate
    g = (dy * w).reshape(cut)
    dx = rate * (g - g.mean(axes, keepdims=True) - xhat * (g * xhat).mean(axes, keepdims=True))
    xhat = xhat.reshape(x.shape)
    shape = () if layer.weight is None else layer.weight.shape
    others = tuple(i for i in range(x.ndim) if i != 1) if kind[:5] != "layer" else tuple(range(x.ndim - len(shape)))
    return xhat * w + b, dx.reshape(x.shape), (dy * xhat).sum(others), dy.sum(others)


@every_kind
@pytest.mark.parametrize("mean", [0, 1000])
def test_a_normalization_is_its_definition(kind, mean, rng):
    """Also where the mean is a thousand deviations: 1000 in float32 has an error of 3e-5 itself, but x is taken as it is."""
    layer, shape = made(kind, rng), KINDS[kind][1]
    x, dy = (rng.standard_normal(shape, np.float32) + np.float32(mean)), rng.standard_normal(shape, np.float32)
    y, backward = layer.forward(x)
    dx = backward(dy)
    expected = exact(kind, layer, x, dy)
    np.testing.assert_allclose(y, expected[0], rtol=2e-6, atol=4e-6)
    np.testing.assert_allclose(dx, expected[1], rtol=2e-6, atol=6e-6)
    for p, gradient in ((layer.weight, expected[2]), (layer.bias, expected[3])):
        if p is not None:
            np.testing.assert_allclose(p.grad, gradient, rtol=3e-6, atol=3e-6 * max(1, np.abs(gradient).max()))
    np.testing.assert_array_equal(layer(x), y)
    assert y.dtype == dx.dtype == np.float32


@every_kind
def test_bits_depend_on_the_image_alone(kind, rng, threads):
    layer, shape = made(kind, rng), KINDS[kind][1]
    x, dy = rng.standard_normal((2, *shape), np.float32)
    threads(1)
    y, backward = layer.forward(x)
    dx = backward(dy)
    grads = [p.grad.copy() for p in layer.parameters()]
    threads(2)
    again, backward = layer.forward(np.asfortranarray(x))
    [p.zero_grad() for p in layer.parameters()]
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(backward(dy), dx)
    for p, grad in zip(layer.parameters(), grads):
        np.testing.assert_array_equal(p.grad, grad)
    np.testing.assert_array_equal(layer(x[1:2]), y[1:2])


@pytest.mark.parametrize("kind", ["group", "layer, images", "layer, maps"])
def test_frozen_parameters_take_no_gradient(kind, rng):
    layer, shape = made(kind, rng), KINDS[kind][1]
    x, dy = rng.standard_normal((2, *shape), np.float32)
    y, backward = layer.forward(x)
    dx = backward(dy)
    frozen = made(kind, np.random.default_rng(4))
    for p, q in zip(frozen.parameters(), layer.parameters()):
        p.value = q.value
    frozen.frozen = True
    again, backward = frozen.forward(x)
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(backward(dy), dx)
    assert not any(p.has_grad for p in frozen.parameters())
    assert frozen.forward(x)[1](dy, input_grad=False) is None
    assert layer.forward(x)[1](dy, input_grad=False) is None
    assert all(p.has_grad for p in layer.parameters())


@pytest.mark.parametrize("layer", [layers.GroupNorm(2, 4, dtype=np.float64), layers.LayerNorm((4, 3), dtype=np.float64)], ids=repr)
def test_gradients_are_slopes_in_float64(layer, rng):
    fc.gradcheck(layer, rng.standard_normal((3, 4, 3)))


def test_nan_stays_in_its_group():
    x = np.ones((2, 4, 3, 3), np.float32)
    x[1, 3, 0, 0] = np.nan
    bad = np.isnan(layers.GroupNorm(2, 4)(x)).all((2, 3))
    assert bad.tolist() == [[False] * 4, [False, False, True, True]]


def test_an_empty_batch_has_zero_gradients():
    for layer in (layers.GroupNorm(2, 4), layers.LayerNorm((4, 3))):
        y, backward = layer.forward(np.empty((0, 4, 3), np.float32))
        assert backward(y).shape == (0, 4, 3)
        assert not layer.weight.grad.any()


def test_normalizations_train(rng):
    """In a net, with PyTorch's names."""
    net = layers.Sequential(
        layers.Conv2d(1, 4, 3, rng=rng), layers.GroupNorm(2, 4), layers.ReLU(), layers.Flatten(), layers.LayerNorm(16), layers.Linear(16, 2, rng=rng)
    )
    assert sorted(net.state_dict()) == [f"{i}.{name}" for i in (0, 1, 4, 5) for name in ("bias", "weight")]
    x, y = rng.standard_normal((8, 1, 4, 4), np.float32), np.arange(8) % 2
    optimizer = fc.optim.Adam(net.parameters(), 0.05)
    losses = [fc.train.step(net, x, y, fc.losses.cross_entropy, optimizer) for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]
    np.testing.assert_array_equal(fc.compile(net, x.shape)(x), net(x))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.GroupNorm(3, 4), ValueError, "GroupNorm: num_channels=4 must be divisible by num_groups=3"),
        (lambda: layers.GroupNorm(0, 4), ValueError, "GroupNorm: num_groups must be between 1"),
        (lambda: layers.GroupNorm(2, 4, 0), ValueError, "GroupNorm: eps must be above 0, got 0"),
        (lambda: layers.GroupNorm(2, 4, affine=1), TypeError, "GroupNorm: affine must be True or False, got 1"),
        (lambda: layers.GroupNorm(2, 4)(np.ones((1, 6, 2), np.float32)), ValueError, r"GroupNorm: layer has C=4, but x has C=6; got x\(1, 6, 2\)"),
        (lambda: layers.GroupNorm(2, 4)(np.ones((4,), np.float32)), ValueError, r"GroupNorm: x must have 2 axes \(N, C\), got 1"),
        (
            lambda: layers.GroupNorm(2, 4)(np.ones((1, 4, 2))),
            TypeError,
            r"GroupNorm: the layer is float32, x is float64: write x.astype\(np.float32\)",
        ),
        (lambda: layers.InstanceNorm2d(4)(np.ones((1, 4, 2), np.float32)), ValueError, r"InstanceNorm2d: x must have 4 axes \(N, C, H, W\), got 3"),
        (lambda: layers.InstanceNorm1d(4, track_running_stats=True), ValueError, "InstanceNorm1d: track_running_stats must be False: .*BatchNorm1d"),
        (
            lambda: layers.InstanceNorm2d(4).forward(np.ones((2, 4, 1, 1), np.float32)),
            ValueError,
            r"InstanceNorm2d: one position per channel has no variance to train with, got x\(2, 4, 1, 1\)",
        ),
        (lambda: layers.LayerNorm(()), ValueError, r"LayerNorm: normalized_shape must have at least 1 axis, got \(\)"),
        (lambda: layers.LayerNorm("3"), TypeError, r"LayerNorm: normalized_shape\[0\] must be an integer, got '3'"),
        (lambda: layers.LayerNorm((2**31 - 1,) * 3), ValueError, "LayerNorm: normalized_shape=.* has more elements than this machine can address"),
        (
            lambda: layers.LayerNorm((3, 4))(np.ones((2, 4, 3), np.float32)),
            ValueError,
            r"LayerNorm: x\(2, 4, 3\) must end in normalized_shape=\(3, 4\)",
        ),
        (lambda: layers.LayerNorm((3, 4))(np.ones(4, np.float32)), ValueError, r"LayerNorm: x\(4,\) must end in normalized_shape=\(3, 4\)"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


def test_options_are_shown():
    made = layers.GroupNorm(2, 4, affine=False), layers.InstanceNorm2d(3), layers.LayerNorm(5, 0.1), layers.LayerNorm((2, 3), bias=False)
    assert ", ".join(map(repr, made)) == (
        "GroupNorm(2, 4, affine=False), InstanceNorm2d(3), LayerNorm(5, eps=0.1), LayerNorm((2, 3), bias=False)"
    )  # fmt: skip
