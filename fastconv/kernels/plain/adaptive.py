"""Pooling whose windows share the input out among the outputs. Where O divides I it is ordinary pooling and never comes here.

The loops are those of ordinary pooling, led over other windows by their tables. Only a maximum's gradient has one of its own: an input would
have to compare its place in each window with an argmax, while each output knows the one input that it goes to.
"""

import numpy as np
from numba import prange

from fastconv.geometry import Shares, share_collects, share_reads, share_sizes
from fastconv.kernels.compile import parallel, serial
from fastconv.kernels.plain import pooling as plain


@serial
def max_pool_grad_image(n, dy, argmax, dx, depth, row, column, kernel):
    KH, KW = kernel[1], kernel[2]
    dx[n] = 0
    _, OD, OH, OW, C = dy.shape
    for od, oh, ow in np.ndindex((OD, OH, OW)):
        out, arg = dy[n, od, oh, ow], argmax[n, od, oh, ow]
        for c in range(C):
            tap = np.int64(arg[c])
            dx[n, depth[od] + tap // (KH * KW), row[oh] + tap // KW % KH, column[ow] + tap % KW, c] += out[c]


@parallel
def max_pool_backward(dy, argmax, dx, depth, row, column, kernel):
    """Each output's gradient goes to the input that was its maximum; windows begin at depth[od], row[oh], column[ow]. An item owns an image of dx."""
    for n in prange(dx.shape[0]):
        max_pool_grad_image(np.int64(n), dy, argmax, dx, depth, row, column, kernel)


def max_pool(shares: Shares, dtype: np.dtype, relu: bool):
    """run(x, y, argmax) on flat arrays"""
    walk, memory = share_reads(shares), shares.output_memory

    def run(x, y, argmax):
        plain.max_pool_forward(_work(y, walk), x.reshape(shares.input_memory), y.reshape(memory), argmax.reshape(memory), *walk)
        if relu:
            plain.clamp(y, argmax)

    return run


def max_pool_grad(shares: Shares, dtype: np.dtype):
    """run(dy, argmax, dx)"""
    starts, kernel, memory = [start for start, _ in shares.spans()], np.array(shares.kernel), shares.output_memory

    def run(dy, argmax, dx):
        max_pool_backward(dx.size, dy.reshape(memory), argmax.reshape(memory), dx.reshape(shares.input_memory), *starts, kernel)

    return run


def avg_pool(shares: Shares, dtype: np.dtype):
    """run(x, y)"""
    walk, sizes = share_reads(shares), share_sizes(shares)

    def run(x, y):
        plain.avg_pool_forward(_work(y, walk), x.reshape(shares.input_memory), sizes, y.reshape(shares.output_memory), *walk)

    return run


def avg_pool_grad(shares: Shares, dtype: np.dtype):
    """run(dy, dx)"""
    walk, sizes = share_collects(shares), share_sizes(shares)

    def run(dy, dx):
        plain.avg_pool_backward(_work(dx, walk), dy.reshape(shares.output_memory), sizes, dx.reshape(shares.input_memory), *walk)

    return run


def _work(a: np.ndarray, walk) -> float:
    return float(a.size * walk.steps[:, 0].prod())
