"""Activations and sums of two arrays, element by element: no order, no sums, so plain loops over the elements that a chunk owns.

relu         y = 0 where x <= 0, else x (NaN passes)       its gradient: dx = 0 where y <= 0, else dy
leaky ReLU   y = slope * x where x <= 0, else x            dx = slope * dy where y <= 0, else dy
add          y = a + b, not below the lower bound          with 0 a ReLU, whose gradient (of a and of b) is relu's
sigmoid      y = 1 / (1 + exp(-x))                         dx = dy * y * (1 - y)
tanh         y = (e - 1) / (e + 1), e = exp(2 x)           dx = dy * (1 - y * y)
"""

import numpy as np

from fastconv.kernels.compile import driver, serial, spread
from fastconv.kernels.elementwise.exponential import exponential_parts
from fastconv.kernels.elementwise.spans import Flat, elements, spans


@driver
def relu(pool, chunks, x, y):
    """The pass. It needs no scratch memory: y is passed instead."""
    spread(pool, chunks, spans(x.size), relu_elements, y, x, y)


@serial
def relu_elements(work, x, y):
    part = elements(work, x.size)
    x, y = x[part], y[part]
    for i in range(x.size):
        if x[i] <= 0:  # NaN passes
            y[i] = 0
        else:
            y[i] = x[i]


@driver
def relu_grad(pool, chunks, dy, y, dx):
    spread(pool, chunks, spans(dy.size), relu_grad_elements, dx, dy, y, dx)


@serial
def relu_grad_elements(work, dy, y, dx):
    part = elements(work, dy.size)
    dy, y, dx = dy[part], y[part], dx[part]
    for i in range(dy.size):
        d = dy[i]
        if y[i] <= 0:
            dx[i] = 0
        else:
            dx[i] = d


@driver
def leaky_relu(pool, chunks, x, y, slope):
    spread(pool, chunks, spans(x.size), leaky_elements, y, x, x, y, slope)


@driver
def leaky_relu_grad(pool, chunks, dy, y, dx, slope):
    spread(pool, chunks, spans(dy.size), leaky_elements, dx, dy, y, dx, slope)


@serial
def leaky_elements(work, values, signs, results, slope):
    """results = slope * values where signs <= 0, else values: both ways, as y has the sign of x"""
    part = elements(work, values.size)
    values, signs, results = values[part], signs[part], results[part]
    slope = values.dtype.type(slope)
    for i in range(values.size):
        value = values[i]
        results[i] = value * slope if signs[i] <= 0 else value


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


@driver
def sigmoid(pool, chunks, x, y):
    spread(pool, chunks, spans(x.size), sigmoid_elements, y, x, y)


@serial
def sigmoid_elements(work, x, y):
    part = elements(work, x.size)
    x, y = x[part], y[part]
    for i in range(x.size):
        power, rest = exponential_parts(-np.float64(x[i]))
        y[i] = 1 / (1 + (power + power * rest))


@driver
def sigmoid_grad(pool, chunks, dy, y, dx):
    spread(pool, chunks, spans(dy.size), sigmoid_grad_elements, dx, dy, y, dx)


@serial
def sigmoid_grad_elements(work, dy, y, dx):
    part = elements(work, dy.size)
    dy, y, dx = dy[part], y[part], dx[part]
    for i in range(dy.size):
        dx[i] = dy[i] * (y[i] * (1 - y[i]))


@driver
def tanh(pool, chunks, x, y):
    spread(pool, chunks, spans(x.size), tanh_elements, y, x, y)


@serial
def tanh_elements(work, x, y):
    """exp(2 x) - 1 comes from parts, so that nothing cancels where x is small."""
    part = elements(work, x.size)
    x, y = x[part], y[part]
    for i in range(x.size):
        double = np.float64(x[i]) * 2
        power, rest = exponential_parts(double if not double > 100 else 100.0)
        minus_1 = (power - 1) + power * rest
        y[i] = minus_1 / (minus_1 + 2)


@driver
def tanh_grad(pool, chunks, dy, y, dx):
    spread(pool, chunks, spans(dy.size), tanh_grad_elements, dx, dy, y, dx)


@serial
def tanh_grad_elements(work, dy, y, dx):
    part = elements(work, dy.size)
    dy, y, dx = dy[part], y[part], dx[part]
    for i in range(dy.size):
        dx[i] = dy[i] * (1 - y[i] * y[i])


class Relu(Flat):
    """run(x, y)"""

    driver = relu


class ReluGrad(Flat):
    """run(dy, y, dx)"""

    driver = relu_grad


class LeakyRelu(Flat):
    """run(x, y, slope), slope a float"""

    driver = leaky_relu


class LeakyReluGrad(Flat):
    """run(dy, y, dx, slope)"""

    driver = leaky_relu_grad


class Add(Flat):
    """run(a, b, y, lower_bound): 0.0 is a ReLU after the sum, -np.inf nothing"""

    driver = add


class Sigmoid(Flat):
    """run(x, y)"""

    driver = sigmoid


class SigmoidGrad(Flat):
    """run(dy, y, dx)"""

    driver = sigmoid_grad


class Tanh(Flat):
    """run(x, y)"""

    driver = tanh


class TanhGrad(Flat):
    """run(dy, y, dx)"""

    driver = tanh_grad
