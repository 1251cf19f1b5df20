"""Arguments by position have PyTorch's order, and options of PyTorch's that mean something else here are told."""

import inspect

import numpy as np
import pytest

from fastconv import functional, layers

ORDERS = {
    **{f"Conv{rank}d": "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode" for rank in (1, 2, 3)},
    **{
        f"ConvTranspose{rank}d": "in_channels out_channels kernel_size stride padding output_padding groups bias dilation padding_mode"
        for rank in (1, 2, 3)
    },
    **{f"MaxPool{rank}d": "kernel_size stride padding dilation return_indices ceil_mode" for rank in (1, 2, 3)},
    **{f"AvgPool{rank}d": "kernel_size stride padding ceil_mode count_include_pad divisor_override" for rank in (1, 2, 3)},
    **{f"BatchNorm{rank}d": "num_features eps momentum affine track_running_stats" for rank in (1, 2, 3)},
    "Linear": "in_features out_features bias",
    "Dropout": "p inplace",
    "Dropout2d": "p inplace",
    **dict.fromkeys(("ReLU", "SiLU", "Hardswish"), "inplace"),
    "LeakyReLU": "negative_slope inplace",
    "ELU": "alpha inplace",
    "GELU": "approximate",
    "Softplus": "beta threshold",
    "GroupNorm": "num_groups num_channels eps affine",
    "LayerNorm": "normalized_shape eps elementwise_affine bias",
}


def by_position(kind) -> list[str]:
    return [p.name for p in inspect.signature(kind).parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_is_pytorchs(name):
    assert by_position(getattr(layers, name)) == ORDERS[name].split()
    nn = pytest.importorskip("torch.nn")
    theirs = [name for name in by_position(getattr(nn, name)) if name not in ("device", "dtype")]
    assert theirs == ORDERS[name].split()[: len(theirs)]  # AvgPool1d has no divisor_override there


@pytest.mark.parametrize("name", [name for name in functional.__all__ if "pool" in name or name in ("relu", "flatten", "dropout")])
def test_functions_have_pytorchs_order(name):
    F = pytest.importorskip("torch.nn.functional")
    theirs = getattr(F, name, None) or pytest.importorskip("torch").flatten
    ours = [name for name in by_position(getattr(functional, name)) if name != "x"]
    if "max_pool" in name or "avg_pool" in name or name == "flatten":  # of those no signature can be read
        return
    assert ours == [name for name in by_position(theirs) if name not in ("input", "return_indices")][: len(ours)]


def test_positions_mean_what_they_say():
    conv = layers.Conv2d(2, 4, 3, 2, 1, 2, 2, False, "replicate")
    words = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "padding_mode": "replicate"}
    assert (dict(conv.words), conv.bias, conv.weight.shape) == (words, None, (4, 1, 3, 3))
    back = layers.ConvTranspose2d(2, 4, 3, 2, 1, 1, 2, False, 1)
    assert (back.words["output_padding"], back.words["groups"], back.bias) == (1, 2, None)
    assert layers.MaxPool2d(3, 2, 1, 1, False, True).output_shape((1, 1, 6, 6)) == (1, 1, 4, 4)
    assert layers.AvgPool2d(3, 2, 1, True, False, 5).divisor_override == 5
    norm = layers.BatchNorm2d(3, 1e-3, 0.2, False, False)
    assert (norm.eps, norm.momentum, norm.weight, norm.running_mean) == (1e-3, 0.2, None, None)
    assert layers.Linear(8, 4, False).bias is None


def test_indices_are_told_where_they_are():
    with pytest.raises(ValueError, match=r"MaxPool1d: return_indices must be False, a layer has one output: ops.max_pool1d returns \(y, argmax\)"):
        layers.MaxPool1d(2, return_indices=True)
    with pytest.raises(TypeError, match="ReLU: inplace must be True or False, got 1"):
        layers.ReLU(1)


def test_reshape_is_pytorchs_and_keeps_the_batch():
    x = np.arange(48, dtype=np.float32).reshape(2, 3, 4, 2).transpose(0, 2, 1, 3)
    y, backward = layers.Reshape(-1, 2, 3).forward(x)
    np.testing.assert_array_equal(y, x.reshape(2, 4, 2, 3))
    np.testing.assert_array_equal(backward(y), x)
    for shape in ((0,), (), (-1, -1)):
        with pytest.raises(ValueError, match="Reshape: shape must hold extents above 0, and -1 at most once"):
            layers.Reshape(*shape)
