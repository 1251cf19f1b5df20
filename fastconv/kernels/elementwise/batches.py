"""Batches of images out of a data set: gathered, moved, mirrored, made noisy and normalized in one pass."""

from functools import cache

import numpy as np

from fastconv.kernels.compile import Bound, chunks, driver, serial, spread
from fastconv.kernels.elementwise.dropout import mix

# What happens to one image: mirrored where mirror is 1, then moved down and right by so many pixels; number e of the stream `key`
# decides the noise of element e (C, the channel, runs fastest).
PLAN = np.dtype([("down", np.int64), ("right", np.int64), ("mirror", np.int64), ("key", np.uint64)])

# Of a normal distribution, in a table of 4 KB: adding four of them needs no log, sqrt or cos and gives the same bits on every CPU.
QUANTILES = 1024
STEP = np.uint64(0x9E3779B97F4A7C15)  # between the states of SplitMix64


@cache
def bound(dtype: np.dtype) -> Bound:
    """The pass for images of a dtype."""
    return change.bind()


def take_changed(images, order, plans, noise, statistics, out) -> None:
    """out[i] = (images[order[i]], changed as plans[i] says, plus noise, - mean) * scale; what moves in is 0.

    images, out: (N, H, W, C); order: int64; noise: a table of QUANTILES numbers, or empty for none; statistics: mean and scale, one number for
    each channel, or empty to leave values as they are.
    """
    bound(out.dtype)(out.size, chunks(order.size, out.size), images, order, plans, noise, statistics, out)


@driver
def change(pool, chunks, images, order, plans, noise, statistics, out):
    """The pass. It needs no scratch memory: `order` takes its place."""
    spread(pool, chunks, order.size, change_images, order, images, order, plans, noise, statistics, out)


@serial
def change_images(work, images, order, plans, noise, statistics, out):
    """Three passes over one image after another, each of which stays in the L1 or L2 cache."""
    mean, scale = statistics
    for i in range(work.first, work.stop):
        plan = plans[i]
        move_image(images[order[i]], plan, out[i])
        values = out[i].reshape(-1)
        if noise.size:
            add_noise(values, plan.key, noise)
        if mean.size:
            normalize(values, mean, scale)


@serial
def move_image(image, plan, out):
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
def normal(table, bits):
    """The sum of four entries, chosen by 64 random bits; kurtosis 2.993 where they are quantiles of a normal distribution (which has 3)"""
    last = np.uint64(QUANTILES - 1)
    first = table[bits & last] + table[(bits >> np.uint64(16)) & last]
    return first + (table[(bits >> np.uint64(32)) & last] + table[(bits >> np.uint64(48)) & last])


@serial
def normalize(values, mean, scale):
    C = mean.size
    for start in range(0, values.size, C):
        for c in range(C):
            values[start + c] = (values[start + c] - mean[c]) * scale[c]
