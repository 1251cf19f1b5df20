"""Batch normalisation's passes over (pixels, C) memory: sums a channel, and one multiplication and addition a number."""

import numpy as np
from numba import prange

from fastconv.kernels.compile import parallel, serial

BLOCK = 256  # pixels of one running sum in the arrays' dtype, as in the convolutions; then float64
PIXELS = 64  # that an item normalises


@serial
def chunk_sums(chunk, a, from_a, x, from_x, totals):
    """The sums of one chunk of the pixels."""
    pixels, C = a.shape
    chunks = totals.shape[0]
    low, high = pixels * chunk // chunks, pixels * (chunk + 1) // chunks
    total = totals[chunk]
    total[...] = 0
    sums, products = np.empty(C, a.dtype), np.empty(C, a.dtype)
    for first in range(low, high, BLOCK):
        sums[:] = 0
        products[:] = 0
        for pixel in range(first, min(first + BLOCK, high)):
            here, there = a[pixel], x[pixel]
            for c in range(C):
                d = here[c] - from_a[c]
                sums[c] += d
                products[c] += d * (there[c] - from_x[c])
        for c in range(C):
            total[0, c] += np.float64(sums[c])
            total[1, c] += np.float64(products[c])


@parallel
def paired_sums(a, from_a, x, from_x, totals):
    """totals[chunk] = the sums over its pixels of d = a - from_a, and of d * (x - from_x). a, x: (pixels, C); totals: (chunks, 2, C)"""
    for chunk in prange(totals.shape[0]):
        chunk_sums(np.int64(chunk), a, from_a, x, from_x, totals)


@serial
def normalise_pixel(x, mean, scale, shift, y):
    for c in range(y.size):
        y[c] = (x[c] - mean[c]) * scale[c] + shift[c]


@parallel
def normalise(x, mean, scale, shift, y):
    """y = (x - mean) * scale + shift"""
    for item in prange(-(-x.shape[0] // PIXELS)):
        for pixel in range(item * PIXELS, min((item + 1) * PIXELS, x.shape[0])):
            normalise_pixel(x[pixel], mean, scale, shift, y[pixel])


@serial
def gradient_pixel(dy, x, mean, scale, shift, slope, dx):
    for c in range(dx.size):
        dx[c] = scale[c] * (dy[c] - shift[c] - (x[c] - mean[c]) * slope[c])


@parallel
def normalise_grad(dy, x, mean, scale, shift, slope, dx):
    """dx = scale * (dy - shift - (x - mean) * slope)"""
    for item in prange(-(-x.shape[0] // PIXELS)):
        for pixel in range(item * PIXELS, min((item + 1) * PIXELS, x.shape[0])):
            gradient_pixel(dy[pixel], x[pixel], mean, scale, shift, slope, dx[pixel])
