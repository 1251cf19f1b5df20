"""Softmax and its logarithm along one axis, and their gradients. Of memory (outer, D, inner) an item is one row of D elements where inner is 1, else
D rows of up to COLUMNS columns: what a vector runs over.

softmax        y = exp(x - max x) / sum of exp(x - max x)        dx = y * (dy - sum of dy * y)
log_softmax    y = x - max x - log(that sum)                     dx = dy - exp(y) * sum of dy

Sums run in float64, in an order that depends on D alone.
"""

import numpy as np

from fastconv import memory
from fastconv.kernels.compile import chunks, driver, outlined, serial, spread
from fastconv.kernels.elementwise.exponential import exponentials

COLUMNS = 256  # of an item
FLOAT64 = np.dtype(np.float64)


@driver
def softmax(pool, chunks, shape, x, y, scratch):
    """The pass. shape: outer, D, inner, and 1 for the logarithm; scratch: 2 * COLUMNS numbers for each chunk"""
    spread(pool, chunks, shape[0] * blocks(shape), softmax_items, scratch, shape, x, y)


@driver
def softmax_grad(pool, chunks, shape, dy, y, dx, scratch):
    spread(pool, chunks, shape[0] * blocks(shape), softmax_grad_items, scratch, shape, dy, y, dx)


@serial
def blocks(shape):
    return -(-shape[2] // COLUMNS)


@serial
def span(shape, item):
    """First element, stop and columns of an item."""
    _, D, inner, _ = shape
    outer, c = item // blocks(shape), item % blocks(shape) * COLUMNS
    start = outer * D * inner + c
    columns = min(COLUMNS, inner - c)
    return start, start + (D - 1) * inner + columns, columns


@serial
def softmax_items(work, shape, x, y):
    _, D, inner, log = shape
    for item in range(work.first, work.stop):
        start, stop, columns = span(shape, item)
        if inner == 1:
            softmax_row(x[start:stop], y[start:stop], log)
        else:
            softmax_columns(x[start:stop], y[start:stop], (D, inner, columns, log), work.scratch)


@outlined
def softmax_row(x, y, log):
    highest = maximum(x)
    for k in range(x.size):
        y[k] = x[k] - highest
    exponentials(y)
    total = ordered_sum(y)
    if log:
        rest = x.dtype.type(np.log(total))
        for k in range(x.size):
            y[k] = (x[k] - highest) - rest
    else:
        inverse = x.dtype.type(1 / total)
        for k in range(x.size):
            y[k] *= inverse


@outlined
def softmax_columns(x, y, shape, scratch):
    """The same of columns side by side, with a running maximum and sum for each."""
    D, inner, columns, log = shape
    highest, totals = scratch[:columns], scratch[COLUMNS : COLUMNS + columns]
    real = x.dtype.type
    for c in range(columns):
        highest[c], totals[c] = x[c], 0
    for d in range(1, D):
        row = x[d * inner : d * inner + columns]
        for c in range(columns):
            highest[c] = larger(np.float64(row[c]), highest[c])
    for d in range(D):
        row, out = x[d * inner : d * inner + columns], y[d * inner : d * inner + columns]
        for c in range(columns):
            out[c] = row[c] - real(highest[c])
        exponentials(out)
        for c in range(columns):
            totals[c] += np.float64(out[c])
    for c in range(columns):
        totals[c] = np.log(totals[c]) if log else 1 / totals[c]
    for d in range(D):
        row, out = x[d * inner : d * inner + columns], y[d * inner : d * inner + columns]
        for c in range(columns):
            out[c] = (row[c] - real(highest[c])) - real(totals[c]) if log else out[c] * real(totals[c])


@serial
def softmax_grad_items(work, shape, dy, y, dx):
    _, D, inner, log = shape
    for item in range(work.first, work.stop):
        start, stop, columns = span(shape, item)
        if inner == 1:
            gradient_row(dy[start:stop], y[start:stop], dx[start:stop], log)
        else:
            gradient_columns((dy[start:stop], y[start:stop]), dx[start:stop], (D, inner, columns, log), work.scratch)


@outlined
def gradient_row(dy, y, dx, log):
    if log:
        total = dy.dtype.type(ordered_sum(dy))
        for k in range(dy.size):
            dx[k] = y[k]
        exponentials(dx)
        for k in range(dy.size):
            dx[k] = dy[k] - dx[k] * total
    else:
        for k in range(dy.size):
            dx[k] = dy[k] * y[k]
        total = dy.dtype.type(ordered_sum(dx))
        for k in range(dy.size):
            dx[k] = y[k] * (dy[k] - total)


@outlined
def gradient_columns(operands, dx, shape, scratch):
    (dy, y), (D, inner, columns, log), totals = operands, shape, scratch
    real = dy.dtype.type
    for c in range(columns):
        totals[c] = 0
    for d in range(D):
        upstream, row = dy[d * inner : d * inner + columns], y[d * inner : d * inner + columns]
        for c in range(columns):
            totals[c] += np.float64(upstream[c] if log else upstream[c] * row[c])
    for d in range(D):
        upstream, row, out = dy[d * inner : d * inner + columns], y[d * inner : d * inner + columns], dx[d * inner : d * inner + columns]
        if log:
            for c in range(columns):
                out[c] = row[c]
            exponentials(out)
        for c in range(columns):
            total = real(totals[c])
            out[c] = upstream[c] - out[c] * total if log else row[c] * (upstream[c] - total)


@serial
def maximum(values):
    """In four running maxima: one would wait for each comparison. It may miss a NaN: that makes the sum NaN."""
    a, b, c, d = values[0], values[0], values[0], values[0]
    whole = values.size // 4 * 4
    for k in range(0, whole, 4):
        a, b = larger(values[k], a), larger(values[k + 1], b)
        c, d = larger(values[k + 2], c), larger(values[k + 3], d)
    for k in range(whole, values.size):
        a = larger(values[k], a)
    return larger(larger(a, b), larger(c, d))


@serial
def larger(value, highest):
    return value if value > highest else highest


@serial
def ordered_sum(values):
    """Four interleaved running sums: a single one would wait for each addition."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = values.size // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = a + values[k], b + values[k + 1], c + values[k + 2], d + values[k + 3]
    for k in range(whole, values.size):
        a += values[k]
    return (a + b) + (c + d)


class Softmax:
    """The pass bound to memory (outer, D, inner): `run(x, y)` on flat arrays."""

    driver = softmax

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype, log: bool):
        outer, D, inner = shape
        self.shape, self.work, self.items = (*shape, int(log)), 10.0 * outer * D * inner, outer * -(-inner // COLUMNS)
        self.run = self.driver.bind()

    def __call__(self, *arrays) -> None:
        cut = chunks(self.items, self.work)
        self.run(self.work, cut, self.shape, *arrays, memory.scratch(cut * 2 * COLUMNS, FLOAT64))


class SoftmaxGrad(Softmax):
    """`run(dy, y, dx)`, y as the forward pass wrote it."""

    driver = softmax_grad
