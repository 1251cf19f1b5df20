"""ReLU and sums of two arrays, element by element: no order, no sums, so plain loops over the elements that a chunk owns.

relu         y = 0 where x <= 0, else x (NaN passes)       its gradient: dx = 0 where y <= 0, else dy
add          y = a + b, not below the lower bound          with 0 a ReLU, whose gradient (of a and of b) is relu's
"""

from fastconv.kernels.compile import driver, serial, spread
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


class Relu(Flat):
    """run(x, y)"""

    driver = relu


class ReluGrad(Flat):
    """run(dy, y, dx)"""

    driver = relu_grad


class Add(Flat):
    """run(a, b, y, lower_bound): 0.0 is a ReLU after the sum, -np.inf nothing"""

    driver = add
