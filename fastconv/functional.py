"""Functions as PyTorch's `torch.nn.functional` has them: `from fastconv import functional as F`; F.relu(x), F.max_pool2d(x, 2), F.cat([x, y]).

Each calls a layer, on the traced values of a `Module`'s `forward` and on arrays alike; of an array they give an array, as `layer(x)` does. What has
weights is a layer that is made in `__init__`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv import layers, reflexes, streams
from fastconv.geometry import described, flag, whole
from fastconv.layers import Layer
from fastconv.layers.joins import CONCATENATION
from fastconv.layers.traced import FLATTEN, RELU, SIGMOID, TANH, Traced
from fastconv.ops.operands import floats

IN_PLACE = layers.ReLU(inplace=True)
_made = lru_cache(256, typed=True)(lambda kind, *arguments: kind(*arguments))  # one layer for each way to call a function
__getattr__ = reflexes.of_module("functional", __name__)
__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "cat",
    "concat",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "hardswish",
    "interpolate",
    "leaky_relu",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "pad",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


def relu(x: Any, inplace: bool = False) -> Any:
    """y = max(x, 0): `layers.ReLU`."""
    return RELU(x) if inplace is False else (IN_PLACE if flag("relu", "inplace", inplace) else RELU)(x)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """y = x where x > 0, else negative_slope * x: `layers.LeakyReLU`."""
    return _layer(layers.LeakyReLU, negative_slope)(x)


def sigmoid(x: Any) -> Any:
    """y = 1 / (1 + exp(-x)): `layers.Sigmoid`."""
    return SIGMOID(x)


def tanh(x: Any) -> Any:
    """y = tanh(x): `layers.Tanh`."""
    return TANH(x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """y = x where x > 0, else alpha * (exp(x) - 1): `layers.ELU`."""
    return _layer(layers.ELU, alpha)(x)


def gelu(x: Any, approximate: str = "none") -> Any:
    """y = x * Phi(x): `layers.GELU`."""
    return _layer(layers.GELU, approximate)(x)


def silu(x: Any) -> Any:
    """y = x / (1 + exp(-x)): `layers.SiLU`."""
    return _layer(layers.SiLU)(x)


def hardswish(x: Any) -> Any:
    """y = x * min(max(x + 3, 0), 6) / 6: `layers.Hardswish`."""
    return _layer(layers.Hardswish)(x)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """y = log(1 + exp(beta * x)) / beta: `layers.Softplus`."""
    return _layer(layers.Softplus, beta, threshold)(x)


def softmax(x: Any, dim: int = 1) -> Any:
    """y = exp(x) / (the sum of exp(x) along dim): `layers.Softmax`."""
    return _layer(layers.Softmax, dim)(x)


def log_softmax(x: Any, dim: int = 1) -> Any:
    """y = log(softmax(x)): `layers.LogSoftmax`. losses.cross_entropy takes it as it takes scores."""
    return _layer(layers.LogSoftmax, dim)(x)


def pad(x: Any, pad, mode: str = "constant", value: float = 0.0) -> Any:
    """Cells around an image: `layers.Pad`. pad: as there, such as (left, right, top, bottom)."""
    return _layer(layers.Pad, pad, mode, value)(x)


def interpolate(x: Any, size=None, scale_factor=None, mode: str = "nearest", align_corners: bool | None = None) -> Any:
    """Images of another size: `layers.Upsample`."""
    return _layer(layers.Upsample, size, scale_factor, mode, align_corners)(x)


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Any:
    """In training, zero each element with probability p and scale the others by 1 / (1 - p), by the stream that `fastconv.seed` starts.

    training: in the `forward` of a `Module` write training=self.training; without it elements are dropped when the model infers, too, as in PyTorch.
    """
    layer = _layer(Dropout, p)
    return layer(x) if flag("dropout", "training", training) else x


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """(N, C, spatial...) -> (N, C * positions): `flatten(x, 1)`."""
    if whole("flatten", "start_dim", start_dim) != 1 or whole("flatten", "end_dim", end_dim) != -1:
        raise ValueError(f"flatten: the first axis stays the batch's: write flatten(x, 1), got start_dim={start_dim!r}, end_dim={end_dim!r}")
    return FLATTEN(x)


def cat(xs: Sequence[Any], dim: int = 1) -> Any:
    """All x one behind the other along the channels: `layers.Concat` of what is there already. dim: 1."""
    if whole("cat", "dim", dim) != 1:
        raise ValueError(f"cat: dim must be 1, the channels, got {dim!r}")
    if not isinstance(xs, (list, tuple)) or not xs:
        raise TypeError(f"cat: xs must be a list, write cat([a, b]), got {described(xs)}")
    traced = [isinstance(x, Traced) for x in xs]
    if all(traced):
        return xs[0].through(CONCATENATION, *xs[1:])
    if any(traced):
        raise TypeError(f"cat: xs[{traced.index(False)}] is no traced value but {described(xs[traced.index(False)])}: make it an input of forward")
    return CONCATENATION.forward(floats("cat", **{f"xs[{i}]": x for i, x in enumerate(xs)}), False)[0]


concat = cat


def max_pool1d(x: Any, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False) -> Any:
    """`layers.MaxPool1d`."""
    return _layer(layers.MaxPool1d, kernel_size, stride, padding, dilation, False, ceil_mode)(x)


def max_pool2d(x: Any, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False) -> Any:
    """`layers.MaxPool2d`."""
    return _layer(layers.MaxPool2d, kernel_size, stride, padding, dilation, False, ceil_mode)(x)


def max_pool3d(x: Any, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False) -> Any:
    """`layers.MaxPool3d`."""
    return _layer(layers.MaxPool3d, kernel_size, stride, padding, dilation, False, ceil_mode)(x)


def avg_pool1d(x: Any, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True) -> Any:
    """`layers.AvgPool1d`."""
    return _layer(layers.AvgPool1d, kernel_size, stride, padding, ceil_mode, count_include_pad)(x)


def avg_pool2d(x: Any, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True, divisor_override=None) -> Any:
    """`layers.AvgPool2d`."""
    return _layer(layers.AvgPool2d, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)(x)


def avg_pool3d(x: Any, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True, divisor_override=None) -> Any:
    """`layers.AvgPool3d`."""
    return _layer(layers.AvgPool3d, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)(x)


def adaptive_avg_pool1d(x: Any, output_size) -> Any:
    """`layers.AdaptiveAvgPool1d`."""
    return _layer(layers.AdaptiveAvgPool1d, output_size)(x)


def adaptive_avg_pool2d(x: Any, output_size) -> Any:
    """`layers.AdaptiveAvgPool2d`."""
    return _layer(layers.AdaptiveAvgPool2d, output_size)(x)


def adaptive_avg_pool3d(x: Any, output_size) -> Any:
    """`layers.AdaptiveAvgPool3d`."""
    return _layer(layers.AdaptiveAvgPool3d, output_size)(x)


def adaptive_max_pool1d(x: Any, output_size) -> Any:
    """`layers.AdaptiveMaxPool1d`."""
    return _layer(layers.AdaptiveMaxPool1d, output_size)(x)


def adaptive_max_pool2d(x: Any, output_size) -> Any:
    """`layers.AdaptiveMaxPool2d`."""
    return _layer(layers.AdaptiveMaxPool2d, output_size)(x)


def adaptive_max_pool3d(x: Any, output_size) -> Any:
    """`layers.AdaptiveMaxPool3d`."""
    return _layer(layers.AdaptiveMaxPool3d, output_size)(x)


class Dropout(layers.Dropout):
    """Drops in inference, too, and draws from the stream of all."""

    def __init__(self, p: float):
        super().__init__(p, rng=np.random.default_rng(0))
        self.stream = streams.default

    def forward(self, x: np.ndarray, training: bool = True):
        return super().forward(x, True)


def _layer(kind: type[Layer], *arguments: Any) -> Layer:
    """The layer for these arguments; lists count as tuples."""
    arguments = tuple(tuple(each) if isinstance(each, list) else each for each in arguments)
    try:
        return _made(kind, *arguments)
    except TypeError:  # it cannot be a key: the layer tells what it must be instead
        return kind(*arguments)
