"""Huber's distance of two arrays and its gradient, from one read of both; without a delta half the square. All in float64.

d = a - b
value = scale / count * sum of (d**2 / 2 where |d| <= delta, else delta * (|d| - delta / 2))
gradient = scale / count * (d, but not beyond -delta..delta)
"""

import numpy as np

from fastconv.kernels.compile import driver, serial, spread
from fastconv.kernels.elementwise.spans import SPAN, spans
from fastconv.kernels.elementwise.updates import run

LANES = 16  # sums that run side by side


def distance(a: np.ndarray, b: np.ndarray, gradient: np.ndarray, delta: float, scale: float) -> float:
    """The value; the gradient with respect to a is written. Flat arrays of one dtype."""
    sums = np.empty(spans.py_func(a.size) * LANES + 1)
    run(distance_pass, 4, a, b, gradient, (float(delta), float(scale)), sums)
    return float(sums[-1])


@driver
def distance_pass(pool, chunks, a, b, gradient, options, sums):
    """sums: LANES for each item, then the value."""
    delta, scale = options
    share = scale / a.size
    spread(pool, chunks, spans(a.size), distance_items, sums, a, b, gradient, (delta, share), sums)
    total = 0.0
    for i in range(sums.size - 1):
        total += sums[i]
    sums[sums.size - 1] = total * share


@serial
def distance_items(work, a, b, gradient, options, sums):
    """sums[item, lane] = the sum of every LANES-th distance of the item"""
    delta, share = options
    for item in range(work.first, work.stop):
        own = sums[item * LANES : (item + 1) * LANES]
        own[:] = 0
        stop = min((item + 1) * SPAN, a.size)
        for start in range(item * SPAN, stop, LANES):
            x, y = a[start : min(start + LANES, stop)], b[start : min(start + LANES, stop)]
            for lane in range(x.size):
                d = np.float64(x[lane]) - np.float64(y[lane])
                own[lane] += delta * (abs(d) - delta / 2) if abs(d) > delta else d * d / 2
        x, y, g = a[item * SPAN : stop], b[item * SPAN : stop], gradient[item * SPAN : stop]
        for i in range(x.size):
            d = np.float64(x[i]) - np.float64(y[i])
            d = delta if d > delta else d
            g[i] = (-delta if d < -delta else d) * share
