"""Layers that only move or scale what they are given: what methods and operators of traced values stand for."""

import math

import numpy as np

from fastconv.geometry import integer, real
from fastconv.kernels.compile import each_time
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.layers.simple import Flatten
from fastconv.ops.layout import activation
from fastconv.ops.operands import floats, shape_tuple


def in_order(x: np.ndarray) -> np.ndarray:
    """(N, size): each example's elements in PyTorch's order."""
    return activation(x.shape, x.dtype).rows(x)


class Reshape(Layer):
    """(N, ...) -> (N, *shape), elements in PyTorch's order (the last axis first); one extent may be -1, what is left."""

    def __init__(self, *shape: int):
        self.shape = tuple(integer("Reshape", f"shape[{i}]", extent, -1) for i, extent in enumerate(shape))
        if self.shape.count(-1) > 1 or 0 in self.shape or not self.shape:
            raise ValueError(f"Reshape: shape must hold extents above 0, and -1 at most once, got {shape}")

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats("Reshape", x=x)
        before = x.shape
        y = in_order(x).reshape(self.output_shape(before))
        return y, once_of(lambda dy, input_grad=True: in_order(dy).reshape(before) if input_grad else None, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        N, *extents = shape_tuple("Reshape", "input_shape", input_shape) or (1, 0)
        size, known = math.prod(extents), abs(math.prod(self.shape))
        if size % known or (-1 not in self.shape and size != known):
            raise ValueError(f"Reshape: the {size} elements of each example of x{tuple(input_shape)} cannot be {self.shape}")
        return (N, *[size // known if extent == -1 else extent for extent in self.shape])

    def describe(self) -> str:
        return ", ".join(map(str, self.shape))


class Rows(Flatten):
    """`Flatten` to so many columns: what `x.view(-1, features)` asks for."""

    def __init__(self, features: int):
        super().__init__()
        self.features = features

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        self.output_shape(np.shape(x))
        return super().forward(x, training)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = super().output_shape(input_shape)
        if shape[1] != self.features:
            raise ValueError(f"view: each example of x{tuple(input_shape)} has {shape[1]} elements, not {self.features}: write (-1, {shape[1]})")
        return shape


class Scale(Layer):
    """y = factor * x + offset, with two numbers."""

    def __init__(self, factor: float, offset: float = 0.0):
        self.factor, self.offset = real("Scale", "factor", factor), real("Scale", "offset", offset)

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats("Scale", x=x)
        factor, offset = x.dtype.type(self.factor), x.dtype.type(self.offset)
        lies = activation(x.shape, x.dtype)

        def scaled(a: np.ndarray) -> np.ndarray:
            product, _ = lies.empty()
            return each_time(np.multiply, a, factor, product)

        y = scaled(x)
        each_time(np.add, y, offset, y)
        return y, once_of(lambda dy, input_grad=True: scaled(dy) if input_grad else None, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape_tuple("Scale", "input_shape", input_shape)

    def describe(self) -> str:
        return f"{self.factor:g}, {self.offset:g}"
