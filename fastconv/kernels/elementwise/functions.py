"""Functions of one number and their gradients. The name of a function is a type, on which the loops of `activations` are specialized; a new one is
two functions and a row.

value(x, a, b) is y, gradient(dy, v, a, b) is dx = dy * f'(x), v being y or x, whichever takes less. a and b: the function's own numbers, such as a
slope, in x's dtype. No branches but selections, which vectors have.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from numba.extending import overload

from fastconv.kernels.compile import ConstantType, inlined
from fastconv.kernels.elementwise.exponential import exponential, exponential_less_one, logarithm_of_one_plus, logistic, normal, tangent

SLOPE, BEND = 2 * math.sqrt(2 / math.pi), 0.044715  # of GELU's approximation: Phi(x) is about 1 / (1 + exp(-SLOPE * (x + BEND * x**3)))


@inlined
def relu(x, a, b):
    return type(x)(0) if x <= 0 else x  # NaN passes


@inlined
def relu_grad(dy, y, a, b):
    return type(dy)(0) if y <= 0 else dy


@inlined
def leaky_relu(x, slope, b):
    return x * slope if x <= 0 else x


@inlined
def leaky_relu_grad(dy, y, slope, b):
    return dy * slope if y <= 0 else dy


@inlined
def elu(x, alpha, b):
    return alpha * exponential_less_one(x) if x <= 0 else x


@inlined
def elu_grad(dy, x, alpha, b):
    return dy * (alpha * exponential(x)) if x <= 0 else dy


@inlined
def sigmoid(x, a, b):
    return logistic(x)


@inlined
def sigmoid_grad(dy, y, a, b):
    return dy * (y * (type(y)(1) - y))


@inlined
def tanh(x, a, b):
    return tangent(x)


@inlined
def tanh_grad(dy, y, a, b):
    return dy * (type(y)(1) - y * y)


@inlined
def silu(x, a, b):
    return x * logistic(x)


@inlined
def silu_grad(dy, x, a, b):
    one, s = type(x)(1), logistic(x)
    return dy * (s * (one + x * (one - s)))


@inlined
def hardswish(x, a, b):
    real = type(x)
    inner = x * (x + real(3)) * real(1 / 6)
    inner = real(0) if x <= real(-3) else inner
    return x if x >= real(3) else inner


@inlined
def hardswish_grad(dy, x, a, b):
    real = type(x)
    inner = dy * (x * real(1 / 3) + real(0.5))
    inner = real(0) if x <= real(-3) else inner
    return dy if x >= real(3) else inner


@inlined
def softplus(x, beta, threshold):
    z = beta * x
    soft = (type(x)(0) if z < 0 else z) + logarithm_of_one_plus(exponential(-abs(z)))
    return x if z > threshold else soft / beta


@inlined
def softplus_grad(dy, x, beta, threshold):
    z = beta * x
    return dy if z > threshold else dy * logistic(z)


@inlined
def gelu(x, a, b):
    return x * normal(x)[0]


@inlined
def gelu_grad(dy, x, a, b):
    below, density = normal(x)
    return dy * (below + x * density)


@inlined
def gelu_tanh(x, a, b):
    real = type(x)
    return x * logistic(real(SLOPE) * (x + real(BEND) * (x * x * x)))


@inlined
def gelu_tanh_grad(dy, x, a, b):
    real = type(x)
    x = real(-20) if x < real(-20) else x  # so far from 0 the gradient is 0 or dy, and x * x shall not be Inf
    x = real(20) if x > real(20) else x
    s = logistic(real(SLOPE) * (x + real(BEND) * (x * x * x)))
    return dy * (s + x * (s * (real(1) - s)) * (real(SLOPE) + real(3 * SLOPE * BEND) * (x * x)))


class Row(NamedTuple):
    value: Callable
    gradient: Callable
    of: str  # what the gradient is written in, "x" or "y"
    operations: int  # of an element, about


FUNCTIONS = {
    "relu": Row(relu, relu_grad, "y", 1),
    "leaky_relu": Row(leaky_relu, leaky_relu_grad, "y", 1),
    "hardswish": Row(hardswish, hardswish_grad, "x", 2),
    "sigmoid": Row(sigmoid, sigmoid_grad, "y", 8),
    "tanh": Row(tanh, tanh_grad, "y", 8),
    "elu": Row(elu, elu_grad, "x", 8),
    "silu": Row(silu, silu_grad, "x", 8),
    "gelu": Row(gelu, gelu_grad, "x", 16),
    "gelu_tanh": Row(gelu_tanh, gelu_tanh_grad, "x", 8),
    "softplus": Row(softplus, softplus_grad, "x", 12),
}


class FunctionType(ConstantType):
    def __init__(self, name: str):
        self.function = name
        super().__init__(name=f"Function({name})")


class Function:
    """A row of the table, by name, as kernels take it."""

    def __init__(self, name: str):
        self.name, self.row, self._numba_type_ = name, FUNCTIONS[name], FunctionType(name)


def value(function, x, a, b):
    """In kernels: y."""


def gradient(function, dy, v, a, b):
    """In kernels: dx."""


@overload(value, inline="always")
def _value(function, x, a, b):
    f = FUNCTIONS[function.function].value
    return lambda function, x, a, b: f(x, a, b)


@overload(gradient, inline="always")
def _gradient(function, dy, v, a, b):
    f = FUNCTIONS[function.function].gradient
    return lambda function, dy, v, a, b: f(dy, v, a, b)
