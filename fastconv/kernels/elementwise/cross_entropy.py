"""Softmax cross-entropy, value and gradient from one read of the scores. Rows are images, an item is one; all sums run in float64.

p = softmax(scores), y = label, e = smoothing, w = class weights, W = sum over counted rows of w[y]
value = sum over rows of ((1 - e) w[y] (-log p[y]) + e / K * sum over k of w[k] (-log p[k])) / W
d[n, k] = ((1 - e) w[y] (p[k] - [k = y]) + e / K * (p[k] sum(w) - w[k])) / W

2 rows, 3 classes, labels 0 2:   scores  1 2 3    p  .09 .24 .67    -log p[y]  2.41    value  1.41    d  -.45  .12  .33
                                         1 2 3       .09 .24 .67               0.41                       .05  .12 -.17
"""

from functools import cache

import numpy as np

from fastconv.kernels.compile import Bound, chunks, driver, serial, spread
from fastconv.kernels.elementwise.exponential import exponentials
from fastconv.kernels.elementwise.softmax import maximum, ordered_sum

NONE = -(2**63)  # the label to ignore, where there is none
NO_WEIGHTS = np.empty(0)


def cross_entropy(scores, labels, d, weights=NO_WEIGHTS, smoothing: float = 0.0, ignored: int = NONE) -> tuple[float, int]:
    """The value, and the number of the first row whose label is no class 0..K-1 and not ignored: -1 if there is none; else d is not written.

    scores, d: (N, K), C-contiguous; labels: (N,) int64; weights: (K,) float64, or empty: ones. W = 0: the value is NaN.
    """
    N, K = scores.shape
    work = 20 * N * K
    cut = chunks(N, work)
    results, scratch = np.empty(N + 2), np.empty(cut * K)
    bound(scores.dtype)(work, scores, labels, d, (weights, smoothing, ignored), results, scratch)
    return float(results[0]), int(results[1])


@cache
def bound(dtype: np.dtype) -> Bound:
    """The pass for scores of a dtype."""
    return cross_entropy_pass.bind()


@driver
def cross_entropy_pass(pool, scores, labels, d, options, results, scratch):
    """The pass. results: the value, the first wrong row, then the loss of each row; scratch: a row for each chunk of the work."""
    weights, smoothing, ignored = options
    N, K = scores.shape
    total, wrong = total_weight(labels, weights, ignored, K)
    results[1] = wrong
    if wrong < 0:
        losses = results[2:]
        spread(pool, scratch.size // K, N, rows, scratch, scores, labels, d, (weights, smoothing, ignored, total), losses)
        value = 0.0
        for n in range(N):
            value += losses[n]
        results[0] = value / total


@serial
def total_weight(labels, weights, ignored, K):
    """W, NaN if no row counts, and the first row with a wrong label, or -1."""
    total = 0.0
    for n in range(labels.size):
        label = labels[n]
        if label == ignored and ignored != NONE:
            continue
        if label < 0 or label >= K:
            return 0.0, n
        total += weights[label] if weights.size > 0 else 1.0
    return total if total != 0 else np.nan, -1


@serial
def rows(work, scores, labels, d, options, losses):
    """d and the loss of some rows; an ignored one has the gradient 0."""
    weights, smoothing, ignored, total = options
    for n in range(work.first, work.stop):
        y, row = labels[n], d[n]
        if y == ignored:
            losses[n] = 0
            row[:] = 0
            continue
        p = work.scratch[: row.size]
        highest, log_sum = softmax(scores[n], p)
        if smoothing == 0:
            weight = weights[y] if weights.size > 0 else 1.0
            losses[n] = weight * (log_sum - (scores[n, y] - highest))
            factor = weight / total
            expected = p[y] - 1
            for k in range(row.size):
                row[k] = p[k] * factor
            row[y] = expected * factor
        else:
            losses[n] = smooth(scores[n], p, y, (highest, log_sum), row, options)


@serial
def softmax(scores, p):
    """p = softmax(scores); return highest and log_sum: log p[k] = scores[k] - highest - log_sum. +Inf or NaN makes all NaN; -Inf: p = 0."""
    highest = np.float64(maximum(scores))
    for k in range(p.size):
        p[k] = scores[k] - highest
    exponentials(p)
    total = ordered_sum(p)
    inverse = 1 / total
    for k in range(p.size):
        p[k] *= inverse
    return highest, np.log(total)


@serial
def smooth(scores, p, y, logs, row, options):
    """The gradient of one row, and its loss, with label smoothing."""
    weights, smoothing, _, total = options
    highest, log_sum = logs
    K = scores.size
    share, all_weights, all_logs = smoothing / K, 0.0, 0.0
    weight = weights[y] if weights.size > 0 else 1.0
    for k in range(K):
        w = weights[k] if weights.size > 0 else 1.0
        all_weights += w
        all_logs += w * (log_sum - (scores[k] - highest))
    for k in range(K):
        w = weights[k] if weights.size > 0 else 1.0
        expected = p[k] - 1 if k == y else p[k]
        row[k] = ((1 - smoothing) * weight * expected + share * (p[k] * all_weights - w)) / total
    return (1 - smoothing) * weight * (log_sum - (scores[y] - highest)) + share * all_logs
