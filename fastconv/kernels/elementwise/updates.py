"""The optimizers' updates and the norm of gradients: passes over flat arrays. An item owns a run of SPAN elements.

What an update is told comes as a one-element structured array (`o = options[0]`); it is read into locals before the loop, so that LLVM
need not fear that a store changes it. clip_value and scale are one step's clipping: inf and 1 leave every bit.
"""

import numpy as np
from numba import prange

from fastconv.kernels.compile import parallel, serial

SPAN = 8192
LANES = 64  # sums of squares that run side by side: a single one would wait for each addition


def _options(words: str) -> np.dtype:
    return np.dtype([(word, np.float64) for word in (*words.split(), "clip_value", "scale")])


SGD = _options("lr momentum decay nesterov")
ADAM = _options("rate beta1 beta2 root eps decay shrink")
RMSPROP = _options("lr alpha eps decay momentum centered")


@serial
def clipped(g, clip_value, scale):
    """g, but not beyond -clip_value..clip_value, times scale; NaN passes."""
    if g > clip_value:
        return clip_value * scale
    if g < -clip_value:
        return -clip_value * scale
    return g * scale


@serial
def square_sums_span(grad, clip_value, sums):
    for at in range(0, grad.size, LANES):
        row = grad[at : at + LANES]  # without it LLVM does not vectorise: 3.9 ns a number instead of 0.7
        for lane in range(row.size):
            g = clipped(row[lane], clip_value, 1.0)
            sums[lane] += g * g


@parallel
def square_sums(grad, clip_value, sums):
    """sums[item, lane] += the squares of every LANES-th clipped gradient of the item; float64, in order"""
    for item in prange(-(-grad.size // SPAN)):
        at = np.int64(item) * SPAN
        square_sums_span(grad[at : at + SPAN], clip_value, sums[item])


@serial
def sgd_span(value, grad, velocity, options):
    o = options[0]
    lr, momentum, decay, nesterov, clip_value, scale = o.lr, o.momentum, o.decay, o.nesterov != 0, o.clip_value, o.scale
    for i in range(value.size):
        g = clipped(grad[i], clip_value, scale) + decay * value[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        value[i] -= lr * (g + momentum * v if nesterov else v)


@parallel
def sgd(value, grad, velocity, options):
    """velocity = momentum * velocity + g;  value -= lr * velocity, or lr * (g + momentum * velocity)"""
    for item in prange(-(-value.size // SPAN)):
        at = np.int64(item) * SPAN
        span = slice(at, at + SPAN)
        sgd_span(value[span], grad[span], velocity[span], options)


@serial
def adam_span(value, grad, mean, square, options):
    o = options[0]
    rate, beta1, beta2, root, eps, decay, shrink = o.rate, o.beta1, o.beta2, o.root, o.eps, o.decay, o.shrink
    clip_value, scale = o.clip_value, o.scale
    for i in range(value.size):
        g = clipped(grad[i], clip_value, scale) + decay * value[i]
        mean[i] = beta1 * mean[i] + (1 - beta1) * g
        square[i] = beta2 * square[i] + (1 - beta2) * g * g
        value[i] = shrink * value[i] - rate * mean[i] / (np.sqrt(square[i]) * root + eps)


@parallel
def adam(value, grad, mean, square, options):
    """value = shrink * value - rate * mean / (sqrt(square) * root + eps), where rate = lr / (1 - beta1**t), root = 1 / sqrt(1 - beta2**t)"""
    for item in prange(-(-value.size // SPAN)):
        at = np.int64(item) * SPAN
        span = slice(at, at + SPAN)
        adam_span(value[span], grad[span], mean[span], square[span], options)


@serial
def rmsprop_span(value, grad, square, mean, velocity, options):
    o = options[0]
    lr, alpha, eps, decay, momentum, centered = o.lr, o.alpha, o.eps, o.decay, o.momentum, o.centered != 0
    clip_value, scale = o.clip_value, o.scale
    for i in range(value.size):
        g = clipped(grad[i], clip_value, scale) + decay * value[i]
        square[i] = alpha * square[i] + (1 - alpha) * g * g
        spread = np.float64(square[i])
        if centered:
            mean[i] = alpha * mean[i] + (1 - alpha) * g
            spread -= np.float64(mean[i]) * mean[i]
            if spread < 0:  # by rounding, where gradients hardly change
                spread = 0.0
        move = g / (np.sqrt(spread) + eps)
        if momentum > 0:
            move += momentum * velocity[i]
            velocity[i] = move
        value[i] -= lr * move


@parallel
def rmsprop(value, grad, square, mean, velocity, options):
    """value -= lr * g / (sqrt(square) + eps); centered: the square root of square - mean**2; momentum: the moves run on in velocity"""
    for item in prange(-(-value.size // SPAN)):
        at = np.int64(item) * SPAN
        span = slice(at, at + SPAN)
        rmsprop_span(value[span], grad[span], square[span], mean[span], velocity[span], options)
