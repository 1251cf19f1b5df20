"""The gradients of batch normalization: one pass for the sums over pixels, one for dx.

    g = dy, 0 where the ReLU clamped          dbias = sum of g          dweight = rate * sum of g * (x - mean)
    dx = scale * (g - dbias / M - (x - mean) * rate * dweight / M) = scale * g + ((x - mean) * slope + offset)

Where the ReLU clamped is found again from x, with the forward pass's tables and operations, so to the bit: no third array is read. Where a
shortcut was added before the ReLU it is found from y, in the pass of the sums, which stores g: the shortcut's gradient, and what dx is then made of.
With the statistics of others than the batch slope and offset are 0.
"""

import numpy as np

from fastconv.kernels.compile import Record, driver, outlined, serial, spread
from fastconv.kernels.elementwise.norm import forward_tables
from fastconv.kernels.elementwise.norm_plan import (
    FROM_X,
    FROM_Y,
    TABLES,
    TERMS,
    Options,
    add_to_totals,
    norm_plan,
    norm_scratch,
    repeat_channels,
    rows_of,
    sum_of_chunks,
    table,
)  # fmt: skip
from fastconv.kernels.simd.arithmetic import add
from fastconv.kernels.simd.lanewise import fma, load_row, store_row, subtract, zero_where_clamped


@driver
def normalize_grad(pool, tile, plan, upstream, x, saved, results, scratch):
    """The pass. upstream: dy, y, g; all, x and dx: (pixels, C), flat; saved: weight, bias, statistics; results: dx, dweight, dbias, and 1 to add to
    what these two hold.

    y is read and g written only where the mask is FROM_Y. An empty dx, dweight or dbias is not computed. scratch: as `norm_scratch` makes it.
    """
    (weight, bias, statistics), (tables, totals, chunks) = saved, scratch
    sums = tables[TABLES * plan.step : (TABLES + 2 * chunks) * plan.step]
    dx = results[0]
    forward_tables(plan, weight, bias, statistics, tables)
    spread(pool, chunks, plan.chunks, sum_items, sums, tile, plan, upstream, x, tables, totals)
    store_gradients(plan, statistics, tables, totals, results)
    if len(dx) > 0:
        spread(pool, chunks, plan.rows, gradient_items, tables, tile, plan, upstream, x, tables, dx)


@serial
def sum_items(work, tile, plan, upstream, x, tables, totals):
    """totals[chunk] = the sums over some rows of g, and of g * (x - mean)"""
    sums, products = work.scratch[: plan.step], work.scratch[plan.step : 2 * plan.step]
    sums[:] = 0
    products[:] = 0
    for chunk in range(work.first, work.stop):
        own = totals[2 * chunk * plan.channels : 2 * (chunk + 1) * plan.channels]
        own[:] = 0
        start, stop = rows_of(plan, chunk)
        for first in range(start, stop, TERMS):
            for r in range(first, min(first + TERMS, stop)):
                add_row(tile, plan, upstream, x, r * plan.row, tables, (sums, products))
            add_to_totals(plan, sums, own[: plan.channels])
            add_to_totals(plan, products, own[plan.channels :])


@serial
def add_row(tile, plan, upstream, x, start, tables, sums):
    """sums += g, products += g * (x - mean) for one row"""
    mean, (sums, products), (dy, y, g) = table(plan, tables, 0), sums, upstream
    count = min(plan.row, plan.size - start)
    for i in range(0, count, tile.NR):
        d = subtract(tile, load_row(tile, x, start + i, count - i), load_row(tile, mean, i, tile.NR))
        grad = load_row(tile, dy, start + i, count - i)
        if plan.mask == FROM_Y:
            grad = zero_where_clamped(tile, grad, load_row(tile, y, start + i, count - i))
            store_row(tile, grad, g, start + i, count - i)
        else:
            grad = through_relu(tile, plan, grad, d, tables, i)
        store_row(tile, add(tile, load_row(tile, sums, i, tile.NR), grad), sums, i, count - i)
        store_row(tile, fma(tile, load_row(tile, products, i, tile.NR), grad, d), products, i, count - i)


@serial
def through_relu(tile, plan, dy, d, tables, i):
    """dy, 0 where y = d * scale + shift was clamped"""
    if plan.mask == FROM_X:
        scale, shift = table(plan, tables, 1), table(plan, tables, 2)
        return zero_where_clamped(tile, dy, fma(tile, load_row(tile, shift, i, tile.NR), d, load_row(tile, scale, i, tile.NR)))
    return dy


@outlined
def store_gradients(plan, statistics, tables, totals, results):
    """dweight and dbias, overwriting or adding; the tables of slope and offset"""
    C, M = plan.channels, plan.pixels
    mean, scale, slope, offset = table(plan, tables, 0), table(plan, tables, 1), table(plan, tables, 3), table(plan, tables, 4)
    _, dw, db, accumulate = results
    for c in range(C):
        rate, rest = statistics[C + c], statistics[c] - mean[c]
        total = sum_of_chunks(plan, totals, 0, c)
        product = (sum_of_chunks(plan, totals, 1, c) - rest * total) * rate
        if len(dw) > 0:
            dw[c] = rounded(dw, product) + dw[c] if accumulate else product
        if len(db) > 0:
            db[c] = rounded(db, total) + db[c] if accumulate else total
        factor = -product * rate / M * scale[c] if plan.of_batch else 0.0
        slope[c] = factor
        offset[c] = -total / M * scale[c] - rest * factor if plan.of_batch else 0.0
    repeat_channels(plan, slope)
    repeat_channels(plan, offset)


@serial
def rounded(like, value):
    """A float64 sum, rounded once to the dtype of an array before anything is added to it."""
    return like.dtype.type(value)


@serial
def gradient_items(work, tile, plan, upstream, x, tables, dx):
    """dx = scale * g + ((x - mean) * slope + offset) for some rows"""
    grad = upstream[2] if plan.mask == FROM_Y else upstream[0]
    mean, scale, slope, offset = table(plan, tables, 0), table(plan, tables, 1), table(plan, tables, 3), table(plan, tables, 4)
    for r in range(work.first, work.stop):
        start = r * plan.row
        count = min(plan.row, plan.size - start)
        for i in range(0, count, tile.NR):
            d = subtract(tile, load_row(tile, x, start + i, count - i), load_row(tile, mean, i, tile.NR))
            g = through_relu(tile, plan, load_row(tile, grad, start + i, count - i), d, tables, i)
            value = fma(tile, load_row(tile, offset, i, tile.NR), d, load_row(tile, slope, i, tile.NR))
            store_row(tile, fma(tile, value, g, load_row(tile, scale, i, tile.NR)), dx, start + i, count - i)


class BatchNormGrad:
    """The pass bound to so many pixels and channels: `run(upstream, x, saved, dx, gradients, accumulate)` on flat arrays.

    options: as for `BatchNorm`, which wrote the statistics. upstream: (dy,) or, where a ReLU follows the sum with a shortcut, (dy, y, g), of which g
    is written. saved: (parameters, statistics). dx: None where it is not wanted. gradients: (dweight, dbias), or ().
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype, options: Options):
        self.dtype = np.dtype(dtype)
        self.plan, self.tile = norm_plan(shape, self.dtype, options)
        self.record, self.run = Record(self.plan), normalize_grad.bind()
        self.work = 8 * self.plan.size
        self.none = np.empty(0, self.dtype)

    def __call__(self, upstream, x, saved, dx, gradients=(), accumulate: bool = False) -> None:
        none = self.none
        parameters, statistics = saved
        weight, bias = parameters or (none, none)
        dw, db = gradients or (none, none)
        upstream = upstream if self.plan.mask == FROM_Y else (*upstream, none, none)
        results = none if dx is None else dx, dw, db, int(accumulate)
        scratch = norm_scratch(self.plan, self.dtype, self.work)
        self.run(self.work, self.tile, self.record, upstream, x, (weight, bias, statistics), results, scratch)
