"""How an operand lies in memory. Public shapes are PyTorch's; kernels see flat arrays in an order of their own.

operand         public shape              memory
activation      (N, C, D, H, W)           (N, D, H, W, C): the channels of a pixel are neighbors
weight          (OC, IC/G, KD, KH, KW)    (KD, KH, KW, IC/G, OC): the output channels of a tap are neighbors
Linear weight   (O, I)                    (I, O)
"""

import math
from functools import lru_cache

import numpy as np

from fastconv import memory
from fastconv.kernels.compile import each_time
from fastconv.kernels.elementwise.transpose import Transpose

transpose_pass = lru_cache(512)(Transpose)


def activation_axes(ndim: int) -> tuple[int, ...]:
    """The public axes of an activation, in the order of memory."""
    return (0, *range(2, ndim), 1) if ndim > 2 else tuple(range(ndim))


def weight_axes(ndim: int) -> tuple[int, ...]:
    """The public axes of a weight, in the order of memory."""
    return (*range(2, ndim), 1, 0)


class Layout:
    """An operand of a bound pass: its public shape, dtype, and the order of its axes in memory."""

    __slots__ = ("axes", "dtype", "memory_shape", "shape", "size", "strides")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, axes: tuple[int, ...]):
        self.shape, self.dtype, self.axes = tuple(shape), np.dtype(dtype), axes
        self.size, self.memory_shape = math.prod(shape), tuple(shape[axis] for axis in axes)
        strides, step = [0] * len(shape), self.dtype.itemsize
        for axis in reversed(axes):
            strides[axis], step = step, step * shape[axis]
        self.strides = tuple(strides)

    def flat(self, a: np.ndarray) -> np.ndarray:
        """The memory of an array of this shape and dtype, as it is where it lies right, else of a copy."""
        if a.strides == self.strides and a.flags.aligned:
            return a.ravel("K")
        last = a.transpose(self.axes)
        if last.flags.c_contiguous and a.flags.aligned:  # an axis with a single index may have any stride
            return last.reshape(-1)
        flat = memory.empty((self.size,), self.dtype)
        self.copy(a, flat)
        return flat

    def copy(self, a: np.ndarray, flat: np.ndarray) -> None:
        """An array of this shape and dtype into flat memory of this layout."""
        if self._has_planes(a):
            self._transpose(False)(a.reshape(-1), flat)
        else:
            each_time(np.copyto, flat.reshape(self.memory_shape), a.transpose(self.axes))

    def _has_planes(self, a: np.ndarray) -> bool:
        """Whether this activation (no argmax, of whose elements there are no vectors) lies as PyTorch's do: a plane of pixels for each channel."""
        planes = len(self.shape) > 2 and self.axes[-1] == 1 and self.dtype.kind == "f"
        return planes and a.flags.c_contiguous and a.flags.aligned and self.size > 0

    def _transpose(self, to_planes: bool) -> Transpose:
        """Between (N, C, positions) and (N, positions, C)."""
        N, C = self.shape[:2]
        positions = self.size // (N * C)
        return transpose_pass(N, *((positions, C) if to_planes else (C, positions)), self.dtype)

    def laid(self, a: np.ndarray) -> np.ndarray:
        """The same array where it lies right, else a copy that does: for whoever reads it more than once."""
        return a if a.strides == self.strides and a.flags.aligned else self.view(self.flat(a))

    def rows(self, a: np.ndarray) -> np.ndarray:
        """(N, C * positions), in the order of the public axes: all positions of channel 0 first; a view where it lies so, else a copy."""
        N, size = self.shape[0], math.prod(self.shape[1:])
        if a.flags.c_contiguous:
            return a.reshape(N, size)
        copy = memory.empty((N, size), self.dtype)
        if len(self.shape) <= 2 or a.strides != self.strides or not a.flags.aligned:
            each_time(np.copyto, copy.reshape(self.shape), a)
        elif self.size:
            self._transpose(True)(self.flat(a), copy.reshape(-1))
        return copy

    def empty(self) -> tuple[np.ndarray, np.ndarray]:
        """A new array, uninitialized, and its memory."""
        flat = memory.flat(self.size, self.dtype)
        return np.ndarray(self.shape, self.dtype, flat, 0, self.strides), flat

    def view(self, flat: np.ndarray) -> np.ndarray:
        """The array, in its public shape, that views this memory."""
        return np.ndarray(self.shape, self.dtype, flat, 0, self.strides)


def activation(shape: tuple[int, ...], dtype: np.dtype) -> Layout:
    return Layout(shape, dtype, activation_axes(len(shape)))


def weight(shape: tuple[int, ...], dtype: np.dtype) -> Layout:
    return Layout(shape, dtype, weight_axes(len(shape)))
