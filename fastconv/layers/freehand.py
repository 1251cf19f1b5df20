"""Layers around a function of one's own, or none."""

from collections.abc import Callable

import numpy as np

from fastconv.geometry import array
from fastconv.geometry import function as callable_
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.ops.operands import floats, shape_tuple


class Identity(Layer):
    """y = x: a place that is kept free, for instance where a head was."""

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats("Identity", x=x)
        return x, once_of(lambda dy, input_grad=True: dy if input_grad else None, x)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape_tuple("Identity", "input_shape", input_shape)


class Lambda(Layer):
    """y = function(x), for what has no parameters: `layers.Lambda(lambda x: x * x, lambda dy, x, y: 2 * x * dy)`.

    function: takes x, float32 or float64, and returns an array of that dtype; it must leave x as it is. backward: takes dy, x and y and returns dx,
    of x's shape and dtype; without it the layer infers, and may stand before all that is trained: asked for dx, it raises RuntimeError. output_shape:
    takes the shape of x and returns y's; without it y has x's. TypeError or ValueError where one of them returns something else.
    What has parameters, or keeps more for the way back, derives from Layer.

    >>> import numpy as np
    >>> from fastconv import layers
    >>> halves = layers.Lambda(lambda x: x[:, ::2], output_shape=lambda shape: (shape[0], shape[1] // 2))
    >>> halves(np.array([[1.0, 2.0, 3.0, 4.0]]))
    array([[1., 3.]])
    """

    def __init__(self, function: Callable, backward: Callable | None = None, output_shape: Callable | None = None):
        callable_("Lambda", "function", function, "a function of x")
        if backward is not None:
            callable_("Lambda", "backward", backward, "a function of dy, x and y, or None")
        if output_shape is not None:
            callable_("Lambda", "output_shape", output_shape, "a function of a shape, or None")
        self.function, self.gradient, self.shape_of = function, backward, output_shape

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats("Lambda", x=x)
        y = _checked("function", self.function(x), x.dtype, self.output_shape(x.shape))

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            if not input_grad:
                return None
            if self.gradient is None:
                raise RuntimeError("Lambda: has no backward, which the layers before it need to be trained: write layers.Lambda(function, backward)")
            return _checked("backward", self.gradient(dy, x, y), x.dtype, x.shape)

        return y, once_of(backward, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = shape_tuple("Lambda", "input_shape", input_shape)
        return shape if self.shape_of is None else shape_tuple("Lambda", "what output_shape returns", self.shape_of(shape))

    def describe(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


def _checked(name: str, found, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """What a function of the caller's returned."""
    found = array("Lambda", f"what {name} returns", found)
    if found.dtype != dtype:
        raise TypeError(f"Lambda: {name} must return an array of x's dtype {dtype}, got {found.dtype}: write .astype(x.dtype) behind it")
    if found.shape != shape:
        hint = ": write output_shape=lambda shape: ..." if name == "function" else ""
        raise ValueError(f"Lambda: {name} must return an array {shape}, got {found.shape}{hint}")
    return found
