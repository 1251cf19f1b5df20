"""Pad and Upsample as layers."""

import copy
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, ops

LAYERS = (
    (layers.Pad(1), (2, 3, 4, 5), "Pad(1, mode='zeros')"),
    (layers.Pad((1, 2), "constant", -0.5), (2, 3, 4), "Pad((1, 2), mode='constant', value=-0.5)"),
    (layers.Pad(((1, 0), (2, 1)), "reflect"), (1, 2, 4, 5), "Pad(((1, 0), (2, 1)), mode='reflect')"),
    (layers.Upsample(scale_factor=2), (1, 2, 2, 3, 2), "Upsample(scale_factor=2.0, mode='nearest')"),
    (layers.Upsample((5, 7), mode="bilinear", align_corners=True), (1, 2, 3, 3), "Upsample(size=(5, 7), mode='bilinear', align_corners=True)"),
)


@pytest.mark.parametrize(("layer", "shape", "text"), LAYERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_layer(layer, shape, text):
    """Its gradient, shapes and name; copies do the same."""
    x = np.random.default_rng(0).standard_normal(shape)
    y = layer(x)
    assert layer.output_shape(shape) == y.shape
    assert repr(layer) == text
    fc.gradcheck(layer, x)
    for again in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(again(x), y)
    assert layer.forward(x)[1](y, input_grad=False) is None


def test_layers_are_the_operations():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5), np.float32)
    y, backward = layers.Upsample(None, (1.5, 2), "bilinear").forward(x)
    np.testing.assert_array_equal(y, ops.upsample(x, scale_factor=(1.5, 2), mode="bilinear"))
    np.testing.assert_array_equal(backward(y), ops.upsample_grad(y, x.shape, scale_factor=(1.5, 2), mode="bilinear"))
    y, backward = layers.Pad((1, 2, 0, 3), "circular").forward(x)
    np.testing.assert_array_equal(y, ops.pad(x, (1, 2, 0, 3), mode="circular"))
    np.testing.assert_array_equal(backward(y), ops.pad_grad(y, x.shape, (1, 2, 0, 3), mode="circular"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Pad((1, 2, 3)), "Pad: padding must be an integer, as many pairs as dimensions"),
        (lambda: layers.Pad(1, "mirror"), "Pad: mode must be one of"),
        (lambda: layers.Pad(1, "reflect", 1), 'Pad: value=1.0 is for mode="constant"'),
        (lambda: layers.Upsample(), "Upsample: either size or scale_factor"),
        (lambda: layers.Upsample(2, mode="cubic"), "Upsample: mode must be one of"),
        (lambda: layers.Upsample(scale_factor=-1), "Upsample: scale_factor must be above 0"),
        (lambda: layers.Upsample(4, mode="linear").output_shape((1, 2, 3, 3)), 'Upsample: mode="linear" is for another rank'),
        (lambda: layers.Pad(5, "reflect").output_shape((1, 2, 3, 3)), 'Pad: mode="reflect" can pad at most 2'),
    ],
)
def test_what_is_wrong_is_told_when_a_layer_is_made_or_meets_its_input(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
