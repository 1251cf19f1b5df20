"""ONNX's own node cases of convolution and pooling: those that the `onnx` package holds, inputs and expected outputs."""

import importlib
import warnings

import numpy as np
import pytest

from fastconv import ops

OPERATORS = {  # and how many cases ran when this was written: fewer would mean that the package keeps them elsewhere
    "Conv": 6, "ConvTranspose": 11, "MaxPool": 18, "AveragePool": 20, "GlobalAveragePool": 2, "GlobalMaxPool": 2, "MaxUnpool": 2,
}  # fmt: skip
SKIPPED = {"test_maxpool_2d_uint8": "an image of uint8, where float32 or float64 is wanted"}


def cases(operator: str) -> list:
    """The test cases of an operator; loading the package's module makes them."""
    node = pytest.importorskip("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's own
        importlib.import_module(f"onnx.backend.test.case.node.{operator.lower()}")
    return [case for case in node._NodeTestCases if case.model.graph.node[0].op_type == operator]


@pytest.mark.parametrize("operator", OPERATORS)
def test_onnx_cases(operator):
    run = 0
    for case in cases(operator):
        if case.name in SKIPPED:
            continue
        run += 1
        node = case.model.graph.node[0]
        helper = importlib.import_module("onnx.helper")
        words = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        for inputs, expected in case.data_sets:
            found = globals()[operator.lower()](words, *inputs)
            for result, wanted in zip(found if len(expected) > 1 else found[:1], expected):
                assert result.dtype == wanted.dtype, case.name
                np.testing.assert_allclose(result, wanted, rtol=case.rtol, atol=1e-6, err_msg=case.name)
    assert run >= OPERATORS[operator]


def test_skipped_cases_exist():
    names = {case.name for operator in OPERATORS for case in cases(operator)}
    assert SKIPPED.keys() <= names


def pairs(words: dict, extent: tuple, kernel: tuple) -> tuple:
    """auto_pad and pads as (before, after) of each dimension."""
    strides, dilations = options(words, len(extent))
    auto = words.get("auto_pad", b"NOTSET").decode()
    if auto == "VALID":
        return ((0, 0),) * len(extent)
    if auto.startswith("SAME"):
        totals = [max(0, (-(-I // S) - 1) * S + D * (K - 1) + 1 - I) for I, K, S, D in zip(extent, kernel, strides, dilations)]
        return tuple((total // 2, -(-total // 2))[:: 1 if auto == "SAME_UPPER" else -1] for total in totals)
    pads = words.get("pads", (0,) * 2 * len(extent))
    return tuple(zip(pads[: len(extent)], pads[len(extent) :]))


def options(words: dict, rank: int) -> tuple:
    """Strides and dilations"""
    return tuple(tuple(words.get(name, (1,) * rank)) for name in ("strides", "dilations"))


def conv(words, x, w, b=None):
    rank, (stride, dilation) = x.ndim - 2, options(words, x.ndim - 2)
    padding = pairs(words, x.shape[2:], w.shape[2:])
    return [getattr(ops, f"conv{rank}d")(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=words.get("group", 1))]


def convtranspose(words, x, w, b=None):
    rank, (stride, dilation) = x.ndim - 2, options(words, x.ndim - 2)
    pads, size = pairs({"pads": words.get("pads", (0,) * 2 * rank)}, x.shape[2:], w.shape[2:]), words.get("output_shape")
    if words.get("auto_pad") == b"SAME_UPPER":  # I * S outputs
        totals = [D * (K - 1) + 1 - S for S, D, K in zip(stride, dilation, w.shape[2:])]
        pads = tuple((total // 2, -(-total // 2)) for total in totals)
    sized = {"output_padding": words.get("output_padding", 0)} if size is None else {"output_size": tuple(size)}
    more = {"groups": words.get("group", 1), "dilation": dilation}
    return [getattr(ops, f"conv_transpose{rank}d")(x, w, b, stride=stride, padding=pads, **sized, **more)]


def windows(words, x) -> tuple:
    """A pooling's kernel and options"""
    kernel, (stride, dilation) = tuple(words["kernel_shape"]), options(words, x.ndim - 2)
    padding, ceil_mode = pairs(words, x.shape[2:], kernel), bool(words.get("ceil_mode", 0))
    return kernel, {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}


def maxpool(words, x):
    kernel, more = windows(words, x)
    y, argmax = getattr(ops, f"max_pool{x.ndim - 2}d")(x, kernel, **more)
    indices = ops.flat_indices(argmax, x.shape, kernel, **more)
    if words.get("storage_order"):  # columns first
        indices = np.ravel_multi_index(np.unravel_index(indices, x.shape[2:])[::-1], x.shape[:1:-1])
    return [y, indices + image_starts(x.shape)]


def image_starts(shape: tuple) -> np.ndarray:
    """ONNX counts through all images: where each begins."""
    return np.arange(np.prod(shape[:2])).reshape(*shape[:2], *(1,) * (len(shape) - 2)) * np.prod(shape[2:])


def averagepool(words, x):
    kernel, more = windows(words, x)
    return [getattr(ops, f"avg_pool{x.ndim - 2}d")(x, kernel, **more, count_include_pad=bool(words.get("count_include_pad", 0)))]


def globalaveragepool(words, x):
    return [getattr(ops, f"adaptive_avg_pool{x.ndim - 2}d")(x, 1)]


def globalmaxpool(words, x):
    return [getattr(ops, f"adaptive_max_pool{x.ndim - 2}d")(x, 1)[0]]


def maxunpool(words, x, indices, shape=None):
    """Indices are those of the image that kernel and strides make; a larger output has zeros behind it."""
    rank, stride, kernel = x.ndim - 2, tuple(words["strides"]), tuple(words["kernel_shape"])
    made = (*x.shape[:2], *((I - 1) * S + K for I, S, K in zip(x.shape[2:], stride, kernel)))
    y = getattr(ops, f"max_unpool{rank}d")(x, indices - image_starts(made).astype(np.int64), kernel, stride=stride)
    return [y if shape is None else ops.pad(y, tuple((0, int(more)) for more in shape[2:] - y.shape[2:]))]
