"""Dropout, from random numbers that are a function of a key and an element's number alone."""

import numpy as np

from fastconv.kernels.compile import driver, serial, spread
from fastconv.kernels.elementwise.spans import SPAN, Flat, elements, spans


@serial
def mix(value):
    """SplitMix64's finalizer, as `fastconv.streams.mix`, in wrapping 64-bit arithmetic."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@driver
def dropout(pool, chunks, x, y, stream):
    """y[i] = x[i] * scale if the i-th number of the stream `key` is >= threshold, else 0; its own gradient, too. stream: (key,), threshold, scale"""
    key, threshold, scale = stream
    spread(pool, chunks, spans(x.size), dropout_elements, y, x, y, key[0], threshold, scale)


@serial
def dropout_elements(work, x, y, key, threshold, scale):
    first, part = work.first * SPAN, elements(work, x.size)
    x, y = x[part], y[part]
    scale = x.dtype.type(scale)
    for i in range(x.size):
        if mix(key ^ mix(np.uint64(first + i))) >= threshold:
            y[i] = x[i] * scale
        else:
            y[i] = 0


class Dropout(Flat):
    """run(x, y, (key, threshold, scale)): an element is dropped if its number is below the threshold. key: one np.uint64 in an array"""

    driver = dropout
    operations = 8  # of an element
