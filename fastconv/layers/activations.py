"""Activations besides ReLU. Results keep the memory order of a channels-last activation."""

from abc import abstractmethod

import numpy as np

from fastconv.geometry import number
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.ops.operands import floats, shape_tuple


class _Activation(Layer):
    """y = f(x), element by element, with f' written in terms of y."""

    @abstractmethod
    def value(self, x: np.ndarray) -> np.ndarray:
        """f(x)"""

    @abstractmethod
    def derivative(self, y: np.ndarray) -> np.ndarray:
        """f'(x), where y = f(x)"""

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats(type(self).__name__, x=x)
        y = self.value(x)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            return dy * self.derivative(y) if input_grad else None

        return y, once_of(backward, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape_tuple(type(self).__name__, "input_shape", input_shape)


class LeakyReLU(_Activation):
    """y = x where x > 0, else negative_slope * x (Maas et al. 2013). negative_slope: at least 0."""

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def value(self, x):
        return np.where(x <= 0, x * x.dtype.type(self.negative_slope), x)

    def derivative(self, y):
        return np.where(y <= 0, y.dtype.type(self.negative_slope), y.dtype.type(1))

    def describe(self) -> str:
        return f"{self.negative_slope}"


class Sigmoid(_Activation):
    """y = 1 / (1 + exp(-x)), for negative x exp(x) / (1 + exp(x)): no overflow, and no 1 that swallows the digits. dy/dx = y * (1 - y)"""

    def value(self, x):
        with np.errstate(under="ignore"):
            small = np.exp(-np.abs(x))
        return np.where(x < 0, small, x.dtype.type(1)) / (1 + small)

    def derivative(self, y):
        return y * (1 - y)


class Tanh(_Activation):
    """y = tanh(x). dy/dx = 1 - y^2"""

    def value(self, x):
        return np.tanh(x)

    def derivative(self, y):
        return 1 - y * y
