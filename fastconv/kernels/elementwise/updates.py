"""The optimizers' updates and the norm of gradients: one call for a flat array, one read and one write of each array.

Options are Python floats, read into locals before the loop, so that LLVM need not fear that a store changes them. SGD and Adam round them to the
arrays' dtype, as PyTorch does: in float32 a vector holds twice as many elements, and a root or a quotient takes a third of the time. The norm's sums
run in float64. clip_value and scale are one step's clipping: inf and 1 leave every bit.

An update that shall be taken back where it goes wrong is given `Before`: span by span, while it is in the cache, what changes is copied and what is
not finite is found: SGD of 300,000 numbers takes 150 us, 65 without, 350 to 580 with copies and sums by NumPy before and after it.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from fastconv.kernels.compile import Bound, Driver, chunks, driver, inlined, serial, spread
from fastconv.kernels.elementwise.spans import SPAN, span, spans

LANES = 64  # sums of squares that run side by side: a single one would wait for each addition


class Sgd(NamedTuple):
    lr: float
    momentum: float
    decay: float
    nesterov: float  # 1.0 or 0.0
    clip_value: float
    scale: float


class Adam(NamedTuple):
    rate: float  # lr / (1 - beta1**t)
    beta1: float
    beta2: float
    root: float  # 1 / sqrt(1 - beta2**t)
    eps: float
    decay: float  # times the value is added to the gradient
    shrink: float  # multiplies the value
    clip_value: float
    scale: float


class RmsProp(NamedTuple):
    lr: float
    alpha: float
    eps: float
    decay: float
    momentum: float
    centered: float  # 1.0 or 0.0
    clip_value: float
    scale: float


class Before(NamedTuple):
    """Where an update keeps what it changes: `old` has room for value and state. finite: (spans + 1,) int64; 1 where gradients and new values of a
    span are all finite; the last, whether all are."""

    old: tuple[np.ndarray, ...]
    finite: np.ndarray


@cache
def forgotten(dtype: np.dtype, arrays: int) -> Before:
    """Nothing is kept of so many arrays."""
    return Before((np.empty(0, dtype),) * arrays, np.empty(0, np.int64))


def verdicts(size: int) -> np.ndarray:
    """Room for `Before.finite` of an update of so many values."""
    return np.empty(spans.py_func(size) + 1, np.int64)


@cache
def bound(pass_: Driver, dtype: np.dtype) -> Bound:
    """The pass for arrays of a dtype."""
    return pass_.bind()


def run(pass_: Driver, operations: int, values: np.ndarray, *operands) -> None:
    """The pass over arrays of values; operations: of a value, about."""
    work = operations * values.size
    bound(pass_, values.dtype)(work, chunks(spans.py_func(values.size), work), values, *operands)


def numbers(options: tuple) -> tuple[float, ...]:
    """As floats: machine code is looked up once, for the types of the first call."""
    return tuple(map(float, options))


def update(pass_: Driver, operations: int, value: np.ndarray, grad: np.ndarray, state: tuple, options: tuple, before: Before | None) -> None:
    old, finite = before or forgotten(value.dtype, 1 + len(state))
    run(pass_, operations, value, grad, state, numbers(options), old, finite)


@inlined
def keep(part, array, old):
    """old = array, where it is kept"""
    if old.size:
        old, array = old[part], array[part]
        for i in range(array.size):  # a slice assigned takes ten times as long
            old[i] = array[i]


@inlined
def tell(item, part, grad, value, finite):
    """finite[item]: whether gradients and new values of a span are all finite, where that is asked"""
    if finite.size:
        count, grad, value = 0, grad[part], value[part]
        for i in range(value.size):
            count += (abs(grad[i]) < np.inf) & (abs(value[i]) < np.inf)
        finite[item] = count == value.size


@inlined
def conclude(finite):
    """The last of `finite`: whether all are."""
    last = finite.size - 1
    if last > 0:
        finite[last] = 1
        for item in range(last):
            finite[last] &= finite[item]


def sgd(value, grad, velocity, options: Sgd, before: Before | None = None) -> None:
    """velocity = momentum * velocity + g;  value -= lr * velocity, or lr * (g + momentum * velocity);  g = clipped grad + decay * value"""
    update(sgd_pass, 4, value, grad, (velocity,), options, before)


@driver
def sgd_pass(pool, chunks, value, grad, state, options, old, finite):
    spread(pool, chunks, spans(value.size), sgd_items, value, value, grad, state, options, old, finite)
    conclude(finite)


@serial
def sgd_items(work, value, grad, state, options, old, finite):
    for item in range(work.first, work.stop):
        part = span(item, value.size)
        keep(part, value, old[0])
        keep(part, state[0], old[1])
        sgd_elements(value[part], grad[part], state[0][part], options)
        tell(item, part, grad, value, finite)


@inlined
def sgd_elements(value, grad, velocity, options):
    real = value.dtype.type
    lr, momentum, decay, clip_value, scale = real(options[0]), real(options[1]), real(options[2]), real(options[4]), real(options[5])
    nesterov = options[3] != 0
    for i in range(value.size):
        g = clipped(grad[i], clip_value, scale) + decay * value[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        value[i] -= lr * (g + momentum * v if nesterov else v)


@serial
def clipped(g, clip_value, scale):
    """g, but not beyond -clip_value..clip_value, times scale; NaN passes."""
    if g > clip_value:
        return clip_value * scale
    if g < -clip_value:
        return -clip_value * scale
    return g * scale


def adam(value, grad, moments, options: Adam, before: Before | None = None) -> None:
    """value = shrink * value - rate * mean / (sqrt(square) * root + eps).  moments: mean and square, the running averages of g and g * g"""
    update(adam_pass, 12, value, grad, moments, options, before)


@driver
def adam_pass(pool, chunks, value, grad, state, options, old, finite):
    spread(pool, chunks, spans(value.size), adam_items, value, value, grad, state, options, old, finite)
    conclude(finite)


@serial
def adam_items(work, value, grad, state, options, old, finite):
    for item in range(work.first, work.stop):
        part, (mean, square) = span(item, value.size), state
        keep(part, value, old[0])
        keep(part, mean, old[1])
        keep(part, square, old[2])
        adam_elements(value[part], grad[part], mean[part], square[part], options)
        tell(item, part, grad, value, finite)


@inlined
def adam_elements(value, grad, mean, square, options):
    real = value.dtype.type
    beta1, beta2, rest1, rest2 = real(options[1]), real(options[2]), real(1 - options[1]), real(1 - options[2])  # 1 - beta2 would be off by 1e-5
    rate, root, eps, decay, shrink = real(options[0]), real(options[3]), real(options[4]), real(options[5]), real(options[6])
    clip_value, scale = real(options[7]), real(options[8])
    for i in range(value.size):
        g = clipped(grad[i], clip_value, scale) + decay * value[i]
        mean[i] = beta1 * mean[i] + rest1 * g
        square[i] = beta2 * square[i] + rest2 * g * g
        value[i] = shrink * value[i] - rate * mean[i] / (np.sqrt(square[i]) * root + eps)


def rmsprop(value, grad, state, options: RmsProp, before: Before | None = None) -> None:
    """value -= lr * g / (sqrt(square) + eps); centered: the square root of square - mean**2; momentum: the moves add up in velocity.

    state: square, mean, velocity
    """
    update(rmsprop_pass, 10, value, grad, state, options, before)


@driver
def rmsprop_pass(pool, chunks, value, grad, state, options, old, finite):
    spread(pool, chunks, spans(value.size), rmsprop_items, value, value, grad, state, options, old, finite)
    conclude(finite)


@serial
def rmsprop_items(work, value, grad, state, options, old, finite):
    for item in range(work.first, work.stop):
        part, (square, mean, velocity) = span(item, value.size), state
        keep(part, value, old[0])
        keep(part, square, old[1])
        keep(part, mean, old[2])
        keep(part, velocity, old[3])
        rmsprop_elements(value[part], grad[part], square[part], mean[part], velocity[part], options)
        tell(item, part, grad, value, finite)


@inlined
def rmsprop_elements(value, grad, square, mean, velocity, options):
    lr, alpha, eps, decay, momentum, centered, clip_value, scale = options
    for i in range(value.size):
        g = clipped(grad[i], clip_value, scale) + decay * value[i]
        square[i] = alpha * square[i] + (1 - alpha) * g * g
        spread = np.float64(square[i])
        if centered != 0:
            mean[i] = alpha * mean[i] + (1 - alpha) * g
            spread -= np.float64(mean[i]) * mean[i]
            if spread < 0:  # by rounding, where gradients hardly change
                spread = 0.0
        move = g / (np.sqrt(spread) + eps)
        if momentum > 0:
            move += momentum * velocity[i]
            velocity[i] = move
        value[i] -= lr * move


def square_sum(grad, clip_value: float) -> float:
    """The sum of the squares of the clipped gradients: float64, in an order fixed by their number."""
    sums = np.empty(spans.py_func(grad.size) * LANES + 1)
    run(square_sum_pass, 2, grad, clip_value, sums)
    return float(sums[-1])


@driver
def square_sum_pass(pool, chunks, grad, clip_value, sums):
    """sums: LANES for each item, then the result."""
    spread(pool, chunks, spans(grad.size), square_sum_items, sums, grad, clip_value, sums)
    total = 0.0
    for i in range(sums.size - 1):
        total += sums[i]
    sums[sums.size - 1] = total


@serial
def square_sum_items(work, grad, clip_value, sums):
    """sums[item, lane] = the sum of the squares of every LANES-th clipped gradient of the item"""
    for item in range(work.first, work.stop):
        own = sums[item * LANES : (item + 1) * LANES]
        own[:] = 0
        stop = min((item + 1) * SPAN, grad.size)
        for start in range(item * SPAN, stop, LANES):
            row = grad[start : min(start + LANES, stop)]  # without it LLVM does not vectorize: 3.9 ns an element instead of 0.7
            for lane in range(row.size):
                g = clipped(row[lane], clip_value, 1.0)
                own[lane] += g * g
