"""Adaptive pooling layers: one class each for max and average, three ranks."""

import numpy as np

from fastconv.geometry import spatial
from fastconv.layers.layer import Backward, Layer, once
from fastconv.ops import adaptive, pooling
from fastconv.ops.operands import shape_tuple


class _AdaptivePool(Layer):
    rank: int

    def __init__(self, output_size):
        self.output_size = spatial(type(self).__name__, "output_size", output_size, self.rank)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        op = type(self).__name__
        shape = shape_tuple(op, "input_shape", input_shape, pooling.AXES[self.rank])
        return adaptive.output_shape(op, self.rank, shape, self.output_size)

    def describe(self) -> str:
        return f"{self.output_size}"


class _AdaptiveMaxPool(_AdaptivePool):
    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        op = type(self).__name__
        y, argmax = adaptive.max_pool(op, self.rank, x, self.output_size)
        shape = np.shape(x)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            return adaptive.max_pool_grad(op, self.rank, dy, argmax, shape, trusted=True) if input_grad else None

        return y, once(backward, y)


class _AdaptiveAvgPool(_AdaptivePool):
    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        op = type(self).__name__
        y = adaptive.avg_pool(op, self.rank, x, self.output_size)
        shape = np.shape(x)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            return adaptive.avg_pool_grad(op, self.rank, dy, shape) if input_grad else None

        return y, once(backward, y)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """`ops.adaptive_max_pool1d`. x: (N, C, IW) -> (N, C, OW)."""

    rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """`ops.adaptive_max_pool2d`: the largest value of each of OH x OW windows that share the image out; output_size: an int or (OH, OW).

    x: (N, C, IH, IW) of any extents -> (N, C, OH, OW).
    """

    rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """`ops.adaptive_max_pool3d`. x: (N, C, ID, IH, IW) -> (N, C, OD, OH, OW)."""

    rank = 3


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """`ops.adaptive_avg_pool1d`. x: (N, C, IW) -> (N, C, OW)."""

    rank = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """`ops.adaptive_avg_pool2d`: the mean of each of OH x OW windows that share the image out; output_size: an int or (OH, OW).

    x: (N, C, IH, IW) of any extents -> (N, C, OH, OW).
    """

    rank = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """`ops.adaptive_avg_pool3d`. x: (N, C, ID, IH, IW) -> (N, C, OD, OH, OW)."""

    rank = 3
