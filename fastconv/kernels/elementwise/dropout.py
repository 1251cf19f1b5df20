"""Dropout, from random numbers that are a function of a key and an element's number alone."""

import numpy as np

from fastconv.kernels.compile import driver, serial, spread
from fastconv.kernels.elementwise.spans import SPAN, Flat, spans


@serial
def mix(value):
    """SplitMix64's finalizer, as `fastconv.streams.mix`, in wrapping 64-bit arithmetic."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@serial
def mix32(value):
    """One 32-bit number for another, each bit of which depends on all of it (Wellons 2018, "Prospecting for hash functions": lowbias32). By two of
    them a pass takes half the time that two of 64 bits take."""
    value = np.uint32(value ^ (value >> np.uint32(16)))
    value = np.uint32(value * np.uint32(0x7FEB352D))
    value = np.uint32(value ^ (value >> np.uint32(15)))
    value = np.uint32(value * np.uint32(0x846CA68B))
    return np.uint32(value ^ (value >> np.uint32(16)))


@driver
def dropout(pool, chunks, x, y, stream):
    """y[i] = x[i] * scale if number i of the stream `key` is >= threshold, else 0; its own gradient, too. stream: (key,), threshold, scale

    Number i: mix32(mix32(low ^ a) ^ b), 2**32 * high + low = i, 2**32 * b + a = mix(key ^ mix(high))
    """
    key, threshold, scale = stream
    spread(pool, chunks, spans(x.size), dropout_elements, y, x, y, key[0], threshold, scale)


@serial
def dropout_elements(work, x, y, key, threshold, scale):
    scale = x.dtype.type(scale)
    for span in range(work.first, work.stop):  # 2**32 is a multiple of its elements
        first, stop = span * SPAN, min((span + 1) * SPAN, x.size)
        keys = mix(key ^ mix(np.uint64(first >> 32)))
        a, b, low = np.uint32(keys & np.uint64(0xFFFFFFFF)), np.uint32(keys >> np.uint64(32)), np.uint32(first & 0xFFFFFFFF)
        of_x, of_y = x[first:stop], y[first:stop]
        for i in range(of_x.size):
            kept = mix32(mix32(np.uint32(low + np.uint32(i)) ^ a) ^ b) >= threshold
            of_y[i] = of_x[i] * scale if kept else 0


class Dropout(Flat):
    """run(x, y, (key, threshold, scale)): an element is dropped if its number is below the threshold. key: one np.uint64 in an array"""

    driver = dropout
    operations = 4  # of an element
