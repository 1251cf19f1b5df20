"""Dropout of whole channels; that of elements is in `simple`."""

import numpy as np

from fastconv.geometry import bind
from fastconv.kernels.compile import each_time
from fastconv.layers.layer import Backward, once_of
from fastconv.layers.simple import Dropout
from fastconv.ops.elementwise import drop
from fastconv.ops.layout import activation
from fastconv.ops.operands import floats, shape_tuple


class _ChannelDropout(Dropout):
    """In training, zero each image's channel with probability p and multiply the others by 1 / (1 - p); else nothing (Tompson et al. 2015).

    Neighboring elements of a feature map are alike: to drop some of them takes little away. Channel c of image n of forward pass k is decided by
    number n * C + c of stream (seed, k), as `Dropout` decides elements.
    """

    axes: str

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats(type(self).__name__, x=x)
        self.output_shape(x.shape)
        if not training or self.p == 0:
            return x, once_of(lambda dy, input_grad=True: dy if input_grad else None, x)
        lies, ones = activation(x.shape, x.dtype), np.ones(x.shape[:2], x.dtype)
        factors = drop(ones, self.p, self._drawn()).reshape(*ones.shape, *(1,) * (x.ndim - 2))

        def scaled(a: np.ndarray) -> np.ndarray:
            product, _ = lies.empty()
            return each_time(np.multiply, a, factors, product)

        y = scaled(x)
        return y, once_of(lambda dy, input_grad=True: scaled(dy) if input_grad else None, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = shape_tuple(type(self).__name__, "input_shape", input_shape)
        bind(type(self).__name__, x=(shape, self.axes))
        return shape


class Dropout1d(_ChannelDropout):
    """Dropout of whole channels of x: (N, C, W), in training: 0 with probability p, else times 1 / (1 - p) (Tompson et al. 2015)."""

    axes = "N C W"


class Dropout2d(_ChannelDropout):
    """Dropout of whole channels of x: (N, C, H, W), in training: 0 with probability p, else times 1 / (1 - p) (Tompson et al. 2015)."""

    axes = "N C H W"


class Dropout3d(_ChannelDropout):
    """Dropout of whole channels of x: (N, C, D, H, W), in training: 0 with probability p, else times 1 / (1 - p) (Tompson et al. 2015)."""

    axes = "N C D H W"
