"""Losses: `value, d_outputs = loss(outputs, targets)`. Any callable of that form is a loss.

Computed in float64 and given back in the dtype of the outputs; the value is a Python float, the mean over the batch.
"""

import numpy as np

from fastconv.ops.operands import floats


def cross_entropy(outputs, targets) -> tuple[float, np.ndarray]:
    """Mean over the batch of -log softmax(outputs)[target]; d_outputs = (softmax(outputs) - one_hot(targets)) / N.

    outputs: (N, K) scores, float32 or float64, of any size (the largest is subtracted first). targets: (N,) integers 0..K-1.
    TypeError for targets that are not integers, ValueError for a wrong length, a label out of range, an empty batch.
    """
    (outputs,) = floats("cross_entropy", outputs=outputs)
    labels = class_labels("cross_entropy", outputs.shape, targets)
    rows = np.arange(len(labels))
    shifted = outputs.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite scores: the loss is NaN, and says so
        shifted -= shifted.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        sums = exponentials.sum(axis=1, keepdims=True)
        value = float(np.mean(np.log(sums[:, 0]) - shifted[rows, labels]))
        gradient = exponentials / sums
    gradient[rows, labels] -= 1
    return value, (gradient / len(labels)).astype(outputs.dtype)


def class_labels(op: str, shape: tuple[int, ...], targets) -> np.ndarray:
    """The targets as (N,) integers that index the K columns of outputs of this shape (N, K)."""
    if isinstance(targets, tuple):
        raise TypeError(f"{op}: targets is a tuple; unpack it")
    labels = np.asarray(targets)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{op}: outputs must be (N, K) with N, K >= 1, got {shape}")
    if labels.shape != shape[:1]:
        raise ValueError(f"{op}: targets must be ({shape[0]},), one label per row of outputs{shape}, got {labels.shape}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{op}: targets hold NaN or Inf")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: targets must be integers, got {labels.dtype}: write targets.astype(np.int64)")
    wrong = (labels < 0) | (labels >= shape[1])
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{op}: targets[{at}] = {labels[at]} is not a class 0..{shape[1] - 1}")
    return labels.astype(np.int64)


def mse(outputs, targets) -> tuple[float, np.ndarray]:
    """Mean over all elements of (outputs - targets)**2; d_outputs = 2 (outputs - targets) / count. The same shapes and dtypes."""
    outputs, targets = floats("mse", outputs=outputs, targets=targets)
    if outputs.shape != targets.shape:
        raise ValueError(f"mse: outputs{outputs.shape} and targets{targets.shape} must have the same shape")
    if not outputs.size:
        raise ValueError(f"mse: outputs{outputs.shape} is empty")
    if np.isnan(targets).any():
        raise ValueError("mse: targets hold NaN")
    difference = outputs.astype(np.float64) - targets
    return float(np.mean(difference**2)), (difference * (2 / difference.size)).astype(outputs.dtype)
