"""Adaptive pooling layers: one class each for max and average, three ranks; and the mean of whole images."""

import numpy as np

from fastconv.geometry import spatial
from fastconv.layers.pooling import Average, Maximum, Windows
from fastconv.ops import adaptive, pooling
from fastconv.ops.operands import shape_tuple
from fastconv.ops.passes import Pooling


class _AdaptivePool(Windows):
    def __init__(self, output_size):
        super().__init__()
        self.output_size = spatial(type(self).__name__, "output_size", output_size, self.rank)

    def _bind(self, x: np.ndarray) -> tuple[Pooling, tuple]:
        return adaptive.bound(type(self).__name__, self.rank, x.shape, self.output_size, x.dtype)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        op = type(self).__name__
        shape = shape_tuple(op, "input_shape", input_shape, pooling.AXES[self.rank])
        return adaptive.output_shape(op, self.rank, shape, self.output_size)

    def describe(self) -> str:
        return f"{self.output_size}"


class _AdaptiveMaxPool(Maximum, _AdaptivePool):
    pass


class _AdaptiveAvgPool(Average, _AdaptivePool):
    pass


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


class GlobalAvgPool2d(AdaptiveAvgPool2d):
    """The mean of each channel over the whole image: adaptive average pooling to one pixel. x: (N, C, IH, IW) -> (N, C, 1, 1)."""

    def __init__(self):
        super().__init__(1)

    def describe(self) -> str:
        return ""
