"""Pooling layers: one class each for max and average, three ranks."""

import math
from abc import abstractmethod

import numpy as np

from fastconv.geometry import Geometry, average_divisors, bind, flag, integer, pool_geometry, pool_words
from fastconv.kernels.pooling.maximum import CLAMPED
from fastconv.kernels.table import chosen
from fastconv.layers.bound import BoundPasses
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.ops import pooling
from fastconv.ops.operands import FLOATS, floats, shape_tuple
from fastconv.ops.passes import Pooling


class Windows(Layer):
    """Pooling, whatever the windows: a subclass binds its passes."""

    rank: int

    def __init__(self):
        self._passes = BoundPasses()

    @abstractmethod
    def _bind(self, x: np.ndarray) -> tuple[Pooling, tuple]:
        """The passes for x, and what an average's sums are divided by."""

    def bound(self, x) -> tuple[np.ndarray, Pooling, tuple]:
        """x as an array, its passes and divisors."""
        if type(x) is not np.ndarray or x.dtype not in FLOATS:
            (x,) = floats(type(self).__name__, x=x)
        return x, *self._passes.of((x.shape, x.dtype, chosen.get()), lambda: self._bind(x))


class Maximum(Windows):
    """y = the largest of each window; each gradient goes to the one input that was it."""

    def forward(self, x: np.ndarray, training: bool = True, *, relu: bool = False) -> tuple[np.ndarray, Backward]:
        """relu: y = max(y, 0), to the same bits and gradients as a ReLU before, as `Sequential` asks where there is one."""
        if relu is not True and relu is not False:
            relu = flag(type(self).__name__, "relu", relu)
        x, passes, _ = self.bound(x)
        y, taps = passes.max(x, relu)
        return y, once_of(lambda dy, input_grad=True: passes.max_grad(dy, taps) if input_grad else None, y)


class Average(Windows):
    """y = the mean of each window; gradients are spread evenly."""

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        x, passes, divisors = self.bound(x)
        y = passes.mean(x, *divisors)
        return y, once_of(lambda dy, input_grad=True: passes.mean_grad(dy, *divisors) if input_grad else None, y)


class _Pool(Windows):
    def __init__(self, kernel_size, stride, padding, dilation, ceil_mode):
        super().__init__()
        op = type(self).__name__
        self.kernel_size, self.stride, self.padding, self.dilation = pool_words(op, self.rank, kernel_size, stride, padding, dilation)
        self.ceil_mode = flag(op, "ceil_mode", ceil_mode)

    def geometry(self, input_shape: tuple[int, ...]) -> Geometry:
        """All extents for an input of this shape; ValueError where forward would raise."""
        op, axes = type(self).__name__, pooling.AXES[self.rank]
        bind(op, x=(input_shape, axes))
        N, C, *extent = input_shape
        words = self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        return pool_geometry(op, N, C, tuple(extent), *words)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        axes = pooling.AXES[self.rank]
        return self.geometry(shape_tuple(type(self).__name__, "input_shape", input_shape, axes)).output_shape

    def describe(self) -> str:
        usual = {"padding": (0,) * self.rank, "dilation": (1,) * self.rank, "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
        words = {name: value for name, value in vars(self).items() if name in usual and value != usual[name]}
        return ", ".join([f"{self.kernel_size}", f"stride={self.stride}", *(f"{name}={value!r}" for name, value in words.items())])


class _MaxPool(Maximum, _Pool):
    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        if flag(op := type(self).__name__, "return_indices", return_indices):
            raise ValueError(f"{op}: return_indices must be False, a layer has one output: ops.max_pool{self.rank}d returns (y, argmax)")
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    @property
    def takes_relu(self) -> bool:
        """Whether one byte holds all tap indices and the mark of what a ReLU has clamped."""
        return math.prod(self.kernel_size) <= CLAMPED

    def _bind(self, x: np.ndarray) -> tuple[Pooling, tuple]:
        return pooling.bound(self.geometry(x.shape), x.dtype), ()


class _AvgPool(Average, _Pool):
    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, dilation=1):
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        op = type(self).__name__
        self.count_include_pad = flag(op, "count_include_pad", count_include_pad)
        self.divisor_override = None if divisor_override is None else integer(op, "divisor_override", divisor_override, 1)

    def _bind(self, x: np.ndarray) -> tuple[Pooling, tuple]:
        g = self.geometry(x.shape)
        return pooling.bound(g, x.dtype), (average_divisors(g, self.count_include_pad, self.divisor_override),)


class MaxPool1d(_MaxPool):
    """`ops.max_pool1d`. x: (N, C, IW) -> (N, C, OW)."""

    rank = 1


class MaxPool2d(_MaxPool):
    """`ops.max_pool2d`: the largest value of each window; backward routes to it. stride None: the kernel size.

    padding, less than a window: an int, one or a (before, after) pair for each dimension, "same" or "valid". x: (N, C, IH, IW) -> (N, C, OH, OW).
    """

    rank = 2


class MaxPool3d(_MaxPool):
    """`ops.max_pool3d`. x: (N, C, ID, IH, IW) -> (N, C, OD, OH, OW)."""

    rank = 3


class AvgPool1d(_AvgPool):
    """`ops.avg_pool1d`. x: (N, C, IW) -> (N, C, OW)."""

    rank = 1


class AvgPool2d(_AvgPool):
    """`ops.avg_pool2d`: the mean of each window; backward spreads evenly. stride, padding: as in `MaxPool2d`. x: (N, C, IH, IW) -> (N, C, OH, OW)."""

    rank = 2


class AvgPool3d(_AvgPool):
    """`ops.avg_pool3d`. x: (N, C, ID, IH, IW) -> (N, C, OD, OH, OW)."""

    rank = 3
