"""Batches of images out of a data set: gathered, moved, mirrored, made noisy and normalised in one pass."""

import numpy as np
from numba import prange

from fastconv.kernels.compile import parallel, serial
from fastconv.kernels.elementwise.activations import mix

# What happens to one image: mirrored where mirror is 1, then moved down and right by so many pixels; number e of the stream `key`
# decides the noise of element e (C, the channel, runs fastest).
PLAN = np.dtype([("down", np.int64), ("right", np.int64), ("mirror", np.int64), ("key", np.uint64)])

# Of a normal distribution, in a table of 4 KB: adding four of them needs no log, sqrt or cos and gives the same bits on every CPU.
QUANTILES = 1024
STEP = np.uint64(0x9E3779B97F4A7C15)  # between the states of SplitMix64


@serial
def normal(table, bits):
    """The sum of four entries, chosen by 64 random bits; kurtosis 2.993 where they are quantiles of a normal distribution (which has 3)"""
    last = np.uint64(QUANTILES - 1)
    first = table[bits & last] + table[(bits >> np.uint64(16)) & last]
    return first + (table[(bits >> np.uint64(32)) & last] + table[(bits >> np.uint64(48)) & last])


@serial
def moved_image(image, plan, out):
    H, W, C = image.shape
    down, right, mirror = plan.down, plan.right, plan.mirror
    for h in range(H):
        ih = h - down
        for w in range(W):
            iw = w - right
            if 0 <= ih < H and 0 <= iw < W:
                for c in range(C):
                    out[h, w, c] = image[ih, W - 1 - iw if mirror else iw, c]
            else:
                for c in range(C):
                    out[h, w, c] = 0


@serial
def add_noise(values, key, table):
    for e in range(values.size):
        values[e] += normal(table, mix(key + np.uint64(e) * STEP))


@serial
def normalise(values, mean, scale):
    C = mean.size
    for at in range(0, values.size, C):
        for c in range(C):
            values[at + c] = (values[at + c] - mean[c]) * scale[c]


@serial
def changed_image(image, plan, table, mean, scale, out):
    """out = (image as planned + noise - mean) * scale: three passes over one image, which stays in the L1 or L2 cache"""
    moved_image(image, plan, out)
    values = out.reshape(-1)
    if table.size:
        add_noise(values, plan.key, table)
    if mean.size:
        normalise(values, mean, scale)


@parallel
def take_changed(images, order, plans, table, mean, scale, out):
    """out[i] = (images[order[i]], changed as plans[i] says, plus noise, - mean) * scale; what moves in is 0.

    table: QUANTILES numbers, or none for no noise; mean, scale: one per channel, or none to leave values as they are.
    """
    for i in prange(order.size):
        changed_image(images[order[i]], plans[i], table, mean, scale, out[i])
