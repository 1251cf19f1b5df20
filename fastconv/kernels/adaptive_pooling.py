"""Pooling whose windows share the input out among the outputs: the loops of ordinary pooling, led over other windows by their tables.

Where O divides I it is ordinary pooling and never comes here. Nothing is compiled for it: same kernels, same types.
"""

import math

import numpy as np

from fastconv.geometry import Shares, along, share_collects, share_reads, share_sizes, share_taps, share_twins
from fastconv.kernels import plain_pooling as plain
from fastconv.kernels.walk import channels_last


def max_pool(x, y, argmax, shares: Shares) -> None:
    walk = share_reads(shares)
    plain.max_pool_forward(_work(y, walk), channels_last(x), channels_last(y), channels_last(argmax), *walk)


def max_pool_grad(dy, argmax, dx, shares: Shares) -> None:
    walk = share_collects(shares)
    plain.max_pool_backward(_work(dx, walk), channels_last(dy), _numbered(argmax, shares), channels_last(dx), *walk)


def _numbered(argmax, shares: Shares):
    """The argmax (N, D, H, W, C) as `share_collects` numbers taps: those of windows that begin at the same cell apart."""
    most, twins = share_twins(shares)
    if max(most) == 1:
        return channels_last(argmax)
    number = 0
    for axis, (tap, K, R, twin) in enumerate(zip(share_taps(shares, argmax), shares.kernel, most, twins)):
        number = number * K * R + tap * R + along(axis, twin)
    return np.ascontiguousarray(channels_last(number), np.min_scalar_type(math.prod(shares.kernel) * math.prod(most) - 1))


def avg_pool(x, y, shares: Shares) -> None:
    walk = share_reads(shares)
    plain.avg_pool_forward(_work(y, walk), channels_last(x), share_sizes(shares), channels_last(y), *walk)


def avg_pool_grad(dy, dx, shares: Shares) -> None:
    walk = share_collects(shares)
    plain.avg_pool_backward(_work(dx, walk), channels_last(dy), share_sizes(shares), channels_last(dx), *walk)


def _work(a: np.ndarray, walk) -> float:
    return float(a.size * walk.steps[:, 0].prod())


def roundings(shares: Shares, dtype: np.dtype) -> int:
    """Sums run in float64: one rounding at the end for float32, one per term for float64; of gradients, one per reader of a cell."""
    terms = int(np.prod(shares.kernel)), int(share_collects(shares).steps[:, 0].prod())
    return 2 if dtype == np.float32 else max(terms) + 2
