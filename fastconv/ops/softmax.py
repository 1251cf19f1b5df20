"""Softmax and its logarithm along one axis."""

import math
from functools import lru_cache

import numpy as np

from fastconv.geometry import whole
from fastconv.kernels.elementwise.softmax import Softmax, SoftmaxGrad
from fastconv.ops import layout
from fastconv.ops.operands import floats


def softmax(x, dim: int = 1) -> np.ndarray:
    """y = exp(x) / sum of exp(x) along the axis dim (negative: from the end), without overflow: the largest x is subtracted first.

    x: float32 or float64 with at least one axis; (N, K) scores become K probabilities a row. Returns the same shape. ValueError for an axis that x
    does not have.
    """
    return _softmax("softmax", x, dim, False)


def log_softmax(x, dim: int = 1) -> np.ndarray:
    """y = x - log(sum of exp(x)) along the axis dim: `softmax`'s logarithm, which is finite where that is 0. Shapes and errors as there."""
    return _softmax("log_softmax", x, dim, True)


def _softmax(op: str, x, dim, log: bool) -> np.ndarray:
    (x,) = floats(op, x=x)
    return softmax_passes(x.shape, x.dtype, axis(op, dim, x.shape), log).forward(x)


def axis(op: str, dim, shape: tuple[int, ...] | None = None) -> int:
    """dim as an integer; where a shape is given, as that of one of its axes, 0 or more."""
    number = whole(op, "dim", dim)
    if shape is None:
        return number
    if not -len(shape) <= number < len(shape):
        raise ValueError(f"{op}: dim={dim} is not an axis of x{shape}")
    return number % len(shape)


class SoftmaxPasses:
    """Softmax, or its logarithm, along an axis of arrays of one shape and dtype."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, dim: int, log: bool):
        self.x = layout.activation(shape, dtype)
        extents, place = self.x.memory_shape, self.x.axes.index(dim)
        cut = math.prod(extents[:place]), extents[place], math.prod(extents[place + 1 :])
        if self.x.size:
            self._forward, self._input_grad = Softmax(cut, dtype, log), SoftmaxGrad(cut, dtype, log)

    def forward(self, x: np.ndarray) -> np.ndarray:
        y, memory = self.x.empty()
        if y.size:
            self._forward(self.x.flat(x), memory)
        return y

    def input_grad(self, dy: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx, memory = self.x.empty()
        if dx.size:
            self._input_grad(self.x.flat(dy), self.x.flat(y), memory)
        return dx


softmax_passes = lru_cache(256)(SoftmaxPasses)
