"""Passes over flat arrays: ReLU and Dropout. An item owns a run of SPAN elements."""

import numpy as np
from numba import prange

from fastconv.kernels.compile import parallel, serial

SPAN = 8192


@serial
def mix(value):
    """SplitMix64's finaliser, as `fastconv.streams.mix`, in wrapping 64-bit arithmetic."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@serial
def relu_span(x, y):
    for i in range(x.size):
        if x[i] <= 0:  # NaN passes
            y[i] = 0
        else:
            y[i] = x[i]


@parallel
def relu(x, y):
    """y[i] = 0 where x[i] <= 0, else x[i]"""
    for item in prange(-(-x.size // SPAN)):
        at = np.int64(item) * SPAN
        relu_span(x[at : at + SPAN], y[at : at + SPAN])


@serial
def relu_grad_span(dy, y, dx):
    for i in range(dy.size):
        if y[i] <= 0:
            dx[i] = 0
        else:
            dx[i] = dy[i]


@parallel
def relu_grad(dy, y, dx):
    """dx[i] = dy[i] where not (y[i] <= 0), else 0"""
    for item in prange(-(-dy.size // SPAN)):
        at = np.int64(item) * SPAN
        relu_grad_span(dy[at : at + SPAN], y[at : at + SPAN], dx[at : at + SPAN])


@serial
def dropout_span(x, y, first, key, threshold, scale):
    for i in range(x.size):
        if mix(key ^ mix(np.uint64(first + i))) >= threshold:
            y[i] = x[i] * scale
        else:
            y[i] = 0


@parallel
def dropout(x, y, key, threshold, scale):
    """y[i] = x[i] * scale if the i-th number of the stream `key` is >= threshold, else 0; its own gradient, too"""
    for item in prange(-(-x.size // SPAN)):
        at = np.int64(item) * SPAN
        dropout_span(x[at : at + SPAN], y[at : at + SPAN], at, key, threshold, scale)
