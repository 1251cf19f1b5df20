"""The slips that everybody makes first: an array for its shape, lists, float64 for float32, pictures with their channels last."""

import numpy as np
import pytest

from fastconv import layers, ops

x, w, b, dy = np.zeros((2, 4, 6, 6), np.float32), np.zeros((4, 4, 3, 3), np.float32), np.zeros(4, np.float32), np.zeros((2, 4, 4, 4), np.float32)
pooled, argmax = ops.max_pool2d(x, 3)

# What a caller writes by mistake: the message begins with the function's name, names the argument, and says what to write.
CALLED = {
    "conv2d_input_grad": lambda shape: ops.conv2d_input_grad(dy, w, shape),
    "conv_transpose2d_input_grad": lambda shape: ops.conv_transpose2d_input_grad(x, w, shape),
    "max_pool2d_grad": lambda shape: ops.max_pool2d_grad(pooled, argmax, shape, 3),
    "avg_pool2d_grad": lambda shape: ops.avg_pool2d_grad(pooled, shape, 3),
    "adaptive_max_pool2d_grad": lambda shape: ops.adaptive_max_pool2d_grad(pooled, argmax, shape),
    "adaptive_avg_pool2d_grad": lambda shape: ops.adaptive_avg_pool2d_grad(pooled, shape),
    "Conv2d": lambda shape: layers.Conv2d(4, 4, 3).output_shape(shape),
    "ConvTranspose2d": lambda shape: layers.ConvTranspose2d(4, 4, 3).output_shape(shape),
    "MaxPool2d": lambda shape: layers.MaxPool2d(2).output_shape(shape),
    "AdaptiveAvgPool2d": lambda shape: layers.AdaptiveAvgPool2d(2).output_shape(shape),
    "GlobalAvgPool2d": lambda shape: layers.GlobalAvgPool2d().output_shape(shape),
    "BatchNorm2d": lambda shape: layers.BatchNorm2d(4).output_shape(shape),
    "ReLU": lambda shape: layers.ReLU().output_shape(shape),
    "Flatten": lambda shape: layers.Flatten().output_shape(shape),
}


@pytest.mark.parametrize("op", CALLED)
def test_an_array_for_its_shape(op):
    names = r"\(N, I?C, [IO]?H, [IO]?W\)|\(N, C, \.\.\.\)"
    with pytest.raises(TypeError, match=rf"^{op}: input_shape must be a shape ({names}), got an array: write x.shape$"):
        CALLED[op](x)
    for wrong in (x.tolist(), {2, 4, 6}, object(), "2466", (2, 4, x, 6), None):
        with pytest.raises(TypeError, match=rf"^{op}: input_shape must .*, got [^\n]{{1,120}}$"):
            CALLED[op](wrong)
    with pytest.raises(ValueError, match=rf"^{op}: input_shape=\(2, 2147483648, 6, 6\) has an extent outside 0..2147483647$"):
        CALLED[op]((2, 2**31, 6, 6))
    with pytest.raises(ValueError, match=rf"^{op}: input_shape=.* has more elements than this machine can address$"):
        CALLED[op]((2**31 - 1,) * 4)


def test_shapes_may_be_lists_or_arrays():
    for shape in (list(x.shape), np.array(x.shape), tuple(np.array(x.shape))):
        assert ops.conv2d_input_grad(dy, w, shape).shape == x.shape
        assert layers.MaxPool2d(2).output_shape(shape) == (2, 4, 3, 3)


NOT_ARRAYS = (
    ([[1.0, 2.0], [3.0]], ValueError, r"is no array: its rows differ in length or hold what is no number"),
    (object(), TypeError, "must be an array of float32 or float64, got object"),
    ("x", TypeError, "must be an array of float32 or float64, got str"),
    ({1.0, 2.0}, TypeError, "must be an array of float32 or float64, got set"),
    ({"x": 1.0}, TypeError, "must be an array of float32 or float64, got dict"),
    ((v for v in (1.0, 2.0)), TypeError, "must be an array of float32 or float64, got generator"),
    (["a", "b"], TypeError, "has dtype <U1, float32 or float64 is needed"),
)
OPERANDS = {
    "conv2d x": lambda a: ops.conv2d(a, w),
    "conv2d w": lambda a: ops.conv2d(x, a),
    "conv2d b": lambda a: ops.conv2d(x, w, a),
    "conv2d_input_grad dy": lambda a: ops.conv2d_input_grad(a, w, x.shape),
    "conv2d_weight_grad dy": lambda a: ops.conv2d_weight_grad(x, a, 3),
    "conv_transpose2d w": lambda a: ops.conv_transpose2d(x, a),
    "linear x": lambda a: ops.linear(a, w[0, 0]),
    "max_pool2d x": lambda a: ops.max_pool2d(a, 2),
    "adaptive_max_pool2d x": lambda a: ops.adaptive_max_pool2d(a, 2),
    "relu x": ops.relu,
    "relu_grad y": lambda a: ops.relu_grad(x, a),
    "dropout x": lambda a: ops.dropout(a, 0.5, 0),
    "bias_grad dy": ops.bias_grad,
    "batch_statistics x": ops.batch_statistics,
    "batch_norm x": lambda a: ops.batch_norm(a, b, b),
    "batch_norm mean": lambda a: ops.batch_norm(x, a, b),
    "batch_norm variance": lambda a: ops.batch_norm(x, b, a),
    "batch_norm weight": lambda a: ops.batch_norm(x, b, b, a),
    "batch_norm bias": lambda a: ops.batch_norm(x, b, b, b, a),
    "batch_norm_grad dy": lambda a: ops.batch_norm_grad(a, x, b, b),
    "batch_norm_grad weight": lambda a: ops.batch_norm_grad(x, x, b, b, a),
}


@pytest.mark.parametrize("operand", OPERANDS)
def test_what_numpy_makes_no_float_array_of(operand):
    op, name = operand.split()
    for value, error, message in NOT_ARRAYS:
        with pytest.raises(error, match=rf"^{op}: {name} {message}"):
            OPERANDS[operand](value)


def test_values_are_shown_on_one_line():
    with pytest.raises(TypeError, match=r"^conv2d: stride must be an integer, got a value of type ndarray \(ndarray\)$"):
        ops.conv2d(x, w, stride=x)
    with pytest.raises(TypeError, match=r"^conv2d: padding\[0\] must be an integer, got a value of type ndarray \(ndarray\)$"):
        ops.conv2d(x, w, padding=[x])
    with pytest.raises(TypeError, match=r"^max_pool2d: ceil_mode must be True or False, got a value of type ndarray$"):
        ops.max_pool2d(x, 2, ceil_mode=x)


def test_the_advice_is_to_convert_what_numpy_made_float64():
    """Whichever of the two that is, and whether it is an array or a list."""
    wide = x.astype(np.float64)
    with pytest.raises(TypeError, match=r"^conv2d: w is float32, but x is float64; all operands must be alike: write x.astype\(np.float32\)$"):
        ops.conv2d(wide, w)
    with pytest.raises(TypeError, match=r"^conv2d: w is float32, but x is float64; .*: write np.asarray\(x, np.float32\)$"):
        ops.conv2d(wide.tolist(), w)
    with pytest.raises(TypeError, match=r"^conv2d_input_grad: w is float32, but dy is float64; .*: write dy.astype\(np.float32\)$"):
        ops.conv2d_input_grad(dy.astype(np.float64), w, x.shape)
    with pytest.raises(TypeError, match=r"^conv2d: b is float32, but x is float64; .*: write b.astype\(np.float64\)$"):
        ops.conv2d(wide, w.astype(np.float64), b)
    with pytest.raises(TypeError, match=r"^conv2d: x has dtype uint8, .*: write np.asarray\(x\).astype\(np.float32\), then / 255 for an image"):
        ops.conv2d(x.astype(np.uint8), w)


LAYERS = {
    "Conv2d": lambda dtype: layers.Conv2d(4, 4, 3, dtype=dtype),
    "ConvTranspose2d": lambda dtype: layers.ConvTranspose2d(4, 4, 3, dtype=dtype),
    "BatchNorm2d": lambda dtype: layers.BatchNorm2d(4, dtype=dtype),
    "Linear": lambda dtype: layers.Linear(4, 4, dtype=dtype),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_tells_both_ways_out(name):
    """float64 is what NumPy gives everybody first."""
    given = x[:, :, 0, 0] if name == "Linear" else x
    with pytest.raises(TypeError) as caught:
        LAYERS[name](np.float32)(given.astype(np.float64))
    assert str(caught.value) == f"{name}: the layer is float32, x is float64: write x.astype(np.float32) or make the layer with dtype=np.float64"
    with pytest.raises(TypeError, match=rf"^{name}: the layer is float64, x is float32: write x.astype\(np.float64\) or make .* dtype=np.float32$"):
        LAYERS[name](np.float64)(given)
    with pytest.raises(TypeError, match=rf"^{name}: the layer is float32, x is float64: write np.asarray\(x, np.float32\) or make the layer"):
        LAYERS[name](np.float32)(given.tolist())
    with pytest.raises(TypeError, match=rf"^{name}: x has dtype int64, .*: write np.asarray\(x\).astype\(np.float64\)$"):
        LAYERS[name](np.float64)(given.astype(np.int64))
    with pytest.raises(TypeError, match=rf"^{name}: x has dtype uint8, .*: write np.asarray\(x\).astype\(np.float32\), then / 255"):
        LAYERS[name](np.float32)(given.astype(np.uint8))
    assert LAYERS[name](np.float64)(given.tolist()).dtype == np.float64


def test_channels_last_images():
    """Each piece of advice, followed, leads on: a batch of pictures, one picture, grey ones."""
    color, grey = layers.Conv2d(3, 4, 3), layers.Conv2d(1, 4, 3)
    pictures = np.ones((2, 9, 8, 3), np.float32)
    with pytest.raises(ValueError, match=r"^Conv2d: w has IC=3, but x has IC=9: x looks like \(N, IH, IW, IC\), write x.transpose\(0, 3, 1, 2\)"):
        color(pictures)
    assert color(pictures.transpose(0, 3, 1, 2)).shape == (2, 4, 7, 6)
    with pytest.raises(ValueError, match="for a single example write x\\[None\\]; got x\\(9, 8, 3\\)"):
        color(pictures[0])
    with pytest.raises(ValueError, match=r"write x.transpose\(0, 3, 1, 2\)"):
        color(pictures[0][None])
    with pytest.raises(ValueError, match=r"write x\[None\], for images without an axis of channels x\[:, None\]; got x\(2, 9, 8\)"):
        grey(pictures[..., 0])
    assert grey(pictures[..., 0][:, None]).shape == (2, 4, 7, 6)
    with pytest.raises(ValueError, match=r"got 2; for a single image write x\[None, None\]; got x\(9, 8\)"):
        grey(pictures[0, ..., 0])
    with pytest.raises(ValueError, match=r"^BatchNorm2d: layer has C=3, but x has C=9: x looks like \(N, H, W, C\), write x.transpose\(0, 3, 1, 2\)"):
        layers.BatchNorm2d(3)(pictures)
    with pytest.raises(ValueError, match=r"^Conv1d: w has IC=3, but x has IC=8: x looks like \(N, IW, IC\), write x.transpose\(0, 2, 1\)"):
        layers.Conv1d(3, 4, 3)(pictures[0, :2])
