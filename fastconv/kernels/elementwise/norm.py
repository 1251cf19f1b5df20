"""Batch normalization (Ioffe and Szegedy 2015): one pass for statistics, one that normalizes, and in that what follows, if wanted.

    y = (x - mean) * scale + shift          then y + shortcut (He et al. 2015), then max(y, 0)
    rate = 1 / sqrt(variance + eps), scale = rate * weight, shift = bias

The sums run over d = x - pivot, the pivot a mean of 16 pixels, so that a mean of a thousand standard deviations costs no accuracy. `saved` keeps
mean and rate in float64, (2, C). Where the mean is rounded to a table's dtype, the rest of it goes into the shift.
"""

import numpy as np

from fastconv.kernels.compile import Record, driver, outlined, serial, spread
from fastconv.kernels.elementwise.norm_plan import (
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
from fastconv.kernels.simd.arithmetic import add, clamp
from fastconv.kernels.simd.lanewise import fma, load_row, store_row, subtract

PIVOTS = 16  # pixels whose mean is the pivot


@driver
def normalize(pool, tile, plan, operands, parameters, running, results, scratch):
    """The pass. operands: x, shortcut; parameters: weight, bias; running: mean, variance, count, momentum; results: y, saved. x, shortcut, y:
    (pixels, C), flat.

    If the statistics are not the batch's they are the running ones, or where there are none, those in `saved`. scratch: as `norm_scratch` makes it.
    """
    (x, shortcut), (weight, bias), (y, saved), (tables, totals, chunks) = operands, parameters, results, scratch
    sums = tables[TABLES * plan.step : (TABLES + 2 * chunks) * plan.step]
    if plan.of_batch:
        pivot = table(plan, tables, 0)
        choose_pivot(plan, x, pivot)
        spread(pool, chunks, plan.chunks, sum_items, sums, tile, plan, x, pivot, totals)
        save_statistics(plan, pivot, totals, running, saved)
    elif len(running[0]) > 0:
        take_statistics(plan, running, saved)
    forward_tables(plan, weight, bias, saved, tables)
    spread(pool, chunks, plan.rows, normalize_items, tables, tile, plan, (x, shortcut), tables, y)


@outlined
def choose_pivot(plan, x, pivot):
    """pivot[c] = the mean of some pixels' channel c, these at equal distances"""
    C, pixels = plan.channels, min(PIVOTS, plan.pixels)
    part = pivot.dtype.type(1 / pixels)
    for c in range(C):
        pivot[c] = 0
    for i in range(pixels):
        pixel = plan.pixels * i // pixels * C
        for c in range(C):
            pivot[c] += x[pixel + c] * part
    repeat_channels(plan, pivot)


@serial
def sum_items(work, tile, plan, x, pivot, totals):
    """totals[chunk] = the sums over some rows of d = x - pivot, and of d * d"""
    sums, squares = work.scratch[: plan.step], work.scratch[plan.step : 2 * plan.step]
    sums[:] = 0
    squares[:] = 0
    for chunk in range(work.first, work.stop):
        own = totals[2 * chunk * plan.channels : 2 * (chunk + 1) * plan.channels]
        own[:] = 0
        start, stop = rows_of(plan, chunk)
        for first in range(start, stop, TERMS):
            for r in range(first, min(first + TERMS, stop)):
                add_row(tile, plan, x, r * plan.row, pivot, sums, squares)
            add_to_totals(plan, sums, own[: plan.channels])
            add_to_totals(plan, squares, own[plan.channels :])


@serial
def add_row(tile, plan, x, start, pivot, sums, squares):
    """sums += d, squares += d * d for one row"""
    count = min(plan.row, plan.size - start)
    for i in range(0, count, tile.NR):
        d = subtract(tile, load_row(tile, x, start + i, count - i), load_row(tile, pivot, i, tile.NR))
        store_row(tile, add(tile, load_row(tile, sums, i, tile.NR), d), sums, i, count - i)
        store_row(tile, fma(tile, load_row(tile, squares, i, tile.NR), d, d), squares, i, count - i)


@outlined
def save_statistics(plan, pivot, totals, running, saved):
    """saved = mean and rate of the batch; running = (1 - momentum) * running + momentum * the batch's, the variance's unbiased (over M - 1)

    count: of the batches so far; momentum below 0: 1 / count, which gives the average of all.
    """
    C, M = plan.channels, plan.pixels
    running_mean, running_var, count, momentum = running
    tracked = len(running_mean) > 0
    if tracked:
        count[0] += 1
        if momentum < 0:
            momentum = 1 / count[0]
    for c in range(C):
        mean = sum_of_chunks(plan, totals, 0, c) / M
        variance = sum_of_chunks(plan, totals, 1, c) / M - mean * mean
        if variance < 0:  # by rounding
            variance = 0.0
        mean += pivot[c]
        saved[c], saved[C + c] = mean, 1 / np.sqrt(variance + plan.eps)
        if tracked:
            running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean
            running_var[c] = (1 - momentum) * running_var[c] + momentum * (variance * M / (M - 1))


@outlined
def take_statistics(plan, running, saved):
    """saved = mean and rate from the running statistics"""
    for c in range(plan.channels):
        saved[c], saved[plan.channels + c] = running[0][c], 1 / np.sqrt(running[1][c] + plan.eps)


@outlined
def forward_tables(plan, weight, bias, saved, tables):
    """The tables of mean, scale and shift. weight and bias may be empty: 1 and 0."""
    mean, scale, shift = table(plan, tables, 0), table(plan, tables, 1), table(plan, tables, 2)
    for c in range(plan.channels):
        factor = saved[plan.channels + c]
        if len(weight) > 0:
            factor *= weight[c]
        mean[c], scale[c] = saved[c], factor
        rest = (mean[c] - saved[c]) * factor
        shift[c] = rest + bias[c] if len(bias) > 0 else rest
    repeat_channels(plan, mean)
    repeat_channels(plan, scale)
    repeat_channels(plan, shift)


@serial
def normalize_items(work, tile, plan, operands, tables, y):
    """y = (x - mean) * scale + shift + shortcut for some rows, not below the lower bound"""
    x, shortcut = operands
    mean, scale, shift = table(plan, tables, 0), table(plan, tables, 1), table(plan, tables, 2)
    for r in range(work.first, work.stop):
        start = r * plan.row
        count = min(plan.row, plan.size - start)
        for i in range(0, count, tile.NR):
            d = subtract(tile, load_row(tile, x, start + i, count - i), load_row(tile, mean, i, tile.NR))
            value = fma(tile, load_row(tile, shift, i, tile.NR), d, load_row(tile, scale, i, tile.NR))
            value = with_shortcut(tile, plan, value, shortcut, start + i, count - i)
            store_row(tile, clamp(tile, value, plan.lower_bound), y, start + i, count - i)


@serial
def with_shortcut(tile, plan, value, shortcut, at, count):
    """value + shortcut, if there is one"""
    if plan.shortcut:
        return add(tile, value, load_row(tile, shortcut, at, count))
    return value


class BatchNorm:
    """The pass bound to so many pixels and channels: `run(operands, parameters, y, saved, running)` on flat arrays as kernels see them.

    operands: (x,) or, where a shortcut is added, (x, shortcut). parameters: (weight, bias), or () for 1 and 0. saved: 2 * C float64, mean and
    rate, for the gradient. running: (mean, variance, count, momentum), the count of one int64, which a pass of the batch updates, or (). Not of the
    batch: normalizes with the running statistics, or without any with what `saved` holds.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype, options: Options):
        self.dtype = np.dtype(dtype)
        self.plan, self.tile = norm_plan(shape, self.dtype, options)
        self.record, self.run = Record(self.plan), normalize.bind()
        self.work = 4 * self.plan.size
        none = np.empty(0, self.dtype)
        self.none, self.no_parameters, self.no_running = none, (none, none), (none, none, np.empty(0, np.int64), 0.0)

    def __call__(self, operands, parameters, y, saved, running=()) -> None:
        scratch = norm_scratch(self.plan, self.dtype, self.work)
        operands = operands if self.plan.shortcut else (*operands, self.none)
        more = parameters or self.no_parameters, running or self.no_running, (y, saved), scratch
        self.run(self.work, self.tile, self.record, operands, *more)
