"""Pooling whose windows share the input out among the outputs. Where O divides I it is ordinary pooling and never comes here.

The loops are those of ordinary pooling, led over other windows by their tables. Only a maximum's gradient has one of its own: an input would
have to compare its place in each window with an argmax, while each output knows the one input that it goes to.
"""

import numpy as np
from numba import prange

from fastconv.geometry import Shares, share_collects, share_reads, share_sizes
from fastconv.kernels import plain_pooling as plain
from fastconv.kernels.compile import parallel, serial
from fastconv.kernels.plain.lookup import channels_last


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


def max_pool(x, y, argmax, shares: Shares) -> None:
    walk = share_reads(shares)
    plain.max_pool_forward(_work(y, walk), channels_last(x), channels_last(y), channels_last(argmax), *walk)


def max_pool_grad(dy, argmax, dx, shares: Shares) -> None:
    starts = (start for start, _ in shares.spans())
    max_pool_backward(dx.size, channels_last(dy), channels_last(argmax), channels_last(dx), *starts, np.array(shares.kernel))


def avg_pool(x, y, shares: Shares) -> None:
    walk = share_reads(shares)
    plain.avg_pool_forward(_work(y, walk), channels_last(x), share_sizes(shares), channels_last(y), *walk)


def avg_pool_grad(dy, dx, shares: Shares) -> None:
    walk = share_collects(shares)
    plain.avg_pool_backward(_work(dx, walk), channels_last(dy), share_sizes(shares), channels_last(dx), *walk)


def _work(a: np.ndarray, walk) -> float:
    return float(a.size * walk.steps[:, 0].prod())


def _readers(shares: Shares) -> int:
    """How many windows hold a cell, at most."""
    return int(share_collects(shares).steps[:, 0].prod())


def max_grad_roundings(shares: Shares, dtype: np.dtype) -> int:
    return _readers(shares)


def mean_roundings(shares: Shares, dtype: np.dtype) -> int:
    """Sums run in float64: one rounding at the end for float32, one per term for float64; of gradients, one per window that holds the cell."""
    return 2 if dtype == np.float32 else max(int(np.prod(shares.kernel)), _readers(shares)) + 2
