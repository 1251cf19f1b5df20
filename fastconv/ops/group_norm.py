"""Passes of normalizations by each image's own statistics."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from fastconv.kernels.compile import each_time
from fastconv.kernels.elementwise.group_norm import GroupNorm
from fastconv.kernels.elementwise.layer_norm import LayerNorm
from fastconv.ops import layout


class OwnStatistics:
    """The passes of a normalization for one shape and dtype: where x lies, how much the way back needs of the way there, how long a parameter is."""

    sums_anyway = False  # whether dx takes the sums that dweight and dbias are, so that they cost nothing

    def __init__(self, x: layout.Layout, saved: int, parameters: int, make: Callable[[], GroupNorm | LayerNorm]):
        self.x, self.saved, self.parameters = x, saved, parameters
        if x.size:
            self._passes = make()

    def forward(self, x: np.ndarray, parameters: tuple, saved: np.ndarray) -> np.ndarray:
        """y; parameters: weight and bias, or nothing; saved: float64, written for the way back."""
        y, memory = self.x.empty()
        if y.size:
            self._passes.forward(self.x.flat(x), parameters, memory, saved)
        return y

    def backward(self, dy: np.ndarray, x: np.ndarray, parameters: tuple, saved: np.ndarray, input_grad: bool, learned: bool) -> tuple:
        """dx or None, dweight and dbias in float64; learned: whether these two are wanted."""
        dx, memory = self.x.empty() if input_grad else (None, None)
        gradients = (np.empty(self.parameters), np.empty(self.parameters)) if learned or self.sums_anyway else ()
        for gradient in gradients:
            each_time(gradient.fill, 0)
        if self.x.size:
            self._passes.backward(self.x.flat(dy), self.x.flat(x), parameters[0] if parameters else None, saved, memory, gradients)
        return dx, *(gradients or (None, None))


class GroupNormalization(OwnStatistics):
    """The passes of a group normalization."""

    sums_anyway = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, groups: int, eps: float):
        x, (N, C) = layout.activation(shape, dtype), shape[:2]
        super().__init__(x, 2 * N * C, C, lambda: GroupNorm(N, (x.size // (N * C), C), groups, dtype, eps))


class LayerNormalization(OwnStatistics):
    """The passes of a layer normalization over the last `axes` axes. Rows lie in one piece: as activations do where all axes but the first are
    normalized, else as the shape says. Parameters come and gradients go in the order of that memory."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, axes: int, eps: float):
        kept = len(shape) - axes
        order = layout.activation_axes(len(shape)) if kept <= 1 else tuple(range(len(shape)))
        self.order = tuple(axis - kept for axis in order[kept:])  # of a parameter's axes
        rows, parameters = math.prod(shape[:kept]), math.prod(shape[kept:])
        super().__init__(layout.Layout(shape, dtype, order), 2 * rows, parameters, lambda: LayerNorm(rows, parameters, dtype, eps))


group_normalization, layer_normalization = lru_cache(256)(GroupNormalization), lru_cache(256)(LayerNormalization)
