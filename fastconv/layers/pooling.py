"""Pooling layers: one class each for max and average, three ranks."""

import numpy as np

from fastconv.geometry import bind, flag, integer, pool_geometry, pool_words
from fastconv.layers.layer import Backward, Layer, once
from fastconv.ops import pooling
from fastconv.ops.operands import floats, shape_tuple


class _Pool(Layer):
    rank: int

    def __init__(self, kernel_size, stride, padding, dilation, ceil_mode):
        op = type(self).__name__
        self.kernel_size, self.stride, self.padding, self.dilation = pool_words(op, self.rank, kernel_size, stride, padding, dilation)
        self.ceil_mode = flag(op, "ceil_mode", ceil_mode)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        op = type(self).__name__
        axes = pooling.AXES[self.rank]
        input_shape = shape_tuple(op, "input_shape", input_shape, axes)
        bind(op, x=(input_shape, axes))
        N, C, *extent = input_shape
        words = self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        return pool_geometry(op, N, C, tuple(extent), *words).output_shape

    def describe(self) -> str:
        usual = {"padding": (0,) * self.rank, "dilation": (1,) * self.rank, "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
        words = {name: value for name, value in vars(self).items() if name in usual and value != usual[name]}
        return ", ".join([f"{self.kernel_size}", f"stride={self.stride}", *(f"{name}={value}" for name, value in words.items())])


class _MaxPool(_Pool):
    def __init__(self, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False):
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        op, words = type(self).__name__, (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        y, argmax = pooling.max_pool(op, self.rank, x, *words)
        shape = np.shape(x)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            return pooling.max_pool_grad(op, self.rank, dy, argmax, shape, *words, trusted=True) if input_grad else None

        return y, once(backward, y)


class _AvgPool(_Pool):
    def __init__(self, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        op = type(self).__name__
        self.count_include_pad = flag(op, "count_include_pad", count_include_pad)
        self.divisor_override = None if divisor_override is None else integer(op, "divisor_override", divisor_override, 1)

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        op = type(self).__name__
        words = self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        y = pooling.avg_pool(op, self.rank, x, *words)
        shape = np.shape(x)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            return pooling.avg_pool_grad(op, self.rank, dy, shape, *words) if input_grad else None

        return y, once(backward, y)


class MaxPool1d(_MaxPool):
    """`ops.max_pool1d`. x: (N, C, IW) -> (N, C, OW)."""

    rank = 1


class MaxPool2d(_MaxPool):
    """`ops.max_pool2d`: the largest value of each window; backward routes to it. stride None: the kernel size.

    x: (N, C, IH, IW) -> (N, C, OH, OW).
    """

    rank = 2


class MaxPool3d(_MaxPool):
    """`ops.max_pool3d`. x: (N, C, ID, IH, IW) -> (N, C, OD, OH, OW)."""

    rank = 3


class AvgPool1d(_AvgPool):
    """`ops.avg_pool1d`. x: (N, C, IW) -> (N, C, OW)."""

    rank = 1


class AvgPool2d(_AvgPool):
    """`ops.avg_pool2d`: the mean of each window; backward spreads evenly. stride None: the kernel size. x: (N, C, IH, IW) -> (N, C, OH, OW)."""

    rank = 2


class AvgPool3d(_AvgPool):
    """`ops.avg_pool3d`. x: (N, C, ID, IH, IW) -> (N, C, OD, OH, OW)."""

    rank = 3


class GlobalAvgPool2d(Layer):
    """The mean of each channel over the whole image. x: (N, C, IH, IW) -> (N, C, 1, 1)."""

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats("GlobalAvgPool2d", x=x)
        bind("GlobalAvgPool2d", x=(x.shape, pooling.AXES[2]))
        return AvgPool2d(x.shape[2:]).forward(x, training)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        input_shape = shape_tuple("GlobalAvgPool2d", "input_shape", input_shape, pooling.AXES[2])
        bind("GlobalAvgPool2d", x=(input_shape, pooling.AXES[2]))
        return (*input_shape[:2], 1, 1)
