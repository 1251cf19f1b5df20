"""Functions on arrays and on traced values are the layers'."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import layers

X = np.random.default_rng(0).standard_normal((2, 4, 4, 4)).astype(np.float32)
PAIRS = {
    "relu": (lambda x: F.relu(x), layers.ReLU()),
    "relu inplace": (lambda x: F.relu(x, inplace=True), layers.ReLU()),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), layers.LeakyReLU(0.2)),
    "elu": (lambda x: F.elu(x, 0.5), layers.ELU(0.5)),
    "gelu": (lambda x: F.gelu(x, "tanh"), layers.GELU("tanh")),
    "silu": (F.silu, layers.SiLU()),
    "hardswish": (F.hardswish, layers.Hardswish()),
    "softplus": (lambda x: F.softplus(x, 2, 5), layers.Softplus(2, 5)),
    "softmax": (lambda x: F.softmax(x, dim=1), layers.Softmax(1)),
    "log_softmax": (lambda x: F.log_softmax(x, dim=-1), layers.LogSoftmax(-1)),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 1), value=3.0), layers.Pad((1, 2, 0, 1), "constant", 3.0)),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), layers.Upsample(scale_factor=2, mode="bilinear")),
    "sigmoid": (F.sigmoid, layers.Sigmoid()),
    "tanh": (F.tanh, layers.Tanh()),
    "max_pool2d": (lambda x: F.max_pool2d(x, [2, 2], 1, 1, ceil_mode=True), layers.MaxPool2d(2, 1, 1, ceil_mode=True)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1, False, False), layers.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (1, 2)), layers.AdaptiveAvgPool2d((1, 2))),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, 3), layers.AdaptiveMaxPool2d(3)),
    "flatten": (lambda x: F.flatten(x, 1), layers.Flatten()),
    "cat": (lambda x: F.cat([x, F.relu(x)]), layers.Concat(layers.Dropout(0), layers.ReLU())),
}


class Function(fc.Module):
    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("name", PAIRS)
def test_a_function_is_its_layer(name):
    function, layer = PAIRS[name]
    y, backward = layer.forward(X)
    np.testing.assert_array_equal(function(X), y)
    again, traced_backward = Function(function).forward(X)
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(traced_backward(y), backward(y))
    assert Function(function).output_shape(X.shape) == y.shape


def test_ranks_have_their_own_pools():
    for rank in (1, 3):
        x = np.random.default_rng(rank).standard_normal((2, 3, *(4,) * rank)).astype(np.float32)
        for name in ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool"):
            kind = "".join(word.capitalize() for word in name.split("_"))
            np.testing.assert_array_equal(getattr(F, f"{name}{rank}d")(x, 2), getattr(layers, f"{kind}{rank}d")(2)(x))


def test_dropout_drops_as_it_is_told():
    assert F.dropout(X, 0.5, training=False) is X
    for drop, zeros in ((lambda x: F.dropout(x, 0.5), (True, True)), (lambda x: F.dropout(x, 0.5, False), (False, False))):
        model = Function(drop)
        assert ((model(X) == 0).any(), (model.forward(X)[0] == 0).any()) == zeros


def test_what_cannot_be_is_told():
    F.max_pool2d(X, 1)  # which is no True
    for call, error, message in (
        (lambda: F.flatten(X), ValueError, r"flatten: .* write flatten\(x, 1\), got start_dim=0"),
        (lambda: F.cat([X], dim=2), ValueError, "cat: dim must be 1, the channels, got 2"),
        (lambda: F.cat(X), TypeError, r"cat: xs must be a list, write cat\(\[a, b\]\), got ndarray"),
        (lambda: F.cat([X, X[:1]]), ValueError, "only channels may differ"),
        (lambda: F.relu(X, 1), TypeError, "relu: inplace must be True or False, got 1"),
        (lambda: F.max_pool2d(X, {}), TypeError, "MaxPool2d: kernel_size must be an integer"),
        (lambda: F.max_pool2d(X, True), TypeError, "MaxPool2d: kernel_size must be an integer, got True"),
        (lambda: F.dropout(X, 2), ValueError, "Dropout: p"),
    ):
        with pytest.raises(error, match=message):
            call()
