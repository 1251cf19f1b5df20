"""Functions of each element, their gradients, and sums of two arrays: no order, no sums, so plain loops over the elements that a chunk owns.

map          y = f(x)                                      relu: y = 0 where x <= 0, else x (NaN passes)
map_grad     dx = dy * f'(x), from x or from y             relu: dx = 0 where y <= 0, else dy
add          y = a + b, not below the lower bound          with 0 a ReLU, whose gradient (of a and of b) is relu's
"""

import numpy as np

from fastconv.kernels.compile import driver, serial, spread
from fastconv.kernels.elementwise.functions import Function, gradient, value
from fastconv.kernels.elementwise.spans import Flat, elements, spans


@driver
def map_values(pool, chunks, function, numbers, x, y):
    """The pass. It needs no scratch memory: y is passed instead. numbers: a and b of the function"""
    spread(pool, chunks, spans(x.size), map_elements, y, function, numbers, x, y)


@serial
def map_elements(work, function, numbers, x, y):
    part = elements(work, x.size)
    x, y = x[part], y[part]
    a, b = x.dtype.type(numbers[0]), x.dtype.type(numbers[1])
    for i in range(x.size):
        y[i] = value(function, x[i], a, b)


@driver
def map_grad(pool, chunks, function, numbers, dy, v, dx):
    """v: x or y, as the function's row says"""
    spread(pool, chunks, spans(dy.size), map_grad_elements, dx, function, numbers, dy, v, dx)


@serial
def map_grad_elements(work, function, numbers, dy, v, dx):
    part = elements(work, dy.size)
    dy, v, dx = dy[part], v[part], dx[part]
    a, b = dy.dtype.type(numbers[0]), dy.dtype.type(numbers[1])
    for i in range(dy.size):
        dx[i] = gradient(function, dy[i], v[i], a, b)


@driver
def add(pool, chunks, a, b, y, lower_bound):
    spread(pool, chunks, spans(a.size), add_elements, y, a, b, y, lower_bound)


@serial
def add_elements(work, a, b, y, lower_bound):
    part = elements(work, a.size)
    a, b, y = a[part], b[part], y[part]
    lower_bound = a.dtype.type(lower_bound)
    for i in range(a.size):
        total = a[i] + b[i]
        y[i] = lower_bound if total <= lower_bound else total


class Map(Flat):
    """run(x, y), of a function by name, with its numbers"""

    driver = map_values

    def __init__(self, size: int, dtype: np.dtype, function: str, numbers: tuple[float, float] = (0.0, 0.0)):
        self.function, self.numbers = Function(function), numbers
        self.operations = self.function.row.operations
        super().__init__(size, dtype)

    def __call__(self, *arrays) -> None:
        super().__call__(self.function, self.numbers, *arrays)


class MapGrad(Map):
    """run(dy, v, dx), v being x or y, whichever `of` tells"""

    driver = map_grad

    @property
    def of(self) -> str:
        return self.function.row.of


class Add(Flat):
    """run(a, b, y, lower_bound): 0.0 is a ReLU after the sum, -np.inf nothing"""

    driver = add
