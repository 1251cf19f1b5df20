"""Pooling: an item is one row of outputs (or, backwards, of inputs); the inner loop runs over the channels of a pixel.

`depth`, `row`, `column`, `steps` are a `geometry.Walk`: forward `reads` (output and tap to input), backward `collects` (input and tap to output).
"""

import numpy as np
from numba import prange

from fastconv.geometry import Geometry, collects, reads
from fastconv.kernels.compile import parallel, serial
from fastconv.kernels.plain.lookup import find


@serial
def max_pool_row(n, od, oh, x, y, argmax, depth, row, column, steps):
    KD, KH, KW = steps[0, 0], steps[1, 0], steps[2, 0]
    for ow in range(y.shape[3]):
        best, arg = y[n, od, oh, ow], argmax[n, od, oh, ow]
        empty = True
        for tap in range(KD * KH * KW):
            id, ih, iw = find(depth, steps, 0, od, tap // (KH * KW)), find(row, steps, 1, oh, tap // KW % KH), find(column, steps, 2, ow, tap % KW)
            if id < 0 or ih < 0 or iw < 0:
                continue
            pixel = x[n, id, ih, iw]
            if empty:
                empty = False
                for c in range(best.size):
                    best[c], arg[c] = pixel[c], tap
            else:
                for c in range(best.size):
                    value = pixel[c]
                    wins = (value > best[c]) | ((value != value) & (best[c] == best[c]))  # the first tie stays, the first NaN too
                    best[c], arg[c] = value if wins else best[c], tap if wins else arg[c]


@parallel
def max_pool_forward(x, y, argmax, depth, row, column, steps):
    """y = the largest tap of each window, argmax = its number"""
    _, OD, OH, _, _ = y.shape
    for i in prange(y.shape[0] * OD * OH):
        item = np.int64(i)
        max_pool_row(item // (OD * OH), item // OH % OD, item % OH, x, y, argmax, depth, row, column, steps)


@serial
def max_pool_grad_row(n, id, ih, dy, argmax, dx, depth, row, column, steps):
    KD, KH, KW = steps[0, 0], steps[1, 0], steps[2, 0]
    dx[n, id, ih] = 0
    for tap in range(KD * KH * KW):
        od, oh = find(depth, steps, 0, id, tap // (KH * KW)), find(row, steps, 1, ih, tap // KW % KH)
        if od < 0 or oh < 0:
            continue
        for iw in range(dx.shape[3]):
            ow = find(column, steps, 2, iw, tap % KW)
            if ow >= 0:
                out, arg, total = dy[n, od, oh, ow], argmax[n, od, oh, ow], dx[n, id, ih, iw]
                for c in range(total.size):
                    if arg[c] == tap:
                        total[c] += out[c]


@parallel
def max_pool_backward(dy, argmax, dx, depth, row, column, steps):
    """Each input collects the gradients of the windows that it won; an item owns one row of dx."""
    _, ID, IH, _, _ = dx.shape
    for i in prange(dx.shape[0] * ID * IH):
        item = np.int64(i)
        max_pool_grad_row(item // (ID * IH), item // IH % ID, item % IH, dy, argmax, dx, depth, row, column, steps)


@serial
def avg_pool_row(n, od, oh, x, divisors, y, depth, row, column, steps):
    KD, KH, KW = steps[0, 0], steps[1, 0], steps[2, 0]
    total = np.empty(y.shape[4])  # float64: a window may be a whole image
    for ow in range(y.shape[3]):
        total[:] = 0
        for tap in range(KD * KH * KW):
            id, ih, iw = find(depth, steps, 0, od, tap // (KH * KW)), find(row, steps, 1, oh, tap // KW % KH), find(column, steps, 2, ow, tap % KW)
            if id >= 0 and ih >= 0 and iw >= 0:
                pixel = x[n, id, ih, iw]
                for c in range(total.size):
                    total[c] += np.float64(pixel[c])
        out, divisor = y[n, od, oh, ow], divisors[od, oh, ow]
        for c in range(total.size):
            out[c] = total[c] / divisor


@parallel
def avg_pool_forward(x, divisors, y, depth, row, column, steps):
    """y = the sum of each window / its divisor"""
    _, OD, OH, _, _ = y.shape
    for i in prange(y.shape[0] * OD * OH):
        item = np.int64(i)
        avg_pool_row(item // (OD * OH), item // OH % OD, item % OH, x, divisors, y, depth, row, column, steps)


@serial
def avg_pool_grad_row(n, id, ih, dy, divisors, dx, depth, row, column, steps):
    KD, KH, KW = steps[0, 0], steps[1, 0], steps[2, 0]
    total = np.empty(dx.shape[4])
    for iw in range(dx.shape[3]):
        total[:] = 0
        for tap in range(KD * KH * KW):
            od, oh, ow = find(depth, steps, 0, id, tap // (KH * KW)), find(row, steps, 1, ih, tap // KW % KH), find(column, steps, 2, iw, tap % KW)
            if od >= 0 and oh >= 0 and ow >= 0:
                out, divisor = dy[n, od, oh, ow], divisors[od, oh, ow]
                for c in range(total.size):
                    total[c] += np.float64(out[c]) / divisor
        pixel = dx[n, id, ih, iw]
        for c in range(total.size):
            pixel[c] = total[c]


@parallel
def avg_pool_backward(dy, divisors, dx, depth, row, column, steps):
    """Each input collects its even share of the windows it lies in; an item owns one row of dx."""
    _, ID, IH, _, _ = dx.shape
    for i in prange(dx.shape[0] * ID * IH):
        item = np.int64(i)
        avg_pool_grad_row(item // (ID * IH), item // IH % ID, item % IH, dy, divisors, dx, depth, row, column, steps)


def max_pool(g: Geometry, dtype: np.dtype, relu: bool):
    """run(x, y, argmax), bound to a geometry; all arrays flat, as kernels see them. relu: y = max(y, 0), and where that is 0 the argmax is 255."""
    walk, work = reads(g), g.N * g.OC * g.OD * g.OH * g.OW * g.taps

    def run(x, y, argmax):
        max_pool_forward(work, x.reshape(g.input_memory), y.reshape(g.output_memory), argmax.reshape(g.output_memory), *walk)
        if relu:
            clamp(y, argmax)

    return run


def clamp(y: np.ndarray, argmax: np.ndarray) -> None:
    """A ReLU after the pooling; an argmax of 255 is no tap's."""
    np.putmask(argmax, y <= 0, 255)
    np.putmask(y, y <= 0, 0)


def max_pool_grad(g: Geometry, dtype: np.dtype):
    """run(dy, argmax, dx)"""
    walk, work = collects(g), g.N * g.OC * g.OD * g.OH * g.OW * g.taps

    def run(dy, argmax, dx):
        max_pool_backward(work, dy.reshape(g.output_memory), argmax.reshape(g.output_memory), dx.reshape(g.input_memory), *walk)

    return run


def avg_pool(g: Geometry, dtype: np.dtype, divisors: np.ndarray):
    """run(x, y); divisors: (OD, OH, OW)"""
    walk, work = reads(g), g.N * g.OC * g.OD * g.OH * g.OW * g.taps

    def run(x, y):
        avg_pool_forward(work, x.reshape(g.input_memory), divisors, y.reshape(g.output_memory), *walk)

    return run


def avg_pool_grad(g: Geometry, dtype: np.dtype, divisors: np.ndarray):
    """run(dy, dx)"""
    walk, work = collects(g), g.N * g.OC * g.OD * g.OH * g.OW * g.taps

    def run(dy, dx):
        avg_pool_backward(work, dy.reshape(g.output_memory), divisors, dx.reshape(g.input_memory), *walk)

    return run
